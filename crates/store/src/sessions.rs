//! The rows of sessions: what lists show and what recovery asks for.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use tenure_core::id::{AgentId, EnvironmentId, SessionId, TenantId};
use tenure_core::phase::Phase;
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;

use crate::error::Error;
use crate::feed::FeedEntry;
use crate::page::{Order, Page, Position, Start, TimeRange};

/// All sessions, one row each.
pub trait SessionRows {
    /// A session's row; `None` also when it is of another tenant than the one given.
    fn session(&self, tenant: Option<TenantId>, id: SessionId) -> BoxFuture<'_, Result<Option<SessionRow>, Error>>;

    /// A page of a tenant's sessions.
    fn sessions(&self, query: SessionQuery) -> BoxFuture<'_, Result<Page<SessionRow>, Error>>;

    /// A tenant's sessions whose ids begin with these hex digits, at most `limit`. Anything but hex digits matches none.
    fn sessions_by_prefix(
        &self,
        tenant: TenantId,
        prefix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// The sessions whose `wake_at` has come, the most overdue first, at most `limit`.
    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// The earliest `wake_at` of all sessions.
    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>>;

    /// The sessions that a restart must take up: effects are outstanding, or a sandbox may be alive. In the order of
    /// their ids, after `after`, at most `limit`. Costs what it returns, however many sessions there are.
    fn unsettled(&self, after: Option<SessionId>, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// All sessions, in the order of their ids, after `after`, at most `limit`.
    fn session_ids(&self, after: Option<SessionId>, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// Removes a session: facts, row, cached state, feed entries and kept answers, in one transaction, which leaves its
    /// id among the [`purges`](Self::purges). Blobs only it named go too, at the latest with the next sweep. `false`
    /// when there is no such session.
    fn delete_session(&self, session: SessionId) -> BoxFuture<'_, Result<bool, Error>>;

    /// Deleted sessions whose traces outside the store (sandbox, layers) may still be there.
    fn purges(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>>;

    /// Nothing is left of a deleted session.
    fn purge_done(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>>;

    /// A tenant's feed after a position (0: from the beginning), at most `limit` entries.
    fn feed(&self, tenant: TenantId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<FeedEntry>, Error>>;
}

/// A session without its log.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// What lists show.
    pub summary: Summary,
    /// What it was created with, as last changed.
    pub definition: Arc<Definition>,
}

/// Which sessions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Only with this agent.
    pub agent: Option<AgentId>,
    /// Only with this version of the agent.
    pub agent_version: Option<u32>,
    /// Only in this environment.
    pub environment: Option<EnvironmentId>,
    /// Only with all of these labels.
    pub labels: Vec<String>,
    /// Only in one of these phases.
    pub phases: Option<Vec<Phase>>,
    /// Only those created then.
    pub created: TimeRange,
    /// Whether archived sessions are listed too.
    pub include_archived: bool,
    /// Which end of the list comes first.
    pub order: Order,
    /// Where the page lies; `None` is the first page.
    pub start: Option<Start>,
    /// The most rows of the page, at least 1.
    pub limit: usize,
}

impl SessionQuery {
    /// A tenant's newest sessions, without the archived ones.
    pub fn newest(tenant: TenantId, limit: usize) -> Self {
        Self {
            tenant,
            agent: None,
            agent_version: None,
            environment: None,
            labels: Vec::new(),
            phases: None,
            created: TimeRange::default(),
            include_archived: false,
            order: Order::NewestFirst,
            start: None,
            limit,
        }
    }

    /// Whether a session belongs in the list.
    pub(crate) fn matches(&self, row: &Summary) -> bool {
        row.tenant == self.tenant
            && self.agent.is_none_or(|agent| row.agent == agent)
            && self.agent_version.is_none_or(|version| row.agent_version == version)
            && self.environment.is_none_or(|environment| row.environment == environment)
            && self.labels.iter().all(|label| row.labels.contains(label))
            && self.phases.as_ref().is_none_or(|phases| phases.contains(&row.phase()))
            && self.created.contains(row.created_at)
            && (self.include_archived || row.archived_at().is_none())
    }
}

/// A session's place in its list.
pub(crate) fn position(row: &Summary) -> Position {
    Position { created_at: row.created_at, id: row.session.bits() }
}

/// Whether recovery asks for a session.
pub(crate) fn is_unsettled(row: &Summary) -> bool {
    row.unsettled || row.has_sandbox()
}

/// The least and the greatest id that begin with these hex digits; `None` for anything else.
pub(crate) fn prefix_range(prefix: &str) -> Option<(SessionId, SessionId)> {
    let hex = prefix.len() <= 32 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex {
        return None;
    }
    let least = u128::from_str_radix(&format!("{prefix:0<32}"), 16).ok()?;
    let greatest = u128::from_str_radix(&format!("{prefix:f<32}"), 16).ok()?;
    Some((SessionId::from_bits(least), SessionId::from_bits(greatest)))
}
