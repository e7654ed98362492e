//! Agents.

use serde_json::{Value, json};

use super::super::ingest::agent::{DESCRIPTION, NAME, SYSTEM};
use super::super::wire::{Agent, Page};
use super::{metadata, model, tools};
use crate::openapi::{Operation, Parameter, Schemas, schema};

pub(crate) fn create(schemas: &mut Schemas) -> Operation {
    let required = [("model", model::model(schemas)), ("name", schema::text(1, NAME))];
    let mut body = schema::object(required, optional(schemas));
    body["properties"]["metadata"] = metadata::whole();
    let example = json!({
        "name": "Writer",
        "model": {"id": "claude-sonnet-5", "effort": "high"},
        "system": "You write short and clear.",
        "tools": [{"type": "agent_toolset_20260401"}],
        "metadata": {"team": "docs"},
    });
    let body = schemas.named("AgentCreate", body);
    Operation::new("create_agent", schemas.of::<Agent<'_>>()).takes(body, example)
}

pub(crate) fn update(schemas: &mut Schemas) -> Operation {
    let mut body = schema::object([], optional(schemas));
    let version = schema::nullable(schema::integer(1, u64::from(u32::MAX)));
    let fields = [
        ("version", schema::said(version, "The version that is meant to be changed: another one is a 409.")),
        ("model", model::model(schemas)),
        ("name", schema::text(1, NAME)),
        ("metadata", metadata::changes()),
    ];
    for (name, schema) in fields {
        body["properties"][name] = schema;
    }
    let body = schemas.named("AgentUpdate", body);
    Operation::new("update_agent", schemas.of::<Agent<'_>>()).takes(body, json!({"version": 1, "system": null}))
}

/// What may be left out of a new agent, and of a change: there, null and empty clear.
fn optional(schemas: &mut Schemas) -> [(&'static str, Value); 7] {
    let identity = schema::object([("type", json!({"const": "service_account"}))], []);
    [
        ("description", schema::nullable(schema::text(0, DESCRIPTION))),
        ("system", schema::nullable(schema::text(0, SYSTEM))),
        ("tools", tools::tools(schemas)),
        ("mcp_servers", schema::not_yet("MCP servers are")),
        ("skills", schema::not_yet("Skills are")),
        ("multiagent", schema::not_yet("Multi-agent configuration is")),
        ("execution_identity", schema::nullable(identity)),
    ]
}

pub(crate) fn retrieve(schemas: &mut Schemas) -> Operation {
    let version = schema::integer(1, u64::from(u32::MAX));
    Operation::new("retrieve_agent", schemas.of::<Agent<'_>>()).with([Parameter::query(
        "version",
        version,
        "A version of it; the newest unless it is sent.",
    )])
}

pub(crate) fn archive(schemas: &mut Schemas) -> Operation {
    Operation::new("archive_agent", schemas.of::<Agent<'_>>()).bare()
}

pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    Operation::new("list_agents", schemas.of::<Page<Agent<'_>>>()).with(resource_query(100))
}

pub(crate) fn versions(schemas: &mut Schemas) -> Operation {
    Operation::new("list_agent_versions", schemas.of::<Page<Agent<'_>>>())
        .with([Parameter::limit(20, 100), Parameter::page()])
}

/// What lists of agents and environments take.
pub(super) fn resource_query(most: u64) -> Vec<Parameter> {
    let archived = Parameter::flag("include_archived", "Archived ones too.");
    let own = [archived, Parameter::limit(20, most), Parameter::page()];
    Parameter::times("created_at", "made").into_iter().chain(own).collect()
}
