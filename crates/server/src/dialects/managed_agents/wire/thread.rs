//! Threads of a session.

use schemars::JsonSchema;
use serde::Serialize;
use tenure_core::id::{SessionId, ThreadId};

use super::super::status::Status;
use super::event::Usage;
use super::session::Stats;
use super::{AgentCore, Id, Null, Time};

/// A thread.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SessionThread")]
pub(crate) struct Thread<'a> {
    pub(crate) id: Id<ThreadId>,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "session_thread"))]
    pub(crate) kind: &'static str,
    pub(crate) session_id: Id<SessionId>,
    /// Null of the primary thread.
    pub(crate) parent_thread_id: Null,
    pub(crate) agent: AgentCore<'a>,
    pub(crate) status: Status,
    pub(crate) workflow_run_id: Null,
    /// Null until its first turn.
    pub(crate) stats: Option<Stats>,
    /// Null until its first turn.
    pub(crate) usage: Option<Usage>,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) archived_at: Option<Time>,
}
