//! Asking the model.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use tenure_core::command::{Command, FailAttempt, FinishAttempt};
use tenure_core::context::{assemble, attachments};
use tenure_core::id::{AttemptId, ItemId};
use tenure_core::model::{Failure, FailureKind, Reply, Request};
use tenure_core::session::Purpose;
use tenure_models::Event;
use tracing::Instrument as _;

use super::{InFlight, Owner};
use crate::engine::Shared;
use crate::live::{Channel, PreviewPart};

impl Owner<'_> {
    pub(super) fn call_model(&mut self, attempt: AttemptId) {
        if self.attempts.contains_key(&attempt) {
            return;
        }
        let request = assemble(&self.state, &self.shared.tool_specs);
        let (shared, channel) = (self.shared.clone(), self.channel.clone());
        let purpose = self.purpose();
        let asking = Asking { shared, channel, attempt, purpose, answered: false, previewed: Vec::new() };
        let session = self.state.session;
        let directory = self.shared.directory.clone();
        let place = self.shared.places.ask(self.state.definition.tenant, self.shared.clock.now());
        let draining = self.shared.draining.clone();
        let asked = async move {
            // What still waits when the engine ends is left to the next start.
            let Some(Some(_place)) = draining.run_until_cancelled(place).await else { return };
            metrics::counter!("tenure_model_requests_total").increment(1);
            let outcome = AssertUnwindSafe(asking.ask(request)).catch_unwind().await;
            let command =
                outcome.unwrap_or_else(|_| failed(attempt, true, "the request broke off by a mistake of ours"));
            directory.bring(session, command);
        };
        let task = self.shared.requests.spawn(asked.instrument(self.turn.attempt(&self.state, attempt)));
        self.attempts.insert(attempt, InFlight(task.abort_handle()));
    }

    pub(super) fn cancel_model(&mut self, attempt: AttemptId) {
        self.attempts.remove(&attempt);
        self.channel.finish(attempt);
    }
}

/// One request in flight.
struct Asking {
    shared: Arc<Shared>,
    channel: Arc<Channel>,
    attempt: AttemptId,
    purpose: Purpose,
    /// Whether the provider has begun to answer.
    answered: bool,
    /// The items under which parts of the reply have been previewed, by index.
    previewed: Vec<Option<ItemId>>,
}

impl Asking {
    async fn ask(mut self, mut request: Request) -> Command {
        match self.attach(&mut request).await {
            Ok(()) => {}
            Err(error) => return failed(self.attempt, false, format!("an attachment can't be read: {error}")),
        }
        let mut stream = self.shared.models.stream(Arc::new(request));
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Started) => self.answered = true,
                Ok(Event::TextDelta { index, text }) => self.preview(index, PreviewPart::Message, &text),
                Ok(Event::ThinkingDelta { index, text }) => self.preview(index, PreviewPart::Thinking, &text),
                Ok(Event::Finished(reply)) => return self.finished(reply),
                Err(failure) => {
                    // Its words are on the session's log; here they might be what was said to the model.
                    tracing::warn!(attempt = %self.attempt, kind = ?failure.kind, "model request failed");
                    let kind = format!("{:?}", failure.kind).to_lowercase();
                    metrics::counter!("tenure_model_failures_total", "kind" => kind).increment(1);
                    return FailAttempt { attempt: self.attempt, failure, answered: self.answered }.into();
                }
            }
        }
        failed(self.attempt, self.answered, "the model's answer ended before it was complete")
    }

    async fn attach(&self, request: &mut Request) -> Result<(), tenure_store::Error> {
        for blob in attachments(request) {
            if let Some(bytes) = self.shared.store.blob(blob.clone()).await? {
                request.attachments.insert(blob, Arc::from(bytes));
            }
        }
        Ok(())
    }

    fn preview(&mut self, index: u32, part: PreviewPart, text: &str) {
        match self.purpose {
            Purpose::Reply => {}
            // It isn't said to anybody.
            Purpose::Summary => return,
        }
        let index = index as usize;
        if self.previewed.len() <= index {
            self.previewed.resize(index + 1, None);
        }
        let item = *self.previewed[index].get_or_insert_with(|| self.shared.clock.ids().item());
        self.channel.say(self.attempt, item, part, text);
    }

    fn finished(self, reply: Reply) -> Command {
        FinishAttempt { attempt: self.attempt, reply, previewed: self.previewed }.into()
    }
}

fn failed(attempt: AttemptId, answered: bool, message: impl Into<String>) -> Command {
    let failure = Failure { kind: FailureKind::Unavailable, message: message.into(), retry_after: None };
    FailAttempt { attempt, failure, answered }.into()
}
