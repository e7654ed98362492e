//! Ours: going back to an earlier place of a session's log.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use tenure_engine::Done;

use super::point;
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, idempotency};

/// `POST /v1/sessions/{id}/rewind {to}`: gives the session as it is then.
pub(crate) async fn rewind(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let sessions = app.engine.sessions().clone();
    let mut fields = asked.object()?;
    let to = fields.required("to", "a place of the session's log")?;
    drop(fields);
    let to = point::read(&sessions, "to", to)?;
    let tenant = asked.tenant;
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.rewind(tenant, session, to, keyed).await.map(Done::Session)
    })
    .await
}

pub(crate) fn describe_rewind(schemas: &mut Schemas) -> Operation {
    let to =
        "The place or the id of a `session.status_idle` event that ended a turn, or the id or the name of a snapshot.";
    let body = schema::object([("to", point::described(to))], []);
    Operation::new("rewind_session", describe::session(schemas)).takes(body, json!({"to": "before"}))
}
