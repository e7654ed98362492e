//! Ours: people type the first digits of a session's id.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::dialects::managed_agents::project;
use crate::openapi::{Operation, Parameter, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, answer};

/// `GET /v1/sessions/resolve?prefix=`: the sessions, at most 20, whose ids begin with these hex digits.
pub(crate) async fn resolve(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let prefix = asked.query.one("prefix")?.unwrap_or_default().to_ascii_lowercase();
    let hex = (1..=32).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex {
        return Err(Problem::invalid("prefix", "expected 1 to 32 hex digits, the beginning of a session's id"));
    }
    let found = app.engine.sessions().resolve_prefix(asked.tenant, &prefix).await?;
    let data = found.iter().map(|id| id.prefixed()).collect();
    Ok(answer(asked, project::json(&SessionIds { data })))
}

/// Ids of sessions.
#[derive(Serialize, JsonSchema)]
struct SessionIds {
    data: Vec<String>,
}

pub(crate) fn describe(schemas: &mut Schemas) -> Operation {
    let prefix = json!({"type": "string", "pattern": "^[0-9a-fA-F]{1,32}$"});
    let prefix = Parameter::query("prefix", prefix, "The first hex digits of a session's id.").required();
    Operation::new("resolve_session", schemas.of::<SessionIds>()).with([prefix])
}
