//! What can go wrong with any request to the store.

use std::fmt;
use std::sync::Arc;

/// Why a request failed, by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Too much is waiting to be written. Nothing was done; try again later.
    #[error("the store has too much to do; try again later")]
    Busy,
    /// The disk is full, read-only or failing, or another program holds the database. Nothing was done; once that is
    /// mended, by itself or by an operator, the same request succeeds.
    #[error("the store can't do that now: {reason}")]
    Unavailable {
        /// What was being done and what is in the way, for the operator.
        reason: String,
    },
    /// What is stored can't be read by this build: a newer one wrote it, or it is damaged.
    #[error("{what} can't be read: {why}")]
    Unreadable {
        /// What was to be read.
        what: String,
        /// Why it can't be.
        why: String,
    },
    /// The disk or the database failed. Whether a write took place is unknown only if the process dies with it;
    /// otherwise it did not.
    #[error("{operation} failed")]
    Internal {
        /// What was being done.
        operation: String,
        /// The cause, for the operator.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(crate) fn internal(
        operation: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Internal { operation: operation.into(), source: Arc::from(source.into()) }
    }

    pub(crate) fn unreadable(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Unreadable { what: what.to_string(), why: why.to_string() }
    }
}
