//! What a list of sessions shows: a small pure projection of the state, stored in the same transaction as its facts.

use serde::{Deserialize, Serialize};

use crate::fork::ForkedFrom;
use crate::id::{AgentId, EnvironmentId, SessionId, TenantId, ThreadId};
use crate::model::TokenUsage;
use crate::past::Rewind;
use crate::phase::{Fold, Phase};
use crate::price::{Budget, Usd};
use crate::session::{Labels, Lifecycle, Metadata, Sandbox, StopReason};
use crate::time::Timestamp;

/// A session's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Which session.
    pub session: SessionId,
    /// Who owns it.
    pub tenant: TenantId,
    /// Its agent.
    pub agent: AgentId,
    /// The agent's version.
    pub agent_version: u32,
    /// The agent's name.
    pub agent_name: String,
    /// Its environment.
    pub environment: EnvironmentId,
    /// Its primary thread.
    pub thread: ThreadId,
    /// The label a client gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The first line of its first message, at most 120 characters: what is shown without a title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_line: Option<String>,
    /// Names and values of the client's.
    #[serde(default)]
    pub metadata: Metadata,
    /// Short words a client attached to it.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Open, closing or over.
    pub lifecycle: Lifecycle,
    /// The state of its sandbox.
    pub sandbox: Sandbox,
    /// What its threads do, taken together.
    pub fold: Fold,
    /// Why the last turn stopped; meaningful while idle or waiting.
    pub stop: StopReason,
    /// All tokens.
    pub tokens: TokenUsage,
    /// What they have cost at list prices; nothing if nobody knows the price.
    #[serde(default, skip_serializing_if = "Usd::is_zero")]
    pub tokens_cost: Usd,
    /// Pages the server has fetched for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub web_fetches: u64,
    /// What the session may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The times it was rewound, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rewinds: Vec<Rewind>,
    /// What it was made from, if it was made from another session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkedFrom>,
    /// Milliseconds it has worked, up to `working_since`.
    pub active_ms: u64,
    /// Since when it has been working, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_since: Option<Timestamp>,
    /// Messages of people and of the agent.
    pub messages: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its last fact happened.
    pub updated_at: Timestamp,
    /// When a person or the agent last did something.
    pub last_active_at: Timestamp,
    /// The place of its last fact.
    pub seq: u64,
    /// The places of the input facts that are queued now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<u64>,
    /// When something is due by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// Whether effects are outstanding that a restart must take up.
    pub unsettled: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    /// Its line of the status table.
    pub fn phase(&self) -> Phase {
        Phase::of(&self.lifecycle, &self.sandbox, self.fold)
    }

    /// When it was archived, if it was or is about to be.
    pub fn archived_at(&self) -> Option<Timestamp> {
        match (self.phase(), &self.lifecycle) {
            (
                Phase::Archived | Phase::ClosingToArchive,
                Lifecycle::Closing { at, .. } | Lifecycle::Ended { at, .. },
            ) => Some(*at),
            _ => None,
        }
    }

    /// Whether a sandbox may be alive.
    pub fn has_sandbox(&self) -> bool {
        match self.sandbox {
            Sandbox::Absent { .. } => false,
            Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. } => true,
        }
    }
}
