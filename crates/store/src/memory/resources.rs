//! Agents, environments and keys in memory.

use futures_core::future::BoxFuture;
use tenure_core::id::{AgentId, EnvironmentId, KeyId, TenantId};
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::time::Timestamp;

use super::MemoryStore;
use super::state::State;
use crate::error::Error;
use crate::idempotency::NewAnswer;
use crate::page::{Page, Position, page_of};
use crate::resources::{ResourceError, ResourceQuery, Resources};

impl Resources for MemoryStore {
    fn create_agent(&self, record: AgentRecord, answer: NewAnswer) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            state.check_answer(answer.as_ref()).map_err(ResourceError::KeyTaken)?;
            if state.agents.contains_key(&record.agent.id) || state.has_slug(&record) {
                return Err(ResourceError::NameTaken);
            }
            state.agents.entry(record.agent.id).or_default().insert(record.agent.version, record);
            state.keep_answer(answer, None);
            Ok(())
        })
    }

    fn agent(&self, tenant: TenantId, id: AgentId) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>> {
        self.step(move |state| Ok(state.newest(id).filter(|agent| agent.tenant == tenant).cloned()))
    }

    fn agent_version(
        &self,
        tenant: TenantId,
        id: AgentId,
        version: u32,
    ) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>> {
        self.step(move |state| Ok(state.versions(tenant, id).into_iter().find(|agent| agent.agent.version == version)))
    }

    fn agent_by_slug(&self, tenant: TenantId, slug: String) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>> {
        self.step(move |state| {
            Ok(state.newest_agents().find(|agent| agent.tenant == tenant && agent.slug == slug).cloned())
        })
    }

    fn update_agent(
        &self,
        expected_version: u32,
        record: AgentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            state.check_answer(answer.as_ref()).map_err(ResourceError::KeyTaken)?;
            match state.newest(record.agent.id) {
                Some(newest) if newest.tenant != record.tenant => return Err(ResourceError::NotFound),
                Some(newest) if newest.agent.version != expected_version => return Err(ResourceError::Conflict),
                Some(newest) if newest.archived_at.is_some() && record.archived_at.is_none() => {
                    return Err(ResourceError::Conflict);
                }
                Some(_) => {}
                None => return Err(ResourceError::NotFound),
            }
            if state.has_slug(&record) {
                return Err(ResourceError::NameTaken);
            }
            state.agents.entry(record.agent.id).or_default().insert(record.agent.version, record);
            state.keep_answer(answer, None);
            Ok(())
        })
    }

    fn agents(&self, query: ResourceQuery) -> BoxFuture<'_, Result<Page<AgentRecord>, Error>> {
        self.step(move |state| {
            let found = state.newest_agents();
            let found = found.filter(|agent| query.matches(agent.tenant, agent.created_at, agent.archived_at));
            let place = |agent: &AgentRecord| Position { created_at: agent.created_at, id: agent.agent.id.bits() };
            let list = found.map(|agent| (place(agent), agent.clone())).collect();
            Ok(page_of(list, query.order, query.start, query.limit))
        })
    }

    fn agent_versions(
        &self,
        tenant: TenantId,
        id: AgentId,
        before: Option<u32>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AgentRecord>, Error>> {
        self.step(move |state| {
            let versions = state.versions(tenant, id).into_iter().rev();
            let versions = versions.filter(|agent| before.is_none_or(|before| agent.agent.version < before));
            Ok(versions.take(limit).collect())
        })
    }

    fn create_environment(
        &self,
        record: EnvironmentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            state.check_answer(answer.as_ref()).map_err(ResourceError::KeyTaken)?;
            if state.environments.contains_key(&record.id) || state.has_environment_name(&record) {
                return Err(ResourceError::NameTaken);
            }
            state.environments.insert(record.id, record);
            state.keep_answer(answer, None);
            Ok(())
        })
    }

    fn environment(
        &self,
        tenant: TenantId,
        id: EnvironmentId,
    ) -> BoxFuture<'_, Result<Option<EnvironmentRecord>, Error>> {
        self.step(move |state| Ok(state.environments.get(&id).filter(|found| found.tenant == tenant).cloned()))
    }

    fn environment_by_name(
        &self,
        tenant: TenantId,
        name: String,
    ) -> BoxFuture<'_, Result<Option<EnvironmentRecord>, Error>> {
        self.step(move |state| {
            Ok(state.environments.values().find(|found| found.tenant == tenant && found.name == name).cloned())
        })
    }

    fn update_environment(
        &self,
        expected: Timestamp,
        record: EnvironmentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            state.check_answer(answer.as_ref()).map_err(ResourceError::KeyTaken)?;
            match state.environments.get(&record.id) {
                Some(found) if found.tenant != record.tenant => return Err(ResourceError::NotFound),
                Some(found) if found.updated_at != expected => return Err(ResourceError::Conflict),
                Some(_) => {}
                None => return Err(ResourceError::NotFound),
            }
            if state.has_environment_name(&record) {
                return Err(ResourceError::NameTaken);
            }
            state.environments.insert(record.id, record);
            state.keep_answer(answer, None);
            Ok(())
        })
    }

    fn delete_environment(&self, tenant: TenantId, id: EnvironmentId) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            if state.environments.get(&id).is_none_or(|found| found.tenant != tenant) {
                return Err(ResourceError::NotFound);
            }
            if state.sessions.values().any(|session| session.row.summary.environment == id) {
                return Err(ResourceError::InUse);
            }
            state.environments.remove(&id);
            Ok(())
        })
    }

    fn environments(&self, query: ResourceQuery) -> BoxFuture<'_, Result<Page<EnvironmentRecord>, Error>> {
        self.step(move |state| {
            let found = state.environments.values();
            let found = found.filter(|found| query.matches(found.tenant, found.created_at, found.archived_at));
            let place = |found: &EnvironmentRecord| Position { created_at: found.created_at, id: found.id.bits() };
            let list = found.map(|found| (place(found), found.clone())).collect();
            Ok(page_of(list, query.order, query.start, query.limit))
        })
    }

    fn create_key(&self, record: KeyRecord, answer: NewAnswer) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.step(move |state| {
            state.check_answer(answer.as_ref()).map_err(ResourceError::KeyTaken)?;
            if state.keys.values().any(|key| key.id == record.id || key.hash == record.hash) {
                return Err(ResourceError::NameTaken);
            }
            state.keys.insert(record.id, record);
            state.keep_answer(answer, None);
            Ok(())
        })
    }

    fn key_by_hash(&self, hash: String) -> BoxFuture<'_, Result<Option<KeyRecord>, Error>> {
        self.step(move |state| Ok(state.keys.values().find(|key| key.hash == hash).cloned()))
    }

    fn keys(&self, tenant: TenantId) -> BoxFuture<'_, Result<Vec<KeyRecord>, Error>> {
        self.step(move |state| {
            let mut keys: Vec<_> = state.keys.values().filter(|key| key.tenant == tenant).cloned().collect();
            keys.sort_by_key(|key| std::cmp::Reverse((key.created_at, key.id)));
            Ok(keys)
        })
    }

    fn revoke_key(&self, tenant: TenantId, id: KeyId, at: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        self.step(move |state| {
            let Some(key) = state.keys.get_mut(&id).filter(|key| key.tenant == tenant) else { return Ok(false) };
            key.revoked_at.get_or_insert(at);
            Ok(true)
        })
    }
}

