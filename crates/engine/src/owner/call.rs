//! Running tool calls, and the sandbox they run in.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tenure_core::agent::Limits;
use tenure_core::command::{CallResult, FinishCall, SandboxReport};
use tenure_core::id::{ItemId, SandboxId, SessionId};
use tenure_core::root::Basis;
use tenure_core::session::{OpenCall, Sandbox as SandboxState, StopCause};
use tenure_sandbox::{Error as SandboxError, Order, Sandbox, Work};
use tenure_tools::{ToolCtx, ToolError, ToolLimits, ToolResult};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::result::{finished, stored};
use super::{Origin, Owner};
use crate::engine::Shared;
use crate::sandboxes::Job;

/// How long a call waits for cancelled ones before it to be over.
const CANCELLED_ARE_OVER: Duration = Duration::from_secs(15);

/// A call that runs.
#[derive(Debug)]
pub(crate) struct Running {
    cancel: CancellationToken,
    /// Set when its sandbox is gone: it isn't begun any more, and is judged by the next sandbox.
    obsolete: CancellationToken,
    task: JoinHandle<()>,
}

impl Owner<'_> {
    pub(super) fn run_call(&mut self, call: ItemId, origin: Origin) {
        let Some(open) = self.state.call(call).cloned() else { return };
        if self.calls.get(&call).is_some_and(|running| !running.task.is_finished()) {
            return;
        }
        let Some(sandbox) = self.sandbox() else { return };
        let (cancel, obsolete) = (CancellationToken::new(), CancellationToken::new());
        let run = Run {
            place: self.at(sandbox),
            // A call that an earlier sandbox or server may have started is judged with its age in mind.
            asked_at: (origin == Origin::Restart || open.asked_at < self.sandbox_since()).then(|| asked_at(&open)),
            open,
            cancel: cancel.clone(),
            obsolete: obsolete.clone(),
        };
        let ending = std::mem::take(&mut self.ending);
        let span = self.turn.call(&self.state, &run.open);
        let ran = async move {
            let over = futures_util::future::join_all(ending);
            let _ = tokio::time::timeout(CANCELLED_ARE_OVER, over).await;
            run.run().await;
        };
        let task = tokio::spawn(ran.instrument(span));
        self.calls.insert(call, Running { cancel, obsolete, task });
    }

    pub(super) fn cancel_call(&mut self, call: ItemId) {
        match self.calls.remove(&call) {
            Some(running) => {
                running.cancel.cancel();
                self.ending.push(running.task);
            }
            None => {
                let Some(sandbox) = self.sandbox() else { return };
                let place = self.at(sandbox);
                // Asked for right here, so that it comes before the sandbox is stopped, and never makes it anew after that.
                let workspace = place.workspace();
                self.ending.push(tokio::spawn(async move { place.end_stray(call, workspace.await).await }));
            }
        }
    }

    /// Lets go of calls that have their result, and lets their journals go.
    pub(super) fn forget_calls(&mut self) {
        let state = &self.state;
        let over: Vec<ItemId> = self.calls.keys().copied().filter(|call| state.call(*call).is_none()).collect();
        for call in over {
            let Some(running) = self.calls.remove(&call) else { continue };
            running.obsolete.cancel();
            if let Some(handle) = self.shared.sandboxes.handle(self.state.session) {
                tokio::spawn(async move {
                    // Whoever is still on the way to it must find its journal, or would run it again.
                    drop(running.task.await);
                    drop(handle.acknowledge(call).await);
                });
            }
        }
        match self.state.sandbox {
            // Whatever ran in the last sandbox is over; a call without a result is judged anew in the next one.
            SandboxState::Absent { .. } | SandboxState::Starting { .. } => {
                for (_, running) in self.calls.drain() {
                    running.obsolete.cancel();
                    // It may have got hold of the next sandbox already; the next run of the same call comes after it.
                    self.ending.push(running.task);
                }
            }
            SandboxState::Running { .. } | SandboxState::Stopping { .. } => {}
        }
    }

    pub(super) fn start_sandbox(&self, sandbox: SandboxId) {
        let definition = &self.state.definition;
        let (limits, basis) = (definition.environment.limits, definition.environment.basis());
        self.order(Job::Start { sandbox, limits, basis, tenant: definition.tenant });
    }

    pub(super) fn stop_sandbox(&self, sandbox: SandboxId, grace: Duration) {
        let idle = matches!(self.state.sandbox, SandboxState::Stopping { why: StopCause::IdleTooLong, .. });
        self.order(Job::Stop { sandbox, grace, idle });
    }

    pub(super) fn remove_files(&self) {
        self.order(Job::Remove { reply: None });
    }

    /// After a restart: takes hold of the sandbox, so that its end is noticed, and has it forget calls that are over, whose
    /// results were stored just before.
    pub(super) fn reattach(&self) {
        let Some(sandbox) = self.sandbox() else { return };
        let (place, unfinished) = (self.at(sandbox), self.state.unfinished_calls());
        tokio::spawn(async move {
            let Ok(handle) = place.workspace().await else { return };
            if let Err(error) = handle.settle(&unfinished).await {
                let (session, error) = (place.session, &error as &dyn std::error::Error);
                tracing::warn!(%session, error, "calls that are over not forgotten");
            }
        });
    }

    /// Where calls in the present sandbox are run.
    fn at(&self, sandbox: SandboxId) -> Place {
        let environment = &self.state.definition.environment;
        let (limits, basis) = (environment.limits, environment.basis());
        Place { shared: self.shared.clone(), session: self.state.session, sandbox, limits, basis }
    }

    pub(super) fn order(&self, job: Job) {
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
    place: Place,
    open: OpenCall,
    asked_at: Option<SystemTime>,
    cancel: CancellationToken,
    obsolete: CancellationToken,
}

