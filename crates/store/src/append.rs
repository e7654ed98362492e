//! Adding facts to a session.

use std::sync::Arc;

use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;

use crate::error::Error;
use crate::feed::FeedKind;
use crate::idempotency::{IdempotencyRecord, NewAnswer};

/// Facts to add to a session, and all that has to be stored in the same transaction.
#[derive(Debug, Clone)]
pub struct Append {
    /// Which session.
    pub session: SessionId,
    /// The place of its last fact as the writer knows it; 0 creates the session.
    pub expected_seq: u64,
    /// At least one fact; their `seq` goes on from `expected_seq` without gaps and their `at` never decreases.
    pub facts: Vec<StoredFact>,
    /// The session's row after these facts.
    pub summary: Summary,
    /// What the session was created with; needed at its creation and when it changed.
    pub definition: Option<Arc<Definition>>,
    /// What the tenant's feed says about it, in order.
    pub feed: Vec<FeedKind>,
    /// The answer to the request that led to it.
    pub answer: NewAnswer,
}

/// Why facts weren't added. In every case nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The session's last fact is another one: read again, decide again.
    #[error("the session's last fact is {actual}, not the expected one")]
    Conflict {
        /// The place of its last fact.
        actual: u64,
    },
    /// The session was deleted or never existed.
    #[error("the session is gone")]
    Gone,
    /// The answer's key has been used: this is the answer to give.
    #[error("the idempotency key has been used")]
    KeyTaken(Box<IdempotencyRecord>),
    /// Too much is waiting to be written. Try again later.
    #[error("the store has too much to do; try again later")]
    Busy,
    /// The append contradicts itself or the log: a mistake of the caller's.
    #[error("invalid append: {0}")]
    Invalid(String),
    /// The disk or the database failed.
    #[error(transparent)]
    Internal(Error),
}

impl From<Error> for AppendError {
    fn from(error: Error) -> Self {
        match error {
            Error::Busy => Self::Busy,
            Error::Unavailable { .. } | Error::Unreadable { .. } | Error::Internal { .. } => Self::Internal(error),
        }
    }
}

/// The end of a session's log, as an append finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
}

impl Append {
    /// Whether this append is sound in itself.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        let invalid = |why: String| Err(AppendError::Invalid(why));
        let Some(last) = self.facts.last() else {
            return invalid("it has no facts".to_owned());
        };
        let mut at = Timestamp::from_micros(i64::MIN);
        for (expected, stored) in (self.expected_seq + 1..).zip(&self.facts) {
            if stored.seq != expected {
                return invalid(format!("fact {} stands where {expected} belongs", stored.seq));
            }
            if stored.session != self.session {
                return invalid(format!("fact {expected} is of another session"));
            }
            if stored.at < at {
                return invalid(format!("fact {expected} is earlier than the one before it"));
            }
            at = stored.at;
        }
        if self.summary.session != self.session || self.summary.seq != last.seq {
            return invalid(format!("the row is not the one after fact {}", last.seq));
        }
        if self.expected_seq == 0 && self.definition.is_none() {
            return invalid("a new session needs a definition".to_owned());
        }
        Ok(())
    }

    /// Whether it fits the log's end; `None` when there is no such session.
    pub(crate) fn check_against(&self, end: Option<LogEnd>) -> Result<(), AppendError> {
        match end {
            None if self.expected_seq == 0 => Ok(()),
            None => Err(AppendError::Gone),
            Some(end) if end.seq != self.expected_seq => Err(AppendError::Conflict { actual: end.seq }),
            Some(end) if self.facts.first().is_some_and(|first| first.at < end.at) => {
                Err(AppendError::Invalid(format!("fact {} is earlier than the one before it", self.expected_seq + 1)))
            }
            Some(_) => Ok(()),
        }
    }
}
