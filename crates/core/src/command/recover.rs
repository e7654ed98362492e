//! The server has started again.

use super::report_sandbox::room;
use crate::decide::{Draft, Refusal};
use crate::fact::{AttemptEnding, Fact};
use crate::session::{Absent, Activity, Sandbox};

/// Takes up a session whose work was cut off. A model request is closed and made anew, since its reply is lost for good;
/// everything else goes on through the effects that are outstanding.
#[derive(Debug, Clone, PartialEq)]
pub struct Recover {
    /// Whether the sandbox that the log speaks of is still alive.
    pub sandbox_alive: bool,
}

impl Recover {
    #[expect(clippy::unnecessary_wraps, reason = "every command decides with the same signature")]
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        if let Activity::Asking { attempt } = draft.state.thread.activity {
            draft.end_attempt(attempt, AttemptEnding::Lost);
            draft.ask(attempt.failures);
        }
        match draft.state.sandbox {
            Sandbox::Running { .. } if !self.sandbox_alive => {
                let reason = Some("the sandbox was gone when the server started again".to_owned());
                draft.push(Fact::SandboxAbsent { why: Absent::Lost, reason });
            }
            Sandbox::Absent { why: Absent::Queued } => room(draft),
            Sandbox::Absent { .. } | Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. } => {}
        }
        Ok(())
    }
}
