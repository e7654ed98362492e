//! `/v1`'s column of the status table.

use tenure_core::phase::Phase;

/// A session's status as the Managed Agents API has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[schemars(rename = "SessionStatus")]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Idle,
    Running,
    Rescheduling,
    Terminated,
}

impl Status {
    pub(crate) const ALL: [Self; 4] = [Self::Idle, Self::Running, Self::Rescheduling, Self::Terminated];

    pub(crate) fn of(phase: Phase) -> Self {
        match phase {
            Phase::Failed
            | Phase::TimedOut
            | Phase::Archived
            | Phase::Completed
            | Phase::EndedByUser
            | Phase::ClosingToArchive => Self::Terminated,
            Phase::Closing | Phase::Stopping => Self::Idle,
            Phase::WorkQueued | Phase::Working => Self::Running,
            Phase::Rescheduling => Self::Rescheduling,
            Phase::WaitingStopped | Phase::Waiting => Self::Idle,
            Phase::IdleQueued | Phase::IdleStarting | Phase::IdleStopped | Phase::Idle => Self::Idle,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Rescheduling => "rescheduling",
            Self::Terminated => "terminated",
        }
    }

    /// The phases that show as this.
    pub(crate) fn phases(self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(move |phase| Self::of(*phase) == self)
    }
}
