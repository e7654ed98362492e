//! Agents and their versions.

use std::sync::Arc;

use tenure_core::agent::{Agent, Permission, ToolConfig, ToolPolicy};
use tenure_core::id::{AgentId, TenantId};
use tenure_core::model::ModelConfig;
use tenure_core::resource::{AgentRecord, DEFAULT_TENANT};
use tenure_core::session::Metadata;
use tenure_store::{Page, ResourceError, ResourceQuery};

use crate::engine::Shared;
use crate::error::Error;
use crate::metadata::merged;
use crate::providers::check_model;
use crate::view::{Done, Keyed};

/// Marks the agent whose model follows the operator's default.
const FOLLOWS_DEFAULT: &str = "tenure.model";

/// The name of the agent that every tenant has.
const ASSISTANT: &str = "assistant";

/// A tenant's agents. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Agents {
    shared: Arc<Shared>,
}

/// A new agent.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAgent {
    /// Its name, from which its short name is made.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Which model it thinks with.
    pub model: ModelConfig,
    /// Its system prompt.
    pub system: Option<String>,
    /// What it can do.
    pub tools: Vec<ToolConfig>,
    /// Names and values of the client's.
    pub metadata: Metadata,
}

/// What is to change; `None` leaves a part as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AgentChange {
    /// The version this was made from; another current one is a conflict. `None` changes whatever is there.
    pub expected_version: Option<u32>,
    /// The new name.
    pub name: Option<String>,
    /// The new description; the inner `None` clears it.
    pub description: Option<Option<String>>,
    /// The new model.
    pub model: Option<ModelChange>,
    /// The new system prompt; the inner `None` clears it.
    pub system: Option<Option<String>>,
    /// The whole new tools.
    pub tools: Option<Vec<ToolConfig>>,
    /// Metadata by key; `None` removes the key.
    pub metadata: Vec<(String, Option<String>)>,
}

/// A model in place of another.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelChange {
    /// The whole new model.
    pub model: ModelConfig,
    /// Whether nothing was said about effort: it stays as it was, unless it was another model's.
    pub keeps_effort: bool,
}

impl ModelChange {
    /// The model that comes of it.
    pub(crate) fn over(self, current: &ModelConfig) -> Result<ModelConfig, Error> {
        let mut model = self.model;
        if self.keeps_effort && model.id == current.id {
            model.effort = current.effort;
        }
        check_model(&model)?;
        Ok(model)
    }
}

/// How often a change is made again because another one came between reading and writing.
const TRIES: u32 = 16;

impl Agents {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes an agent. Its short name is made from its name; if that is taken, a number is added.
    pub async fn create(&self, tenant: TenantId, new: NewAgent, keyed: Option<Keyed>) -> Result<AgentRecord, Error> {
        check_model(&new.model)?;
        let now = self.shared.clock.now();
        let NewAgent { name, description, model, system, tools, metadata } = new;
        let base = slug(&name);
        let id = AgentId::from_bits(self.shared.clock.ids().bits());
        let agent = Agent { id, version: 1, name, description, model, system, tools };
        let mut record = AgentRecord {
            tenant,
            agent,
            slug: base.clone(),
            metadata,
            created_at: now,
            updated_at: now,
            archived_at: None,
        };
        for number in 2.. {
            // The answer names the agent as it will be stored, so it is printed once the short name is known to be free.
            let taken = self.shared.store.agent_by_slug(tenant, record.slug.clone()).await?.is_some();
            if !taken {
                let answer = keyed.as_ref().map(|keyed| keyed.record(tenant, &Done::Agent(record.clone()), now));
                match self.shared.store.create_agent(record.clone(), answer).await {
                    Ok(()) => return Ok(record),
                    Err(ResourceError::NameTaken) => {}
                    Err(error) => return Err(Error::of_resource(error, "agent", "name", &record.agent.name)),
                }
            }
            record.slug = format!("{base}-{number}");
        }
        Err(Error::busy())
    }

    /// An agent, at its newest version or at the one given.
    pub async fn get(&self, tenant: TenantId, id: AgentId, version: Option<u32>) -> Result<AgentRecord, Error> {
        let found = match version {
            None => self.shared.store.agent(tenant, id).await?,
            Some(version) => self.shared.store.agent_version(tenant, id, version).await?,
        };
        match (found, version) {
            (Some(record), _) => Ok(record),
            (None, None) => Err(Error::not_found("agent", id.prefixed())),
            (None, Some(version)) => Err(Error::not_found("agent version", format!("{} {version}", id.prefixed()))),
        }
    }

    /// An agent by its short name.
    pub async fn by_slug(&self, tenant: TenantId, slug: &str) -> Result<AgentRecord, Error> {
        let found = self.shared.store.agent_by_slug(tenant, slug.to_owned()).await?;
        found.ok_or_else(|| Error::not_found("agent", slug))
    }

    /// A page of agents, each at its newest version.
    pub async fn list(&self, query: ResourceQuery) -> Result<Page<AgentRecord>, Error> {
        Ok(self.shared.store.agents(query).await?)
    }

