//! Somebody ends a session, or archives it.

use crate::decide::{Draft, Refusal};
use crate::phase::Fold;
use crate::session::{Keep, Lifecycle, Outcome};

/// Ends the session. Archiving asks that no turn is under way, as the Managed Agents API does; any other end interrupts
/// it. Asking again for the same end changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// How it ends.
    pub outcome: Outcome,
    /// What is kept.
    pub keep: Keep,
}

impl End {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        match draft.state.lifecycle {
            Lifecycle::Open => {}
            Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } if outcome == self.outcome => {
                return Ok(());
            }
            Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } => {
                return Err(Refusal::Ended { outcome });
            }
        }
        let under_way = matches!(draft.state.fold(), Fold::Working | Fold::Rescheduling);
        if self.outcome == Outcome::Archived && under_way {
            return Err(Refusal::Busy);
        }
        draft.close(self.outcome, self.keep);
        Ok(())
    }
}