impl Run {
    async fn run(self) {
        metrics::counter!("tenure_tool_calls_total", "tool" => self.open.name.clone()).increment(1);
        if self.obsolete.is_cancelled() {
            return;
        }
        let outcome = AssertUnwindSafe(self.perform()).catch_unwind().await;
        let Place { shared, session, sandbox, .. } = &self.place;
        if self.cancel.is_cancelled() {
            return match outcome {
                // Whether it is over isn't known.
                Ok(Err(ToolError::Operator { .. })) | Err(_) => {
                    let handle = shared.sandboxes.handle(*session).ok_or(ToolError::SandboxLost);
                    self.place.end_stray(self.open.call, handle).await;
                }
                Ok(_) => self.place.settle(self.open.call).await,
            };
        }
        let result = match outcome {
            Ok(Ok(result)) => stored(shared, result).await,
            Ok(Err(ToolError::Model(text))) => finished(text, true),
            Ok(Err(ToolError::Operator { doing, source })) => {
                tracing::error!(%session, call = %self.open.call, tool = self.open.name, error = &*source as &dyn std::error::Error, "{doing}");
                finished(format!("the tool failed ({doing}); the operator has been told"), true)
            }
            Ok(Err(ToolError::Interrupted { reason })) => CallResult::Lost { reason },
            Ok(Err(ToolError::Cancelled)) => finished("cancelled".to_owned(), true),
            // Its sandbox is known to be gone, or its result is there.
            Ok(Err(ToolError::SandboxLost)) if self.obsolete.is_cancelled() => return,
            Ok(Err(ToolError::SandboxLost)) => {
                let reason = "it ended while a call was running".to_owned();
                return shared.directory.report(*session, *sandbox, SandboxReport::Lost { reason });
            }
            Err(_) => finished("the tool broke off by a mistake of ours; the operator has been told".to_owned(), true),
        };
        shared.directory.bring(*session, FinishCall { call: self.open.call, result });
    }

