//! Running tool calls, and the sandbox they run in.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tenure_core::agent::Limits;
use tenure_core::command::{CallResult, FinishCall, SandboxReport};
use tenure_core::content::{Block, Source};
use tenure_core::fact::{CallEnding, Fact};
use tenure_core::id::{ItemId, SandboxId, SessionId};
use tenure_core::session::{OpenCall, Sandbox as SandboxState};
use tenure_sandbox::Sandbox;
use tenure_store::{FactQuery, Order};
use tenure_tools::{ToolContent, ToolCtx, ToolError, ToolResult};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Origin, Owner};
use crate::engine::Shared;
use crate::sandboxes::Job;

/// How long a call waits for cancelled ones before it to be over.
const CANCELLED_ARE_OVER: Duration = Duration::from_secs(15);

/// Cancelled calls a restart looks back at, in case they were never told.
const LOOK_BACK: usize = 8;

/// A call that runs.
#[derive(Debug)]
pub(crate) struct Running {
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Owner {
    pub(super) fn run_call(&mut self, call: ItemId, origin: Origin) {
        let Some(open) = self.state.call(call).cloned() else { return };
        if self.calls.get(&call).is_some_and(|running| !running.task.is_finished()) {
            return;
        }
        let Some(sandbox) = self.sandbox() else { return };
        let cancel = CancellationToken::new();
        let run = Run {
            shared: self.shared.clone(),
            session: self.state.session,
            sandbox,
            limits: self.state.definition.environment.limits,
            // A call that an earlier sandbox or server may have started is judged with its age in mind.
            asked_at: (origin == Origin::Restart || open.asked_at < self.sandbox_since()).then(|| asked_at(&open)),
            open,
            cancel: cancel.clone(),
        };
        let ending = std::mem::take(&mut self.ending);
        let task = tokio::spawn(async move {
            let over = futures_util::future::join_all(ending);
            let _ = tokio::time::timeout(CANCELLED_ARE_OVER, over).await;
            run.run().await;
        });
        self.calls.insert(call, Running { cancel, task });
    }

    pub(super) fn cancel_call(&mut self, call: ItemId) {
        match self.calls.remove(&call) {
            Some(running) => {
                running.cancel.cancel();
                self.ending.push(running.task);
            }
            None => {
                let handle = self.shared.sandboxes.handle(self.state.session);
                self.ending.push(tokio::spawn(async move { cancel_stray(handle, call).await }));
            }
        }
    }

    /// Lets go of calls that have their result, and lets their journals go.
    pub(super) fn forget_calls(&mut self) {
        let state = &self.state;
        let over: Vec<ItemId> = self.calls.keys().copied().filter(|call| state.call(*call).is_none()).collect();
        for call in over {
            self.calls.remove(&call);
            if let Some(handle) = self.shared.sandboxes.handle(self.state.session) {
                tokio::spawn(async move { drop(handle.acknowledge(call).await) });
            }
        }
        match self.state.sandbox {
            // Whatever ran in the last sandbox is over; a call without a result is judged anew in the next one.
            SandboxState::Absent { .. } | SandboxState::Starting { .. } => self.calls.clear(),
            SandboxState::Running { .. } | SandboxState::Stopping { .. } => {}
        }
    }

    pub(super) fn start_sandbox(&self, sandbox: SandboxId) {
        self.order(Job::Start { sandbox, limits: self.state.definition.environment.limits });
    }

    pub(super) fn stop_sandbox(&self, sandbox: SandboxId, grace: Duration) {
        self.order(Job::Stop { sandbox, grace });
    }

    pub(super) fn remove_files(&self) {
        self.order(Job::Remove { reply: None });
    }

    /// After a restart: takes hold of the sandbox, so that its end is noticed, and ends calls that were cancelled
    /// without being told.
    pub(super) fn reattach(&self) {
        let Some(sandbox) = self.sandbox() else { return };
        let (reply, attached) = oneshot::channel();
        self.order(Job::Attach { sandbox, limits: self.state.definition.environment.limits, reply });
        let (store, session) = (self.shared.store.clone(), self.state.session);
        tokio::spawn(async move {
            let Ok(Ok(handle)) = attached.await else { return };
            let query = FactQuery {
                only: Some(vec!["call_ended"]),
                order: Order::NewestFirst,
                ..FactQuery::all(session, LOOK_BACK)
            };
            for stored in store.query_facts(query).await.unwrap_or_default() {
                if let Fact::CallEnded { call, ending: CallEnding::Cancelled, .. } = &*stored.fact {
                    cancel_stray(Some(handle.clone()), *call).await;
                }
            }
        });
    }

    fn order(&self, job: Job) {
        self.shared.sandboxes.order(&self.shared.directory, self.state.session, job);
    }

    fn sandbox(&self) -> Option<SandboxId> {
        match self.state.sandbox {
            SandboxState::Running { sandbox, .. }
            | SandboxState::Starting { sandbox }
            | SandboxState::Stopping { sandbox, .. } => Some(sandbox),
            SandboxState::Absent { .. } => None,
        }
    }

    fn sandbox_since(&self) -> tenure_core::time::Timestamp {
        match self.state.sandbox {
            SandboxState::Running { since, .. } => since,
            SandboxState::Starting { .. } | SandboxState::Stopping { .. } | SandboxState::Absent { .. } => {
                self.state.at
            }
        }
    }
}

/// One call on its way.
struct Run {
    shared: Arc<Shared>,
    session: SessionId,
    sandbox: SandboxId,
    limits: Limits,
    open: OpenCall,
    asked_at: Option<SystemTime>,
    cancel: CancellationToken,
}

impl Run {
    async fn run(self) {
        metrics::counter!("tenure_tool_calls_total", "tool" => self.open.name.clone()).increment(1);
        let outcome = AssertUnwindSafe(self.perform()).catch_unwind().await;
        if self.cancel.is_cancelled() {
            return self.acknowledge_cancelled().await;
        }
        let result = match outcome {
            Ok(Ok(result)) => self.store(result).await,
            Ok(Err(ToolError::Model(text))) => finished(text, true),
            Ok(Err(ToolError::Operator { doing, source })) => {
                tracing::error!(session = %self.session, call = %self.open.call, tool = self.open.name, error = &*source as &dyn std::error::Error, "{doing}");
                finished(format!("the tool failed ({doing}); the operator has been told"), true)
            }
            Ok(Err(ToolError::Interrupted { reason })) => CallResult::Lost { reason },
            Ok(Err(ToolError::Cancelled)) => finished("cancelled".to_owned(), true),
            Ok(Err(ToolError::SandboxLost)) => {
                let reason = "it ended while a call was running".to_owned();
                return self.shared.directory.report(self.session, self.sandbox, SandboxReport::Lost { reason });
            }
            Err(_) => finished("the tool broke off by a mistake of ours; the operator has been told".to_owned(), true),
        };
        self.shared.directory.bring(self.session, FinishCall { call: self.open.call, result });
    }

