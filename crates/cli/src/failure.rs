//! How a command can end.

use std::process::ExitCode;

/// What a command leaves behind for the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Success,
    /// It didn't, and has said why.
    Failure,
    /// A person broke it off (SIGINT).
    Interrupted,
    /// It was told to end (SIGTERM).
    Terminated,
    /// Its terminal was closed (SIGHUP).
    HungUp,
    /// As the command ended that was run elsewhere.
    Of(u8),
}

impl Exit {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Interrupted => 130,
            Self::Terminated => 143,
            Self::HungUp => 129,
            Self::Of(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// An error with what the person can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Advised {
    message: String,
    /// What to do, a sentence or a command.
    pub(crate) advice: String,
}

/// An error that says what to do.
pub(crate) fn advised(message: impl Into<String>, advice: impl Into<String>) -> anyhow::Error {
    Advised { message: message.into(), advice: advice.into() }.into()
}
