//! Somebody takes queued input back.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::id::ItemId;
use crate::session::Lifecycle;

/// Takes back input that hasn't taken effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Withdraw {
    /// The input's item.
    pub item: ItemId,
}

impl Withdraw {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { item } = self;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        let queued = draft.state.queue.iter().find(|queued| queued.item == item);
        let input = queued.ok_or(Refusal::NotQueued { item })?.input.clone();
        draft.push(Fact::InputWithdrawn { item, thread: draft.state.thread.id, input });
        Ok(())
    }
}
