//! Making a session from the beginning of another's log.

use tenure_core::id::SessionId;

use crate::append::{Append, AppendError};

/// A new session that begins with facts of another.
#[derive(Debug, Clone)]
pub struct Fork {
    /// The other session. As many of its first facts are copied as the append expects.
    pub from: SessionId,
    /// What follows them in the new session, with its row and definition.
    pub append: Append,
}

impl Fork {
    /// Whether it is sound in itself.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        self.append.check()?;
        if self.append.expected_seq == 0 || self.append.definition.is_none() {
            return Err(AppendError::Invalid("a fork begins with facts of the other and has a definition".to_owned()));
        }
        Ok(())
    }
}