    /// An agent's versions, newest first, those below `before` if given.
    pub async fn versions(
        &self,
        tenant: TenantId,
        id: AgentId,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Vec<AgentRecord>, Error> {
        self.get(tenant, id, None).await?;
        Ok(self.shared.store.agent_versions(tenant, id, before, limit).await?)
    }

    /// Makes the agent's next version; a change of nothing makes none.
    pub async fn update(
        &self,
        tenant: TenantId,
        id: AgentId,
        change: AgentChange,
        keyed: Option<Keyed>,
    ) -> Result<AgentRecord, Error> {
        for _ in 0..TRIES {
            let current = self.get(tenant, id, None).await?;
            let version = current.agent.version;
            if let Some(expected) = change.expected_version
                && expected != version
            {
                let message =
                    format!("expected version {expected}, but the agent is at version {version}; read it again");
                return Err(Error::Conflict { message });
            }
            if current.archived_at.is_some() {
                let message = "it is archived and can't be changed";
                return Err(Error::Archived { what: "agent", field: "agent", message });
            }
            let mut next = changed(&current, change.clone())?;
            if next == current {
                return self.unchanged(current, keyed).await;
            }
            next.agent.version = version + 1;
            next.updated_at = self.shared.clock.now().max(current.updated_at);
            // Whoever names no version wants the change made to whatever is there.
            match self.write(version, next, keyed.clone()).await {
                Err(Error::Conflict { .. }) => {}
                written => return written,
            }
        }
        Err(Error::busy())
    }

    /// Archives an agent for good: its sessions go on, new ones can't have it. A second time changes nothing.
    pub async fn archive(&self, tenant: TenantId, id: AgentId, keyed: Option<Keyed>) -> Result<AgentRecord, Error> {
        for _ in 0..TRIES {
            let mut record = self.get(tenant, id, None).await?;
            if record.archived_at.is_some() {
                return self.unchanged(record, keyed).await;
            }
            let now = self.shared.clock.now().max(record.updated_at);
            record.archived_at = Some(now);
            record.updated_at = now;
            match self.write(record.agent.version, record, keyed.clone()).await {
                Err(Error::Conflict { .. }) => {}
                written => return written,
            }
        }
        Err(Error::busy())
    }

    /// Keeps the answer to a request that changed nothing: a repetition mustn't change anything either.
    async fn unchanged(&self, record: AgentRecord, keyed: Option<Keyed>) -> Result<AgentRecord, Error> {
        if let Some(keyed) = keyed {
            let answer = keyed.record(record.tenant, &Done::Agent(record.clone()), self.shared.clock.now());
            let kept = self.shared.store.keep_answer(answer, None).await;
            kept.map_err(|error| Error::of_resource(error, "agent", "name", &record.agent.name))?;
        }
        Ok(record)
    }

    async fn write(&self, expected: u32, record: AgentRecord, keyed: Option<Keyed>) -> Result<AgentRecord, Error> {
        let done = Done::Agent(record.clone());
        let answer = keyed.map(|keyed| keyed.record(record.tenant, &done, self.shared.clock.now()));
        let written = self.shared.store.update_agent(expected, record.clone(), answer).await;
        written.map_err(|error| Error::of_resource(error, "agent", "name", &record.agent.name))?;
        Ok(record)
    }
}

/// Makes the default tenant's agent if there is none, and lets its model follow the operator's default.
pub(crate) async fn ensure_default(agents: &Agents, model: String) -> Result<(), Error> {
    let model = ModelConfig::named(model);
    match agents.by_slug(DEFAULT_TENANT, ASSISTANT).await {
        Ok(record) => {
            let follows = record.metadata.contains_key(FOLLOWS_DEFAULT) && record.archived_at.is_none();
            if follows && record.agent.model != model {
                let model = Some(ModelChange { model, keeps_effort: false });
                let change = AgentChange { model, ..AgentChange::default() };
                agents.update(DEFAULT_TENANT, record.agent.id, change, None).await?;
            }
            Ok(())
        }
        Err(Error::NotFound { .. }) => {
            let policy = ToolPolicy { enabled: true, permission: Permission::AlwaysAllow };
            let new = NewAgent {
                name: ASSISTANT.to_owned(),
                description: Some("The agent every tenant has. Its model is the server's default.".to_owned()),
                model,
                system: None,
                tools: vec![ToolConfig::Builtin { default: policy, configs: Vec::new() }],
                metadata: Metadata::from([(FOLLOWS_DEFAULT.to_owned(), "default".to_owned())]),
            };
            agents.create(DEFAULT_TENANT, new, None).await.map(drop)
        }
        Err(error) => Err(error),
    }
}

fn changed(current: &AgentRecord, change: AgentChange) -> Result<AgentRecord, Error> {
    let mut next = current.clone();
    let AgentChange { expected_version: _, name, description, model, system, tools, metadata } = change;
    let agent = &mut next.agent;
    agent.name = name.unwrap_or_else(|| agent.name.clone());
    agent.description = description.unwrap_or_else(|| agent.description.clone());
    if let Some(model) = model {
        agent.model = model.over(&agent.model)?;
    }
    agent.system = system.unwrap_or_else(|| agent.system.clone());
    agent.tools = tools.unwrap_or_else(|| agent.tools.clone());
    next.metadata = merged(&current.metadata, metadata)?;
    Ok(next)
}

/// The short name for a name: lower-case letters, digits and single hyphens, starting with a letter, at most 40.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().chars() {
        match letter {
            'a'..='z' => slug.push(letter),
            '0'..='9' if !slug.is_empty() => slug.push(letter),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.truncate(40);
    let trimmed = slug.trim_end_matches('-');
    if trimmed.is_empty() { "agent".to_owned() } else { trimmed.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn short_names() {
        let cases = [("My First Agent", "my-first-agent"), ("  --x--  ", "x"), ("42 is 7", "is-7"), ("日本", "agent")];
        for (name, expected) in cases {
            assert_eq!(slug(name), expected);
        }
        assert_eq!(slug(&"a-".repeat(60)).len(), 39);
    }
}
