//! Agents that are made or changed.

use tenure_engine::{AgentChange, NewAgent};

use super::model::model;
use super::{metadata, tools};
use crate::problem::Problem;
use crate::request::{Fields, Given};

pub(in super::super) const DESCRIPTION: usize = 2_048;
pub(in super::super) const SYSTEM: usize = 100_000;
pub(in super::super) const NAME: usize = 256;

/// A new agent.
pub(in super::super) fn new_agent(mut fields: Fields<'_>) -> Result<NewAgent, Problem> {
    let given = fields.required("model", "a model's name or an object")?;
    let model = model(&mut fields, given)?.model;
    let name = fields.required_text("name", 1, NAME)?;
    let description = fields.text("description", DESCRIPTION)?.value().filter(|text| !text.is_empty());
    let system = fields.text("system", SYSTEM)?.value().filter(|text| !text.is_empty());
    let tools = tools::tools(&mut fields)?.unwrap_or_default();
    let metadata = metadata::whole(&mut fields)?;
    not_yet(&mut fields)?;
    Ok(NewAgent { name, description, model, system, tools, metadata })
}

/// What is to change of an agent.
pub(in super::super) fn agent_change(mut fields: Fields<'_>) -> Result<AgentChange, Problem> {
    let expected_version = fields.integer("version", 1, u64::from(u32::MAX))?.value().map(|version| version as u32);
    let model = match fields.take("model") {
        Given::Absent => None,
        Given::Null => return Err(fields.wrong("model", "expected a model; an agent can't be without one")),
        Given::Value(value) => Some(model(&mut fields, value)?),
    };
    let name = match fields.take("name") {
        Given::Absent => None,
        Given::Null => return Err(fields.wrong("name", "expected a name; an agent can't be without one")),
        Given::Value(value) => Some(name(&fields, value)?),
    };
    let cleared = |given: Option<Option<String>>| given.map(|text| text.filter(|text| !text.is_empty()));
    let description = cleared(fields.text("description", DESCRIPTION)?.change());
    let system = cleared(fields.text("system", SYSTEM)?.change());
    let tools = tools::tools(&mut fields)?;
    let metadata = metadata::changes(&mut fields)?;
    not_yet(&mut fields)?;
    Ok(AgentChange { expected_version, name, description, model, system, tools, metadata })
}

fn name(fields: &Fields<'_>, value: serde_json::Value) -> Result<String, Problem> {
    let length = value.as_str().map(|name| name.chars().count());
    match (value, length) {
        (serde_json::Value::String(name), Some(1..=NAME)) => Ok(name),
        (other, _) => {
            let given = crate::request::describe(&other);
            Err(fields.wrong("name", format!("expected a string of 1 to {NAME} characters, got {given}")))
        }
    }
}

/// What the peer's agents have and ours don't yet.
fn not_yet(fields: &mut Fields<'_>) -> Result<(), Problem> {
    fields.unsupported("mcp_servers", "MCP servers are")?;
    fields.unsupported("skills", "skills are")?;
    fields.unsupported("multiagent", "multi-agent configuration is")?;
    execution_identity(fields)
}

/// The default identity is accepted in so many words, since the peer's answers carry it.
fn execution_identity(fields: &mut Fields<'_>) -> Result<(), Problem> {
    let Given::Value(mut identity) = fields.object("execution_identity")? else { return Ok(()) };
    match identity.required_one_of("type", &["service_account", "aws_role"])? {
        "service_account" => Ok(()),
        _ => Err(Problem::unsupported(&identity.at("type"), "the execution identity `aws_role` is")),
    }
}
