//! What a tenant owns besides sessions.

use futures_core::future::BoxFuture;
use tenure_core::id::{AgentId, EnvironmentId, KeyId, TenantId};
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::time::Timestamp;

use crate::error::Error;
use crate::idempotency::{IdempotencyRecord, NewAnswer};
use crate::page::{Order, Page, Start, TimeRange};

/// Agents, environments and keys. Reads of another tenant's resource find nothing.
pub trait Resources {
    /// Stores a new agent at its first version.
    fn create_agent(&self, record: AgentRecord, answer: NewAnswer) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// An agent at its newest version.
    fn agent(&self, tenant: TenantId, id: AgentId) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>>;

    /// An agent at one version. Its slug and `archived_at`, which belong to no version, are today's.
    fn agent_version(
        &self,
        tenant: TenantId,
        id: AgentId,
        version: u32,
    ) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>>;

    /// An agent by its short name, archived ones included.
    fn agent_by_slug(&self, tenant: TenantId, slug: String) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>>;

    /// Stores an agent's next version, or, with its version unchanged, changes what belongs to none (archiving it).
    /// `expected_version` is the version it was made from; another one in the store is a [`ResourceError::Conflict`],
    /// and so is bringing back one that has been archived.
    fn update_agent(
        &self,
        expected_version: u32,
        record: AgentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// A page of agents, each at its newest version.
    fn agents(&self, query: ResourceQuery) -> BoxFuture<'_, Result<Page<AgentRecord>, Error>>;

    /// An agent's versions, newest first, those below `before` if it is given, at most `limit`.
    fn agent_versions(
        &self,
        tenant: TenantId,
        id: AgentId,
        before: Option<u32>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AgentRecord>, Error>>;

    /// Stores a new environment.
    fn create_environment(
        &self,
        record: EnvironmentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// An environment.
    fn environment(
        &self,
        tenant: TenantId,
        id: EnvironmentId,
    ) -> BoxFuture<'_, Result<Option<EnvironmentRecord>, Error>>;

    /// An environment by its name, archived ones included.
    fn environment_by_name(
        &self,
        tenant: TenantId,
        name: String,
    ) -> BoxFuture<'_, Result<Option<EnvironmentRecord>, Error>>;

    /// Changes an environment. `expected` is the `updated_at` it was made from; another one in the store is a
    /// [`ResourceError::Conflict`].
    fn update_environment(
        &self,
        expected: Timestamp,
        record: EnvironmentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// Removes an environment. While a session refers to it, that is [`ResourceError::InUse`].
    fn delete_environment(&self, tenant: TenantId, id: EnvironmentId) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// A page of environments.
    fn environments(&self, query: ResourceQuery) -> BoxFuture<'_, Result<Page<EnvironmentRecord>, Error>>;

    /// Stores a new key. A key of the same secret is [`ResourceError::NameTaken`].
    fn create_key(&self, record: KeyRecord, answer: NewAnswer) -> BoxFuture<'_, Result<(), ResourceError>>;

    /// A key by the hash of its secret, revoked ones included.
    fn key_by_hash(&self, hash: String) -> BoxFuture<'_, Result<Option<KeyRecord>, Error>>;

    /// A tenant's keys, newest first, revoked ones included.
    fn keys(&self, tenant: TenantId) -> BoxFuture<'_, Result<Vec<KeyRecord>, Error>>;

    /// Revokes a key for good; a second time changes nothing. `false` when there is no such key.
    fn revoke_key(&self, tenant: TenantId, id: KeyId, at: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;
}

/// Which agents or environments to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Only those created then.
    pub created: TimeRange,
    /// Whether archived ones are listed too.
    pub include_archived: bool,
    /// Which end of the list comes first.
    pub order: Order,
    /// Where the page lies; `None` is the first page.
    pub start: Option<Start>,
    /// The most rows of the page, at least 1.
    pub limit: usize,
}

impl ResourceQuery {
    /// A tenant's newest, without the archived ones.
    pub fn newest(tenant: TenantId, limit: usize) -> Self {
        Self {
            tenant,
            created: TimeRange::default(),
            include_archived: false,
            order: Order::NewestFirst,
            start: None,
            limit,
        }
    }

    /// Whether a resource belongs in the list.
    pub(crate) fn matches(&self, tenant: TenantId, created_at: Timestamp, archived_at: Option<Timestamp>) -> bool {
        tenant == self.tenant && self.created.contains(created_at) && (self.include_archived || archived_at.is_none())
    }
}

/// Why a resource wasn't written. In every case nothing was stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResourceError {
    /// Another of the tenant's resources of this kind has the agent's slug, the environment's name or the key's secret.
    #[error("the name is taken")]
    NameTaken,
    /// It has changed since it was read: read again.
    #[error("it has changed since it was read")]
    Conflict,
    /// A session refers to it.
    #[error("a session refers to it")]
    InUse,
    /// There is no such resource.
    #[error("there is no such resource")]
    NotFound,
    /// The answer's key has been used: this is the answer to give.
    #[error("the idempotency key has been used")]
    KeyTaken(Box<IdempotencyRecord>),
    /// The store failed, or has too much to do.
    #[error(transparent)]
    Store(#[from] Error),
}
