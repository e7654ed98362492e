//! Ours: setting up a session like another, without what was said in it.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use tenure_engine::{Done, NewClone};

use super::fork::TITLE;
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, idempotency};

/// `POST /v1/sessions/{id}/clone {title?, files?}`: gives the new session.
pub(crate) async fn clone(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let mut fields = asked.optional_object()?;
    let title = fields.text("title", TITLE)?.value();
    let files = fields.bool("files")?.value().unwrap_or(false);
    drop(fields);
    let (sessions, new, tenant) = (app.engine.sessions().clone(), NewClone { title, files }, asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.clone_session(tenant, session, new, keyed).await.map(Done::Session)
    })
    .await
}

pub(crate) fn describe_clone(schemas: &mut Schemas) -> Operation {
    let files = "Whether it begins with the files that the other has at its last fork point; by default it has none.";
    let fields = [
        ("title", schema::nullable(schema::text(0, TITLE))),
        ("files", schema::nullable(schema::said(json!({"type": "boolean"}), files))),
    ];
    Operation::new("clone_session", describe::session(schemas))
        .may_take(schema::object([], fields), json!({"title": "the same again"}))
}
