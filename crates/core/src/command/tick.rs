//! Time has passed.

use crate::decide::{Draft, Refusal};

/// Applies what is due by itself. Every command does so first; this one does nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {}

impl Tick {
    #[expect(clippy::unnecessary_wraps, reason = "every command decides with the same signature")]
    pub(super) fn decide(self, _draft: &mut Draft) -> Result<(), Refusal> {
        let Self {} = self;
        Ok(())
    }
}
