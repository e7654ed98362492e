//! Sessions.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use tenure_core::id::{EnvironmentId, SessionId};
use tenure_core::phase::Phase;
use tenure_core::session::{Keep, Labels, Metadata, Outcome};

use super::super::status::Status;
use super::event::Usage;
use super::{AgentCore, Budget, EmptyList, Id, Limits, Null, Time};
use crate::fronts;

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Session<'a> {
    pub(crate) id: Id<SessionId>,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "session"))]
    pub(crate) kind: &'static str,
    pub(crate) status: Status,
    pub(crate) title: Option<&'a str>,
    pub(crate) agent: AgentCore<'a>,
    pub(crate) environment_id: Id<EnvironmentId>,
    pub(crate) resources: EmptyList,
    pub(crate) vault_ids: EmptyList,
    pub(crate) metadata: &'a Metadata,
    /// What it may cost at list prices; null if that isn't limited.
    pub(crate) budget: Option<Budget>,
    pub(crate) deployment_id: Null,
    pub(crate) usage: Usage,
    pub(crate) stats: Stats,
    pub(crate) outcome_evaluations: EmptyList,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) archived_at: Option<Time>,
    pub(crate) tenure: TenureSession<'a>,
}

/// How long a session has worked and has been there.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Stats {
    pub(crate) active_seconds: f64,
    pub(crate) duration_seconds: f64,
}

/// What a column of the status table has.
fn column(status: fn(Phase) -> &'static str) -> BTreeSet<&'static str> {
    Phase::ALL.into_iter().map(status).collect()
}

/// The states of a sandbox.
const SANDBOXES: [&str; 7] = ["not_yet", "queued", "starting", "running", "stopping", "stopped", "lost"];

/// Ours: what the other doors show of a session.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenureSession<'a> {
    /// Its line of the status table.
    #[schemars(extend("enum" = Phase::ALL.map(Phase::name)))]
    pub(crate) phase: &'static str,
    /// The command line's column.
    #[schemars(extend("enum" = column(fronts::cli::status)))]
    pub(crate) cli_status: &'static str,
    /// The console's column.
    #[schemars(extend("enum" = column(fronts::console::status)))]
    pub(crate) console_status: &'static str,
    /// The state of its sandbox.
    #[schemars(extend("enum" = SANDBOXES))]
    pub(crate) sandbox: &'static str,
    /// What is being done to get its sandbox ready, in words, while an image is fetched or packages are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preparing: Option<&'a str>,
    /// When it stops or ends by itself.
    pub(crate) lifetimes: Lifetimes,
    /// The limits of its sandbox that are set; the operator's defaults hold for the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
    /// Short words a client attached to it, sorted.
    pub(crate) labels: &'a Labels,
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
    /// What it was made from, if it was made from another session.
    pub(crate) forked_from: Option<ForkedFrom>,
    /// How many times it was rewound.
    pub(crate) rewinds: usize,
}

/// What a session was made from.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ForkedFrom {
    pub(crate) session_id: Id<SessionId>,
    /// The place in the log at which the two part.
    pub(crate) at: u64,
    /// What was taken over: the conversation, or only how the session was set up.
    #[schemars(extend("enum" = ["fork", "clone"]))]
    pub(crate) what: &'static str,
    /// The snapshot whose files it began with; null: it began without files.
    pub(crate) snapshot_id: Option<String>,
}

/// When a session stops or ends by itself; null is never.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Lifetimes {
    /// After how long an idleness.
    pub(crate) idle_seconds: Option<u64>,
    /// What follows then.
    #[schemars(extend("enum" = ["stop", "end", null]))]
    pub(crate) then: Option<&'static str>,
    /// How it will have ended.
    #[schemars(schema_with = "outcome")]
    pub(crate) outcome: Option<Outcome>,
    /// What is kept when it ends.
    #[schemars(schema_with = "kept")]
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

fn outcome(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": ["completed", "ended_by_user", "timed_out", "archived", "failed", null]})
}

fn kept(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"enum": ["everything", "log", null]})
}
