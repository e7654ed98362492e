//! A session is the copy of another, and begins its own life.

use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::fork::ForkedFrom;
use crate::id::SnapshotId;

/// Decided upon the state of the other session at the place where they part, under the new session's name. It starts idle:
/// what was open there is closed, and nothing waits in it. What it has spent counts from zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Fork {
    /// From which session, where, and what is taken over.
    pub from: ForkedFrom,
    /// The name of the snapshot whose files it begins with, if that has one.
    pub name: Option<String>,
    /// The earlier snapshots that it has too.
    pub earlier: Vec<SnapshotId>,
    /// Its own label for people.
    pub title: Option<String>,
}

impl Fork {
    #[expect(clippy::unnecessary_wraps, reason = "every command decides with the same signature")]
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Self { from, name, earlier, title } = self;
        draft.push(Fact::SessionForked { from, name, earlier, title });
        draft.come_apart("the session was forked before this call had a result, which the other session may get");
        Ok(())
    }
}
