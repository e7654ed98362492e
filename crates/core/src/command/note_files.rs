//! Somebody other than a call is about to write to a session's files.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::session::Lifecycle;

/// Notes that the files won't be what the last snapshot holds, so that the next turn's end takes another.
#[derive(Debug, Clone, PartialEq)]
pub struct NoteFiles {}

impl NoteFiles {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self {} = self;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        if !draft.state.files.changed {
            draft.push(Fact::FilesChanged {});
        }
        Ok(())
    }
}
