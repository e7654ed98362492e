//! Somebody takes queued input back.

use std::sync::Arc;

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::id::ItemId;
use crate::session::{Input, Lifecycle};
use crate::state::Queued;

/// Takes back input that hasn't taken effect, and with a message the instructions that came with it.
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
        let at = draft.state.queue.iter().position(|queued| queued.item == item);
        let together = together(draft.state.queue.iter().skip(at.ok_or(Refusal::NotQueued { item })?));
        for (item, input) in together {
            draft.push(Fact::InputWithdrawn { item, thread: draft.state.thread.id, input });
        }
        Ok(())
    }
}

/// The first of these, and if it is a message, the instructions that were sent right behind it.
fn together<'q>(mut queue: impl Iterator<Item = &'q Arc<Queued>>) -> Vec<(ItemId, Input)> {
    let Some(first) = queue.next() else { return Vec::new() };
    let mut all = vec![(first.item, first.input.clone())];
    if matches!(first.input, Input::Message { .. }) {
        let mut last = first.seq;
        // Those behind the result of a call, which wait too, have that result's fact before them.
        all.extend(queue.map_while(|queued| {
            let follows = queued.seq == last + 1 && matches!(queued.input, Input::SystemMessage { .. });
            last = queued.seq;
            follows.then(|| (queued.item, queued.input.clone()))
        }));
    }
    all
}
