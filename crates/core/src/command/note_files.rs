//! Somebody other than a call uses a session's sandbox: runs something in it, or writes its files.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::lifetime;
use crate::session::Lifecycle;

/// Notes that the files won't be what the last snapshot holds, so that the next turn's end takes another, and that the session isn't
/// idle: its clocks begin anew.
#[derive(Debug, Clone, PartialEq)]
pub struct NoteFiles {
    /// Whether they have done so until now; else they are about to.
    pub over: bool,
}

impl NoteFiles {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        // That they were there until now is known to what is due, which was applied before.
        let Self { over: _ } = self;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = draft.state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        if !draft.state.files.changed || lifetime::use_counts(&draft.state, draft.at) {
            draft.push(Fact::FilesChanged {});
        }
        Ok(())
    }
}
