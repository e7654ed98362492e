use std::fmt;
use std::time::Duration;

use tenure_core::decide::Refusal;
use tenure_store::{AppendError, IdempotencyRecord, ResourceError};

/// Why a request had no effect, by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or it is another tenant's: name one that exists.
    #[error("no {what} `{id}`")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// The id or name that was given.
        id: String,
    },
    /// The session's state doesn't allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A value is wrong: send another.
    #[error("{field}: {message}")]
    Invalid {
        /// Where it is in the request.
        field: String,
        /// What was expected and what came.
        message: String,
    },
    /// It is archived, which is for good: take another.
    #[error("{field}: {message}")]
    Archived {
        /// What kind of thing.
        what: &'static str,
        /// Where the request names it.
        field: &'static str,
        /// What can't be done with it any more.
        message: &'static str,
    },
    /// Something refers to it: remove that first.
    #[error("sessions refer to {what} `{id}`; delete them first")]
    InUse {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// It changed meanwhile: read again.
    #[error("{message}")]
    Conflict {
        /// What was expected and what is.
        message: String,
    },
    /// Another thing has that name: choose one that is free.
    #[error("{field}: `{name}` is taken")]
    NameTaken {
        /// Where the name is in the request.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// The idempotency key has an answer already: give that.
    #[error("the idempotency key has been used")]
    KeyTaken(Box<IdempotencyRecord>),
    /// It was there, and is no more: nothing brings it back.
    #[error("{message}")]
    Gone {
        /// What was removed, and why.
        message: &'static str,
    },
    /// There is too much to do: try again after a while.
    #[error("too much to do; try again")]
    Busy {
        /// After how long.
        retry_after: Duration,
    },
    /// No sandbox can be opened for a visit now: try again when another has ended.
    #[error(
        "there is no room for another sandbox: at most {most} may be alive at once (--max-sandboxes); try again when one has ended"
    )]
    NoRoom {
        /// How many there may be.
        most: usize,
    },
    /// What it takes isn't there at present (the disk is full, a sandbox was lost, say): try again after a while.
    #[error("the server can't do that now: {reason}")]
    Unavailable {
        /// What is in the way, for the operator.
        reason: String,
        /// After how long.
        retry_after: Duration,
    },
    /// It failed here: the operator must look. The cause is for the log, not for the caller.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn not_found(what: &'static str, id: impl fmt::Display) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// The session's owner broke off by a mistake of ours.
    pub(crate) fn broken_off(session: impl fmt::Display) -> Self {
        Self::Internal(format!("the owner of session {session} broke off").into())
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    pub(crate) fn busy() -> Self {
        Self::Busy { retry_after: Duration::from_secs(1) }
    }

    /// A resource write's error in this crate's terms.
    pub(crate) fn of_resource(error: ResourceError, what: &'static str, field: &'static str, name: &str) -> Self {
        match error {
            ResourceError::NameTaken => Self::NameTaken { field, name: name.to_owned() },
            ResourceError::Conflict => {
                Self::Conflict { message: format!("the {what} changed at the same time; read it again") }
            }
            ResourceError::InUse => Self::InUse { what, id: name.to_owned() },
            ResourceError::NotFound => Self::not_found(what, name),
            ResourceError::KeyTaken(record) => Self::KeyTaken(record),
            ResourceError::Store(error) => error.into(),
        }
    }
}

impl From<tenure_store::Error> for Error {
    fn from(error: tenure_store::Error) -> Self {
        match error {
            tenure_store::Error::Busy => Self::busy(),
            tenure_store::Error::Unavailable { reason } => {
                Self::Unavailable { reason, retry_after: Duration::from_secs(1) }
            }
            other @ (tenure_store::Error::Unreadable { .. } | tenure_store::Error::Internal { .. }) => {
                Self::Internal(Box::new(other))
            }
        }
    }
}

impl From<tenure_sandbox::Error> for Error {
    fn from(error: tenure_sandbox::Error) -> Self {
        use tenure_sandbox::Error as Cause;
        match error {
            Cause::Invalid(message) => Self::invalid("", message),
            Cause::Lost => Self::Unavailable {
                reason: "the sandbox was lost; try again".to_owned(),
                retry_after: Duration::from_secs(1),
            },
            Cause::Refused { .. } | Cause::Unenforceable { .. } => {
                Self::Unavailable { reason: error.to_string(), retry_after: Duration::from_secs(60) }
            }
            Cause::Superseded { .. } | Cause::Incompatible { .. } | Cause::Failed { .. } => {
                Self::Internal(Box::new(error))
            }
        }
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::busy(),
            AppendError::KeyTaken(record) => Self::KeyTaken(record),
            AppendError::Internal(error) => error.into(),
            other @ (AppendError::Conflict { .. } | AppendError::Gone | AppendError::Invalid(_)) => {
                Self::Internal(Box::new(other))
            }
        }
    }
}
