use std::io;

use serde::{Deserialize, Serialize};

use crate::wire::{Control, SupervisorTell};

/// Why something asked of the supervisor was not done, on its way to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Refused { cause: String, fix: String },
    Unenforceable { what: Control, cause: String },
    Failed { doing: String, cause: String },
    Invalid { why: String },
}

impl From<Failure> for SupervisorTell {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { cause, fix } => Self::Refused { cause, fix },
            Failure::Unenforceable { what, cause } => Self::Unenforceable { what, cause },
            Failure::Failed { doing, cause } => Self::Failed { doing, cause },
            Failure::Invalid { why } => Self::Invalid { why },
        }
    }
}

/// Says what was being done when something failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::Failed { doing: what(), cause: error.into().to_string() })
    }
}
