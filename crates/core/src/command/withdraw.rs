//! Somebody takes queued input back.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::id::ItemId;

/// Takes back input that hasn't taken effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Withdraw {
    /// The input's item.
    pub item: ItemId,
}

impl Withdraw {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { item } = self;
        if !draft.state.queue.iter().any(|queued| queued.item == item) {
            return Err(Refusal::NotQueued { item });
        }
        draft.push(Fact::InputWithdrawn { item });
        Ok(())
    }
}
