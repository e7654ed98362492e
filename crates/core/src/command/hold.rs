//! Somebody stops a session for now.

use crate::decide::{Draft, Refusal};
use crate::session::Lifecycle;

/// Interrupts the work and stops the sandbox. Everything is kept; a resume or the next message wakes the session.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {}

impl Hold {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self {} = self;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        draft.hold();
        Ok(())
    }
}
