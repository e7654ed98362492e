//! Sessions.

use serde::Serialize;
use tenure_core::id::{EnvironmentId, SessionId};
use tenure_core::session::{Keep, Metadata, Outcome};

use super::super::status::Status;
use super::event::Usage;
use super::{AgentCore, Id, Nothing, Time};

/// A session.
#[derive(Debug, Serialize)]
pub(crate) struct Session<'a> {
    pub(crate) id: Id<SessionId>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) status: Status,
    pub(crate) title: Option<&'a str>,
    pub(crate) agent: AgentCore<'a>,
    pub(crate) environment_id: Id<EnvironmentId>,
    pub(crate) resources: Nothing,
    pub(crate) vault_ids: Nothing,
    pub(crate) metadata: &'a Metadata,
    pub(crate) budget: Nothing,
    pub(crate) deployment_id: Nothing,
    pub(crate) usage: Usage,
    pub(crate) stats: Stats,
    pub(crate) outcome_evaluations: Nothing,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) archived_at: Option<Time>,
    pub(crate) tenure: TenureSession<'a>,
}

/// How long a session has worked and has been there.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    pub(crate) active_seconds: f64,
    pub(crate) duration_seconds: f64,
}

/// Ours: what the other doors show of a session.
#[derive(Debug, Serialize)]
pub(crate) struct TenureSession<'a> {
    /// Its line of the status table.
    pub(crate) phase: &'static str,
    /// The command line's column.
    pub(crate) cli_status: &'static str,
    /// The console's column.
    pub(crate) console_status: &'static str,
    /// The state of its sandbox: `not_yet`, `queued`, `starting`, `running`, `stopping`, `stopped` or `lost`.
    pub(crate) sandbox: &'static str,
    /// When it stops or ends by itself.
    pub(crate) lifetimes: Lifetimes,
    /// Messages of people and of the agent.
    pub(crate) messages: u64,
    /// The first line of the first message: what to show without a title.
    pub(crate) first_line: Option<&'a str>,
    /// When a person or the agent last did something.
    pub(crate) last_active_at: Time,
    /// The cursor of its last stored event.
    pub(crate) cursor: String,
    /// How many inputs wait for their turn.
    pub(crate) queued: usize,
}

/// When a session stops or ends by itself; null is never.
#[derive(Debug, Serialize)]
pub(crate) struct Lifetimes {
    /// After how long an idleness.
    pub(crate) idle_seconds: Option<u64>,
    /// What follows then: `stop` or `end`.
    pub(crate) then: Option<&'static str>,
    /// How it will have ended.
    pub(crate) outcome: Option<Outcome>,
    /// What is kept when it ends.
    pub(crate) keep: Option<Keep>,
    /// How long the sandbox alone outlives the work.
    pub(crate) sandbox_idle_seconds: Option<u64>,
    /// The longest it may run since its sandbox last started; then it stops.
    pub(crate) max_duration_seconds: Option<u64>,
    /// Whether a turn's end, with nothing queued, completes it.
    pub(crate) end_when_agent_exits: bool,
    /// How long processes get between being asked to end and being ended.
    pub(crate) stop_grace_seconds: u64,
}