impl State {
    fn newest(&self, id: AgentId) -> Option<&AgentRecord> {
        self.agents.get(&id)?.values().next_back()
    }

    fn newest_agents(&self) -> impl Iterator<Item = &AgentRecord> {
        self.agents.values().filter_map(|versions| versions.values().next_back())
    }

    /// All versions, oldest first, with what belongs to none as it is today.
    fn versions(&self, tenant: TenantId, id: AgentId) -> Vec<AgentRecord> {
        let Some(today) = self.newest(id).filter(|newest| newest.tenant == tenant) else { return Vec::new() };
        let versions = self.agents.get(&id).into_iter().flat_map(|versions| versions.values());
        let as_of_today = |version: &AgentRecord| AgentRecord {
            slug: today.slug.clone(),
            archived_at: today.archived_at,
            ..version.clone()
        };
        versions.map(as_of_today).collect()
    }

    /// Whether another agent of the tenant has the slug.
    fn has_slug(&self, record: &AgentRecord) -> bool {
        self.newest_agents().any(|other| {
            other.agent.id != record.agent.id && other.tenant == record.tenant && other.slug == record.slug
        })
    }

    /// Whether another environment of the tenant has the name.
    fn has_environment_name(&self, record: &EnvironmentRecord) -> bool {
        let mut others = self.environments.values();
        others.any(|other| other.id != record.id && other.tenant == record.tenant && other.name == record.name)
    }
}
