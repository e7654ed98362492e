//! Somebody lets a stopped session go on.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::files::FilesWork;
use crate::session::{Absent, Lifecycle, Sandbox};

/// Wakes the session: its sandbox starts, and queued input is taken up. Resuming one that isn't stopped changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {}

impl Resume {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self {} = self;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        if matches!(draft.state.files.work, Some(FilesWork::Rewind { .. })) {
            return Err(Refusal::FilesBusy);
        }
        match draft.state.sandbox {
            Sandbox::Stopping { .. } => Err(Refusal::Stopping),
            Sandbox::Absent { why: Absent::Stopped } => {
                draft.push(Fact::SessionResumed {});
                let sandbox = draft.ids.sandbox();
                draft.push(Fact::SandboxStarting { sandbox });
                Ok(())
            }
            Sandbox::Absent { why: Absent::NotYet | Absent::Queued | Absent::Lost }
            | Sandbox::Starting { .. }
            | Sandbox::Running { .. } => Ok(()),
        }
    }
}
