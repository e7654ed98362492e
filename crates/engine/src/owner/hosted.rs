//! Calls that the server itself runs: they neither start a sandbox nor wait for one.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tenure_core::command::{CallResult, FinishCall};
use tenure_core::id::{ItemId, SessionId};
use tenure_core::session::OpenCall;
use tenure_core::shown_urls::shown_urls;
use tenure_tools::{HostedCtx, ToolError, ToolResult};
use tracing::Instrument as _;

use super::result::{finished, stored};
use super::{InFlight, Owner};
use crate::engine::Shared;

impl Owner<'_> {
    pub(super) fn run_hosted_call(&mut self, call: ItemId) {
        let Some(open) = self.state.call(call).cloned() else { return };
        if self.hosted.contains_key(&call) {
            return;
        }
        let span = self.turn.call(&self.state, &open);
        let web_fetch = self.state.definition.agent.web_fetch();
        let shown_urls = web_fetch.url_sources.as_ref().map(|sources| shown_urls(&self.state, sources));
        let ctx = HostedCtx { call, web_fetch, shown_urls };
        let run = Run { shared: self.shared.clone(), session: self.state.session, open, ctx };
        let (draining, places) = (self.shared.draining.clone(), self.shared.hosted_places.clone());
        let ran = async move {
            // What still waits when the engine ends is left to the next start.
            let Some(Ok(_place)) = draining.run_until_cancelled(places.acquire_owned()).await else { return };
            run.run().await;
        };
        let task = self.shared.requests.spawn(ran.instrument(span));
        self.hosted.insert(call, InFlight(task.abort_handle()));
    }

    pub(super) fn end_hosted_call(&mut self, call: ItemId) {
        self.hosted.remove(&call);
    }
}

/// One call on its way.
struct Run {
    shared: Arc<Shared>,
    session: SessionId,
    open: OpenCall,
    ctx: HostedCtx,
}

impl Run {
    async fn run(self) {
        let Self { shared, session, open, ctx: _ } = &self;
        metrics::counter!("tenure_tool_calls_total", "tool" => open.name.clone()).increment(1);
        let result = match AssertUnwindSafe(self.perform()).catch_unwind().await {
            Ok(Ok(result)) => stored(shared, result).await,
            Ok(Err(ToolError::Model(text))) => finished(text, true),
            Ok(Err(ToolError::Operator { doing, source })) => {
                tracing::error!(%session, call = %open.call, tool = open.name, error = &*source as &dyn std::error::Error, "{doing}");
                finished(format!("the tool failed ({doing}); the operator has been told"), true)
            }
            Ok(Err(ToolError::Interrupted { reason })) => CallResult::Lost { reason },
            Ok(Err(error @ (ToolError::Cancelled | ToolError::SandboxLost))) => finished(error.to_string(), true),
            Err(_) => finished("the tool broke off by a mistake of ours; the operator has been told".to_owned(), true),
        };
        shared.directory.bring(*session, FinishCall { call: open.call, result });
    }

    async fn perform(&self) -> Result<ToolResult, ToolError> {
        let name = self.open.name.as_str();
        let tool = self.shared.hosted_tools.iter().find(|tool| tool.spec().name == name);
        let tool = tool.ok_or_else(|| ToolError::Model(format!("the tool `{name}` is switched off on this server")))?;
        tool.run(self.ctx.clone(), self.open.input.clone()).await
    }
}
