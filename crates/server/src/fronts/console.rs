//! The console's column of the status table.

use tenure_core::phase::Phase;

/// What the console shows.
pub(crate) fn status(phase: Phase) -> &'static str {
    match phase {
        Phase::Failed => "Failed",
        Phase::TimedOut => "Timed out",
        Phase::Archived => "Archived",
        Phase::Completed => "Completed",
        Phase::EndedByUser => "Ended",
        Phase::ClosingToArchive | Phase::Closing | Phase::Stopping => "Stopping",
        Phase::WorkQueued => "Pending",
        Phase::Rescheduling | Phase::Working => "Running · working",
        Phase::WaitingStopped | Phase::IdleStopped => "Stopped",
        Phase::Waiting => "Running · waiting_input",
        Phase::IdleQueued => "Pending",
        Phase::IdleStarting => "Creating",
        Phase::Idle => "Running · idle",
    }
}
