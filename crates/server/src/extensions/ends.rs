//! Ours: stopping, resuming and ending a session.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use tenure_core::session::{Keep, Outcome};
use tenure_engine::Done;

use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, idempotency};

/// `POST /v1/sessions/{id}/stop`: interrupts its work and stops its sandbox; a resume or the next message wakes it.
pub(crate) async fn stop(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    drop(asked.optional_object()?);
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.hold(tenant, session, keyed).await.map(Done::Session)
    })
    .await
}

/// `POST /v1/sessions/{id}/resume`.
pub(crate) async fn resume(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    drop(asked.optional_object()?);
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.resume(tenant, session, keyed).await.map(Done::Session)
    })
    .await
}

const OUTCOMES: &[&str] = &["ended_by_user", "completed"];
const KEPT: &[&str] = &["everything", "log"];

/// `POST /v1/sessions/{id}/end {outcome?: "ended_by_user" | "completed", keep?: "everything" | "log"}`.
pub(crate) async fn end(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let mut fields = asked.optional_object()?;
    let outcome = match fields.one_of("outcome", OUTCOMES)?.value() {
        Some("completed") => Outcome::Completed,
        Some(_) | None => Outcome::EndedByUser,
    };
    let keep = match fields.one_of("keep", KEPT)?.value() {
        Some("log") => Keep::Log,
        Some(_) | None => Keep::Everything,
    };
    drop(fields);
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.end(tenant, session, outcome, keep, keyed).await.map(Done::Session)
    })
    .await
}

pub(crate) fn describe_stop(schemas: &mut Schemas) -> Operation {
    Operation::new("stop_session", describe::session(schemas)).bare()
}

pub(crate) fn describe_resume(schemas: &mut Schemas) -> Operation {
    Operation::new("resume_session", describe::session(schemas)).bare()
}

pub(crate) fn describe_end(schemas: &mut Schemas) -> Operation {
    let fields = [
        ("outcome", schema::nullable(schema::one_of(OUTCOMES))),
        ("keep", schema::nullable(schema::said(schema::one_of(KEPT), "`log` removes its files."))),
    ];
    Operation::new("end_session", describe::session(schemas))
        .may_take(schema::object([], fields), json!({"outcome": "completed"}))
}
