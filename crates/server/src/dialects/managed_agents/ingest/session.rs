//! Sessions that are made or changed.

use serde_json::Value;
use tenure_core::agent::LimitsChange;
use tenure_core::command::Update;
use tenure_core::price::Budget;
use tenure_core::session::{Labels, Metadata};

use super::budget::budget;
use super::event::{Said, initial};
use super::labels::labels;
use super::lifetimes::{LifetimesGiven, lifetimes};
use super::model::model;
use super::{environment, metadata, tools};
use crate::problem::Problem;
use crate::request::{Fields, Given, describe};

/// A new session, before it is looked up what its names mean.
#[derive(Debug)]
pub(in super::super) struct SessionGiven {
    pub(in super::super) agent: AgentGiven,
    pub(in super::super) environment: String,
    pub(in super::super) title: Option<String>,
    pub(in super::super) metadata: Metadata,
    pub(in super::super) labels: Labels,
    pub(in super::super) lifetimes: LifetimesGiven,
    pub(in super::super) budget: Option<Budget>,
    pub(in super::super) limits: LimitsChange,
    pub(in super::super) said: Said,
}

/// An agent by id (or short name), and what is different in this session.
#[derive(Debug, Default)]
pub(in super::super) struct AgentGiven {
    pub(in super::super) name: String,
    pub(in super::super) version: Option<u32>,
    pub(in super::super) model: Option<tenure_engine::ModelChange>,
    pub(in super::super) system: Option<Option<String>>,
    pub(in super::super) tools: Option<Vec<tenure_core::agent::ToolConfig>>,
}

pub(in super::super) const TITLE: usize = 1_000;

/// What of a session's agent can't be changed.
pub(in super::super) const FIXED: [&str; 7] = ["id", "version", "model", "system", "skills", "multiagent", "name"];

pub(in super::super) fn new_session(mut fields: Fields<'_>) -> Result<SessionGiven, Problem> {
    let agent = agent(&mut fields)?;
    let environment = fields.required_text("environment_id", 1, 256)?;
    let title = fields.text("title", TITLE)?.value();
    let metadata = metadata::whole(&mut fields)?;
    let labels = labels(&mut fields)?.unwrap_or_default();
    let said = initial(&mut fields)?;
    fields.unsupported("resources", "resources are")?;
    fields.unsupported("vault_ids", "vaults are")?;
    let budget = budget(&mut fields)?.value();
    let lifetimes = lifetimes(&mut fields)?;
    let limits = environment::limits(&mut fields)?;
    Ok(SessionGiven { agent, environment, title, metadata, labels, lifetimes, budget, limits, said })
}

/// What is to change of a session.
pub(in super::super) fn session_update(mut fields: Fields<'_>) -> Result<Update, Problem> {
    let title = fields.text("title", TITLE)?.change();
    let metadata = metadata::changes(&mut fields)?;
    let labels = labels(&mut fields)?;
    let tools = match fields.object("agent")? {
        Given::Absent | Given::Null => None,
        Given::Value(mut agent) => {
            agent.unsupported("mcp_servers", "MCP servers are")?;
            for fixed in FIXED {
                if agent.take(fixed) != Given::Absent {
                    return Err(agent.wrong(fixed, "only `tools` of a session's agent can be changed"));
                }
            }
            tools::tools(&mut agent)?
        }
    };
    fields.unsupported("vault_ids", "changing vaults is")?;
    let budget = budget(&mut fields)?.change();
    Ok(Update { title, metadata, labels, tools, budget, ..Update::default() })
}

fn agent(fields: &mut Fields<'_>) -> Result<AgentGiven, Problem> {
    let path = fields.at("agent");
    let value = match fields.required("agent", "an agent's id or an object")? {
        Value::String(name) if (1..=256).contains(&name.chars().count()) => {
            return Ok(AgentGiven { name, ..AgentGiven::default() });
        }
        value @ Value::Object(_) => value,
        other => {
            let given = describe(&other);
            return Err(Problem::invalid(&path, format!("expected an agent's id or an object, got {given}")));
        }
    };
    let mut given = fields.nested(path, value)?;
    let kind = given.required_one_of("type", &["agent", "agent_with_overrides"])?;
    let name = given.required_text("id", 1, 256)?;
    let version = given.integer("version", 1, u64::from(u32::MAX))?.value().map(|version| version as u32);
    let mut agent = AgentGiven { name, version, ..AgentGiven::default() };
    if kind == "agent_with_overrides" {
        agent.model = match given.take("model") {
            Given::Absent => None,
            Given::Null => return Err(given.wrong("model", "agent_model_required: an agent can't be without a model")),
            Given::Value(value) => Some(model(&mut given, value)?),
        };
        agent.system =
            given.text("system", super::agent::SYSTEM)?.change().map(|text| text.filter(|text| !text.is_empty()));
        agent.tools = tools::tools(&mut given)?;
        given.unsupported("mcp_servers", "MCP servers are")?;
        given.unsupported("skills", "skills are")?;
    }
    Ok(agent)
}
