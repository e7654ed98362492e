//! Standing still while the supervisor puts other files under the sandbox.
//!
//! The supervisor asks for it on the board. The keeper then hears no server and starts nothing until it is let go, whoever
//! dies meanwhile: if the supervisor does, so does the keeper. It says whether anything else is alive; the shell, if it is idle
//! and can be restored, is given up first.

use std::time::{Duration, Instant};

use super::executor::Executor;
use super::process_tree::{self, Company};
use super::shell::{Saved, Shell};
use crate::supervisor::{Board, Stillness};

/// How long the shell may take to tell what it remembers, and then to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to look whether it is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How far standing still has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Nobody wants it.
    No,
    /// What served the last calls ends.
    Settling { until: Instant },
    /// The shell tells what it remembers.
    Saving { until: Instant },
    /// The shell ends.
    Ending { until: Instant },
    /// It was said how it is.
    Still,
}

/// Whether nothing else is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Hold {
    No,
    Yes,
    /// And the supervisor has been answered.
    Answered,
}

impl Quiet {
    /// Goes on with it.
    pub(crate) fn advance(&mut self, board: &Board, is_busy: bool, shell: &mut Shell, executor: &Executor) -> Hold {
        match board.stillness() {
            // What the shell tells must not be mixed with what a command prints.
            Stillness::Unwanted if self.is_hearing_the_shell(shell) => return Hold::Yes,
            Stillness::Unwanted => {
                *self = Self::No;
                return Hold::No;
            }
            Stillness::Wanted => {}
            Stillness::Alone | Stillness::InCompany => return Hold::Yes,
        }
        let until = Instant::now() + PATIENCE;
        let before = match *self {
            // It may have been let go and wanted again without having noticed.
            Self::No | Self::Still => Self::Settling { until },
            before => before,
        };
        let next = match before {
            Self::Settling { until } => match process_tree::company(executor.pid(), shell.processes()) {
                _ if is_busy => Self::Still,
                Company::Leaving if until > Instant::now() => before,
                Company::Leaving | Company::Others => Self::Still,
                Company::Nobody => match shell.save() {
                    Ok(()) => Self::Saving { until },
                    Err(_) => Self::Still,
                },
            },
            before => before,
        };
        let next = match next {
            Self::Saving { until } => match shell.is_saved() {
                Saved::NotYet if until > Instant::now() => next,
                Saved::NotYet | Saved::No => Self::Still,
                Saved::Yes => {
                    shell.give_up();
                    Self::Ending { until }
                }
            },
            other => other,
        };
        let (next, answer) = match next {
            Self::Ending { .. } if !process_tree::any_tool(executor.pid()) => (Self::Still, Some(Stillness::Alone)),
            Self::Ending { until } if until <= Instant::now() => (Self::Still, Some(Stillness::InCompany)),
            Self::Still => (Self::Still, Some(Stillness::InCompany)),
            Self::No | Self::Settling { .. } | Self::Saving { .. } | Self::Ending { .. } => (next, None),
        };
        *self = next;
        match answer {
            Some(answer) => {
                board.stand_still(answer);
                Hold::Answered
            }
            None => Hold::Yes,
        }
    }

    fn is_hearing_the_shell(self, shell: &Shell) -> bool {
        matches!(self, Self::Saving { until } if until > Instant::now() && shell.is_saved() == Saved::NotYet)
    }

    /// When to go on with it, if nothing happens before.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Self::No | Self::Still => None,
            Self::Saving { until } => Some(until),
            Self::Settling { .. } | Self::Ending { .. } => Some(Instant::now() + LOOK_AGAIN),
        }
    }
}
