//! Sessions.

use serde_json::{Value, json};
use tenure_core::id::{AgentId, SessionId};

use super::super::ingest::agent::SYSTEM;
use super::super::ingest::budget::{AMOUNT_DIGITS, CURRENCY};
use super::super::ingest::event::MOST_INITIAL;
use super::super::ingest::session::{FIXED, TITLE};
use super::super::status::Status;
use super::super::wire::{BiPage, Session, printed_id};
use super::{environments, events, labels, lifetimes, metadata, model, tools};
use crate::openapi::{Operation, Parameter, Schemas, schema};

/// A session as it is answered.
pub(crate) fn session(schemas: &mut Schemas) -> Value {
    schemas.of::<Session<'_>>()
}

pub(crate) fn create(schemas: &mut Schemas) -> Operation {
    let initial = schema::list(events::message(schemas), 0, MOST_INITIAL);
    let required = [
        ("agent", agent(schemas)),
        ("environment_id", schema::said(schema::text(1, 256), "An id, or (Tenure's own) a name.")),
    ];
    let optional = [
        ("title", schema::nullable(schema::text(0, TITLE))),
        ("metadata", metadata::whole()),
        ("labels", labels::labels("Short words to find it again by.")),
        ("lifetimes", lifetimes::lifetimes()),
        ("initial_events", schema::nullable(initial)),
        ("resources", schema::not_yet("Resources are")),
        ("vault_ids", schema::not_yet("Vaults are")),
        ("budget", budget(schemas)),
        (
            "limits",
            schema::ours(
                schema::nullable(environments::limits()),
                "What its sandbox may use, where that differs from its environment; a limit of null is the operator's default.",
            ),
        ),
    ];
    let body = schemas.named("SessionCreate", schema::object(required, optional));
    let example = json!({
        "agent": "assistant",
        "environment_id": "default",
        "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "Hello"}]}],
    });
    Operation::new("create_session", session(schemas)).takes(body, example).looks_up()
}

/// What a session may cost.
fn budget(schemas: &mut Schemas) -> Value {
    let amount = json!({"type": "string", "pattern": format!("^[1-9][0-9]{{0,{}}}$", AMOUNT_DIGITS - 1)});
    let amount = schema::said(amount, "Whole cents.");
    let cost = schema::object([("amount", amount), ("currency", schema::one_of(&[CURRENCY]))], []);
    schema::nullable(schemas.named("BudgetParam", schema::tagged("limit", [("max_list_cost", cost)], [])))
}

/// The agent of a new session: by id or, which is ours, by its short name; a version; what is different in this session.
fn agent(schemas: &mut Schemas) -> Value {
    let name = || schema::said(schema::text(1, 256), "An id, or (Tenure's own) a short name.");
    let version = || schema::nullable(schema::integer(1, u64::from(u32::MAX)));
    let pinned = schema::tagged("agent", [("id", name())], [("version", version())]);
    let optional = [
        ("version", version()),
        ("model", model::model(schemas)),
        ("system", schema::nullable(schema::text(0, SYSTEM))),
        ("tools", tools::tools(schemas)),
        ("mcp_servers", schema::not_yet("MCP servers are")),
        ("skills", schema::not_yet("Skills are")),
    ];
    let overridden = schema::tagged("agent_with_overrides", [("id", name())], optional);
    schemas.named("SessionAgentParam", json!({"anyOf": [name(), pinned, overridden]}))
}

pub(crate) fn update(schemas: &mut Schemas) -> Operation {
    let optional = [("tools", tools::tools(schemas)), ("mcp_servers", schema::not_yet("MCP servers are"))];
    let mut agent = schema::object([], optional);
    for fixed in FIXED {
        agent["properties"][fixed] = schema::refused("Only `tools` of a session's agent can be changed.");
    }
    let optional = [
        ("title", schema::nullable(schema::text(0, TITLE))),
        ("metadata", metadata::changes()),
        ("labels", labels::labels("All its labels from now on; null or empty is none.")),
        ("agent", schema::nullable(agent)),
        ("vault_ids", schema::not_yet("Changing vaults is")),
        ("budget", schema::said(budget(schemas), "Null takes it away for good.")),
    ];
    let body = schemas.named("SessionUpdate", schema::object([], optional));
    Operation::new("update_session", session(schemas)).takes(body, json!({"title": "Order 1234"}))
}

pub(crate) fn retrieve(schemas: &mut Schemas) -> Operation {
    Operation::new("retrieve_session", session(schemas))
}

pub(crate) fn archive(schemas: &mut Schemas) -> Operation {
    Operation::new("archive_session", session(schemas)).bare()
}

pub(crate) fn delete(schemas: &mut Schemas) -> Operation {
    let fields = [("id", printed_id(SessionId::PREFIX).to_value())];
    let gone = schemas.named("SessionDeleted", schema::tagged("session_deleted", fields, []));
    Operation::new("delete_session", gone)
}

pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    let filters = [
        Parameter::query("agent_id", schema::id(&format!("{}|agt", AgentId::PREFIX)), "Only those of this agent."),
        Parameter::query(
            "agent_version",
            schema::integer(1, u64::from(u32::MAX)),
            "With `agent_id`: only those of this version.",
        ),
        Parameter::words("statuses", &Status::ALL.map(Status::name), "Only those in one of these states."),
        labels::filter(),
        Parameter::flag("include_archived", "Archived ones too."),
        Parameter::not_yet("deployment_id", "Deployments are"),
        Parameter::not_yet("memory_store_id", "Memory stores are"),
        Parameter::order("desc"),
        Parameter::limit(20, 1_000),
        Parameter::page(),
    ];
    Operation::new("list_sessions", schemas.of::<BiPage<Session<'_>>>())
        .with(filters)
        .with(Parameter::times("created_at", "made"))
}
