//! `/v2`'s column of the status table.

use tenure_core::phase::Phase;

#[cfg_attr(not(test), expect(dead_code, reason = "the door itself comes later; its column is compared already"))]
/// A session's status as the Deck API has it. What has no run yet shows `queued` while it works; that is for whoever
/// knows the runs.
pub(crate) fn status(phase: Phase) -> &'static str {
    match phase {
        Phase::Failed => "failed",
        Phase::TimedOut | Phase::Archived | Phase::Completed | Phase::EndedByUser => "completed",
        Phase::ClosingToArchive | Phase::Closing => "completing",
        Phase::Stopping => "idle",
        Phase::WorkQueued => "queued",
        Phase::Rescheduling | Phase::Working | Phase::WaitingStopped | Phase::Waiting => "running",
        Phase::IdleQueued | Phase::IdleStarting | Phase::IdleStopped | Phase::Idle => "idle",
    }
}
