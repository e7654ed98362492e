//! Running one order in the sandbox, cancellable.

use tenure_sandbox::{CallEnd, Error, Exit, Order};
use tokio::sync::mpsc;

use crate::{ToolCtx, ToolError};

/// Runs `order`; when the call is cancelled, cancels it in the sandbox and waits for its end there, so that nothing of
/// it is alive when this returns.
pub(crate) async fn run(
    ctx: &ToolCtx,
    order: Order,
    progress: Option<mpsc::Sender<Vec<u8>>>,
) -> Result<Exit, ToolError> {
    let call = order.call;
    let mut running = ctx.workspace.run(order, progress);
    let end = tokio::select! {
        end = &mut running => end,
        () = ctx.cancel.cancelled() => {
            // A call that an earlier process started is cancelled by this too: the sandbox remembers the cancel.
            ctx.workspace.cancel(call).await.map_err(failure)?;
            running.await
        }
    };
    match end.map_err(failure)? {
        CallEnd::Exited(exit) => Ok(exit),
        CallEnd::Interrupted { reason } => Err(ToolError::Interrupted { reason }),
    }
}

fn failure(error: Error) -> ToolError {
    match error {
        Error::Lost => ToolError::SandboxLost,
        Error::Refused { .. }
        | Error::Unenforceable { .. }
        | Error::Invalid(_)
        | Error::Superseded { .. }
        | Error::Incompatible { .. }
        | Error::Failed { .. } => {
            ToolError::Operator { doing: "running a call in the sandbox".to_owned(), source: error.into() }
        }
    }
}
