//! A tool call is over.

use crate::content::Block;
use crate::decide::{Draft, Refusal};
use crate::fact::CallEnding;
use crate::id::ItemId;
use crate::session::CallProgress;

/// The outcome of a call that was handed to the sandbox. For a call that isn't open any more, it changes nothing.
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
}

impl FinishCall {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        match draft.state.call(self.call).map(|open| open.progress) {
            Some(CallProgress::Started) => {}
            Some(CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Ready) | None => return Ok(()),
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
        }
        Ok(())
    }
}
