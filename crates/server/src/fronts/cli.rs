//! The command line's column of the status table.

use tenure_core::phase::Phase;

/// What the command line shows.
pub(crate) fn status(phase: Phase) -> &'static str {
    match phase {
        Phase::Failed | Phase::Archived | Phase::Completed | Phase::EndedByUser => "ended",
        Phase::TimedOut => "timeout",
        Phase::ClosingToArchive | Phase::Closing => "active",
        Phase::Stopping => "idle",
        Phase::WorkQueued | Phase::Rescheduling | Phase::Working => "active",
        Phase::WaitingStopped | Phase::Waiting => "idle",
        Phase::IdleQueued | Phase::IdleStarting | Phase::IdleStopped | Phase::Idle => "idle",
    }
}
