//! A tool call is over.

use crate::content::Block;
use crate::decide::{Draft, Refusal};
use crate::fact::{CallEnding, Fact};
use crate::id::ItemId;
use crate::session::CallProgress;

/// The outcome of a call that was handed to the sandbox. One that was cancelled meanwhile has its result already, and is
/// known to be over now. For any other that isn't open any more, it changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishCall {
    /// Which call.
    pub call: ItemId,
    /// Its outcome.
    pub result: CallResult,
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum CallResult {
    /// It ran to its end.
    Finished {
        /// Its result, for the model.
        content: Vec<Block>,
        /// Whether it failed.
        is_error: bool,
    },
    /// It had started and then its sandbox died.
    Lost {
        /// How, for the model.
        reason: String,
    },
    /// It was cancelled, and everything it had started is over.
    Cancelled,
}

impl FinishCall {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        if draft.state.thread.ending.contains(&self.call) {
            draft.push(Fact::CallSettled { call: self.call });
            return Ok(());
        }
        match draft.state.call(self.call).map(|open| open.progress) {
            Some(CallProgress::Started) => {}
            Some(
                CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Question | CallProgress::Ready,
            )
            | None => return Ok(()),
        }
        match self.result {
            CallResult::Finished { content, is_error } => {
                draft.end_call(self.call, CallEnding::Finished, content, is_error);
            }
            CallResult::Lost { reason } => {
                let text = format!(
                    "interrupted, outcome unknown: {reason}. Check whether it took effect before running it again."
                );
                draft.end_call(self.call, CallEnding::Lost, vec![Block::text(text)], true);
            }
            CallResult::Cancelled => {
                draft.end_call(self.call, CallEnding::Finished, vec![Block::text("cancelled")], true);
            }
        }
        Ok(())
    }
}
