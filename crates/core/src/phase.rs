//! The one-word answer to "what is this session doing", from which every front door's status follows.
//!
//! A variant is a line of the status table: the first line that matches. A front door holds its column of the table as an
//! exhaustive match on [`Phase`].

use serde::{Deserialize, Serialize};

use crate::session::{Absent, Lifecycle, Outcome, Sandbox, StopCause};

/// What a session's threads are doing, taken together: working before rescheduling before waiting before idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// Every thread is idle.
    Idle,
    /// At least one waits for somebody outside, and none works.
    Waiting,
    /// At least one waits to ask a model again, and none works.
    Rescheduling,
    /// At least one works.
    Working,
}

/// A line of the status table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It ended because it couldn't go on.
    Failed,
    /// It ended because it was idle for too long.
    TimedOut,
    /// It ended by being archived.
    Archived,
    /// It ended because its work was done.
    Completed,
    /// A person ended it.
    EndedByUser,
    /// It is about to be archived.
    ClosingToArchive,
    /// It is about to end in another way.
    Closing,
    /// Its sandbox is being stopped because somebody asked.
    Stopping,
    /// It has work, all of which waits for room for a sandbox.
    WorkQueued,
    /// It waits to ask a model again.
    Rescheduling,
    /// It works.
    Working,
    /// It waits for somebody outside, and its sandbox is stopped.
    WaitingStopped,
    /// It waits for somebody outside.
    Waiting,
    /// It is idle and its sandbox waits for room.
    IdleQueued,
    /// It is idle and its sandbox is starting.
    IdleStarting,
    /// It is idle and its sandbox is stopped.
    IdleStopped,
    /// It is idle.
    Idle,
}

impl Phase {
    /// Every line, in the table's order.
    pub const ALL: [Self; 17] = [
        Self::Failed,
        Self::TimedOut,
        Self::Archived,
        Self::Completed,
        Self::EndedByUser,
        Self::ClosingToArchive,
        Self::Closing,
        Self::Stopping,
        Self::WorkQueued,
        Self::Rescheduling,
        Self::Working,
        Self::WaitingStopped,
        Self::Waiting,
        Self::IdleQueued,
        Self::IdleStarting,
        Self::IdleStopped,
        Self::Idle,
    ];

    /// The line for these three parts.
    pub fn of(lifecycle: &Lifecycle, sandbox: &Sandbox, fold: Fold) -> Self {
        match lifecycle {
            Lifecycle::Ended { outcome, .. } => return Self::ended(*outcome),
            Lifecycle::Closing { outcome: Outcome::Archived, .. } => return Self::ClosingToArchive,
            Lifecycle::Closing { .. } => return Self::Closing,
            Lifecycle::Open => {}
        }
        match (sandbox, fold) {
            (Sandbox::Stopping { why: StopCause::Asked, .. }, _) => Self::Stopping,
            (Sandbox::Absent { why: Absent::Queued }, Fold::Working) => Self::WorkQueued,
            (_, Fold::Rescheduling) => Self::Rescheduling,
            (_, Fold::Working) => Self::Working,
            (Sandbox::Absent { why: Absent::Stopped }, Fold::Waiting) => Self::WaitingStopped,
            (_, Fold::Waiting) => Self::Waiting,
            (Sandbox::Absent { why: Absent::Queued }, Fold::Idle) => Self::IdleQueued,
            (Sandbox::Starting { .. }, Fold::Idle) => Self::IdleStarting,
            (Sandbox::Absent { why: Absent::Stopped }, Fold::Idle) => Self::IdleStopped,
            (Sandbox::Absent { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. }, Fold::Idle) => Self::Idle,
        }
    }

    /// The stored name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Archived => "archived",
            Self::Completed => "completed",
            Self::EndedByUser => "ended_by_user",
            Self::ClosingToArchive => "closing_to_archive",
            Self::Closing => "closing",
            Self::Stopping => "stopping",
            Self::WorkQueued => "work_queued",
            Self::Rescheduling => "rescheduling",
            Self::Working => "working",
            Self::WaitingStopped => "waiting_stopped",
            Self::Waiting => "waiting",
            Self::IdleQueued => "idle_queued",
            Self::IdleStarting => "idle_starting",
            Self::IdleStopped => "idle_stopped",
            Self::Idle => "idle",
        }
    }

    fn ended(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Failed => Self::Failed,
            Outcome::TimedOut => Self::TimedOut,
            Outcome::Archived => Self::Archived,
            Outcome::Completed => Self::Completed,
            Outcome::EndedByUser => Self::EndedByUser,
        }
    }
}