    async fn perform(&self) -> Result<ToolResult, ToolError> {
        let name = self.open.name.as_str();
        let tool = self.shared.tools.iter().find(|tool| tool.spec().name == name);
        let tool = tool.ok_or_else(|| ToolError::Model(format!("there is no tool named `{name}`")))?;
        let ctx = ToolCtx {
            workspace: self.workspace().await?,
            call: self.open.call,
            asked_at: self.asked_at,
            cancel: self.cancel.clone(),
            progress: None,
            limits: self.shared.config.tool_limits,
        };
        tool.run(ctx, self.open.input.clone()).await
    }

    /// The result of a cancelled call was stored when it was cancelled.
    async fn acknowledge_cancelled(&self) {
        if let Some(handle) = self.shared.sandboxes.handle(self.session) {
            let _ = handle.acknowledge(self.open.call).await;
        }
    }

    async fn workspace(&self) -> Result<Arc<dyn Sandbox>, ToolError> {
        if let Some(handle) = self.shared.sandboxes.handle(self.session) {
            return Ok(handle);
        }
        let (reply, attached) = oneshot::channel();
        let job = Job::Attach { sandbox: self.sandbox, limits: self.limits, reply };
        self.shared.sandboxes.order(&self.shared.directory, self.session, job);
        let opened = attached.await.map_err(|_| ToolError::SandboxLost)?;
        opened.map_err(|error| ToolError::Operator { doing: "opening the sandbox".to_owned(), source: Box::new(error) })
    }

    /// Puts the result's pictures and documents where facts can name them.
    async fn store(&self, result: ToolResult) -> CallResult {
        let mut content = Vec::with_capacity(result.content.len());
        for piece in result.content {
            content.push(match piece {
                ToolContent::Text(text) => Block::text(text),
                ToolContent::Image { media_type, bytes } => match self.shared.store.put_blob(bytes).await {
                    Ok(blob) => Block::Image { source: Source::Blob { media_type, blob } },
                    Err(error) => return finished(format!("the picture can't be stored: {error}"), true),
                },
                ToolContent::Document { media_type, bytes } => match self.shared.store.put_blob(bytes).await {
                    Ok(blob) => {
                        Block::Document { source: Source::Blob { media_type, blob }, title: None, context: None }
                    }
                    Err(error) => return finished(format!("the document can't be stored: {error}"), true),
                },
            });
        }
        CallResult::Finished { content, is_error: result.is_error }
    }
}

async fn cancel_stray(handle: Option<Arc<dyn Sandbox>>, call: ItemId) {
    let Some(handle) = handle else { return };
    if let Err(error) = handle.cancel(call).await {
        tracing::warn!(%call, error = &error as &dyn std::error::Error, "call not cancelled");
    }
}

fn finished(text: String, is_error: bool) -> CallResult {
    CallResult::Finished { content: vec![Block::text(text)], is_error }
}

fn asked_at(open: &OpenCall) -> SystemTime {
    let micros = u64::try_from(open.asked_at.as_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}
