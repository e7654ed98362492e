//! Ours: making a session from another, with its conversation and its files as they were at one place.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use tenure_engine::{Done, NewFork, Point};

use super::point;
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, idempotency};

/// The longest title.
pub(super) const TITLE: usize = 512;

/// `POST /v1/sessions/{id}/fork {at?, title?, files?}`: gives the new session.
pub(crate) async fn fork(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let sessions = app.engine.sessions().clone();
    let mut fields = asked.optional_object()?;
    let at = fields.take("at").try_map(|value| point::read(&sessions, "at", value))?.value().unwrap_or(Point::Last);
    let title = fields.text("title", TITLE)?.value();
    let files = fields.bool("files")?.value().unwrap_or(true);
    drop(fields);
    let (new, tenant) = (NewFork { at, title, files }, asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.fork(tenant, session, new, keyed).await.map(Done::Session)
    })
    .await
}

pub(crate) fn describe_fork(schemas: &mut Schemas) -> Operation {
    let at = "Where the two part: the place or the id of a `session.status_idle` event that ended a turn, or the id or the \
              name of a snapshot. Not there: the last of these.";
    let files = "Whether the new session has the files as they were then (the default), or none.";
    let fields = [
        ("at", schema::nullable(point::described(at))),
        ("title", schema::nullable(schema::text(0, TITLE))),
        ("files", schema::nullable(schema::said(json!({"type": "boolean"}), files))),
    ];
    let example = json!({"title": "another try", "files": false});
    Operation::new("fork_session", describe::session(schemas)).may_take(schema::object([], fields), example)
}
