//! Ours: input that waits for its turn can be listed and taken back.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::app::App;
use crate::dialects::managed_agents::ingest::{item_id, session_id};
use crate::dialects::managed_agents::{describe, events, project};
use crate::openapi::{Operation, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, answer};

/// `GET /v1/sessions/{id}/queue`: all of it, the oldest first, in the shape of a page of events.
pub(crate) async fn list(
    State(app): State<App>,
    Path(session): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let page = events::queued(&app, asked.tenant, session).await?;
    Ok(answer(asked, page))
}

/// `DELETE /v1/sessions/{id}/queue/{event_id}`: gives the session as it is then.
pub(crate) async fn withdraw(
    State(app): State<App>,
    Path((session, event)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    let (session, item) = (session_id(&session)?, item_id(&event)?);
    let view = app.engine.sessions().withdraw(asked.tenant, session, item).await?;
    Ok(answer(asked, project::json(&project::session(&view))))
}

pub(crate) fn describe_list(schemas: &mut Schemas) -> Operation {
    Operation::new("list_queue", describe::events::page(schemas))
}

pub(crate) fn describe_withdraw(schemas: &mut Schemas) -> Operation {
    Operation::new("withdraw_input", describe::session(schemas))
}