    async fn perform(&self) -> Result<ToolResult, ToolError> {
        // Its sandbox may have been stopped since, and must not be made anew for nothing.
        if self.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        let name = self.open.name.as_str();
        let tool = self.place.shared.tools.iter().find(|tool| tool.spec().name == name);
        let tool = tool.ok_or_else(|| ToolError::Model(format!("there is no tool named `{name}`")))?;
        let workspace = self.place.workspace().await?;
        // What was waited for may be the next sandbox, in which somebody else runs this call.
        if self.obsolete.is_cancelled() {
            return Err(ToolError::SandboxLost);
        }
        let ctx = ToolCtx {
            workspace,
            call: self.open.call,
            asked_at: self.asked_at,
            cancel: self.cancel.clone(),
            progress: None,
            limits: tool_limits(self.place.shared.config.tool_limits, self.place.limits),
        };
        tool.run(ctx, self.open.input.clone()).await
    }
}

/// The operator's limits of a call, and those of the session where they are less.
fn tool_limits(operators: ToolLimits, Limits { call_ms, output_bytes, .. }: Limits) -> ToolLimits {
    let longest = call_ms.map_or(operators.max_timeout, |most| operators.max_timeout.min(Duration::from_millis(most)));
    let kept = output_bytes.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    ToolLimits {
        kept_output_bytes: operators.kept_output_bytes.min(kept),
        default_timeout: operators.default_timeout.min(longest),
        max_timeout: longest,
        ..operators
    }
}

/// A session's sandbox, to be attached to when it is needed.
#[derive(Clone)]
struct Place {
    shared: Arc<Shared>,
    session: SessionId,
    sandbox: SandboxId,
    limits: Limits,
    basis: Basis,
}

impl Place {
    /// The sandbox. It is asked for before this returns; what comes back is the waiting for it.
    fn workspace(&self) -> impl Future<Output = Result<Arc<dyn Sandbox>, ToolError>> + Send + use<> {
        let handle = self.shared.sandboxes.handle(self.session);
        let attached = handle.is_none().then(|| {
            let (reply, attached) = oneshot::channel();
            let job = Job::Attach { sandbox: self.sandbox, limits: self.limits, basis: self.basis.clone(), reply };
            self.shared.sandboxes.order(&self.shared.directory, self.session, job);
            attached
        });
        async move {
            match (handle, attached) {
                (Some(handle), _) => Ok(handle),
                (None, Some(attached)) => {
                    let opened = attached.await.map_err(|_| ToolError::SandboxLost)?;
                    let doing = || "opening the sandbox".to_owned();
                    opened.map_err(|error| ToolError::Operator { doing: doing(), source: Box::new(error) })
                }
                (None, None) => Err(ToolError::SandboxLost),
            }
        }
    }

    /// Ends a cancelled call that nothing in this process waits for, whether the sandbox ever heard of it or not.
    async fn end_stray(&self, call: ItemId, handle: Result<Arc<dyn Sandbox>, ToolError>) {
        match self.cancel(call, handle).await {
            Ok(()) => self.settle(call).await,
            Err(error) => {
                let session = self.session;
                tracing::warn!(%session, %call, error = &error as &dyn std::error::Error, "call not cancelled; tried again at the next start");
            }
        }
    }

    async fn cancel(&self, call: ItemId, handle: Result<Arc<dyn Sandbox>, ToolError>) -> Result<(), ToolError> {
        let handle = match handle {
            Ok(handle) => handle,
            Err(ToolError::SandboxLost) => return Ok(()),
            Err(error) => return Err(error),
        };
        let failed = |source: SandboxError| ToolError::Operator {
            doing: "cancelling a call".to_owned(),
            source: Box::new(source),
        };
        // The sandbox remembers the cancel, so this order starts nothing; it tells when all that the call started is over.
        let order = Order::new(call, Work::Shell { command: ":".to_owned(), restart: false });
        let ended = async {
            handle.cancel(call).await?;
            handle.run(order, None).await
        };
        match ended.await {
            Ok(_) | Err(SandboxError::Lost) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// A cancelled call, whose result was stored when it was cancelled, is over.
    async fn settle(&self, call: ItemId) {
        if let Some(handle) = self.shared.sandboxes.handle(self.session) {
            let _ = handle.acknowledge(call).await;
        }
        self.shared.directory.bring(self.session, FinishCall { call, result: CallResult::Cancelled });
    }
}

fn asked_at(open: &OpenCall) -> SystemTime {
    let micros = u64::try_from(open.asked_at.as_micros()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}
