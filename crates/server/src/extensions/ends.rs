//! Ours: stopping, resuming and ending a session.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_core::session::{Keep, Outcome};
use tenure_engine::Done;

use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::project;
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

/// `POST /v1/sessions/{id}/end {outcome?: "ended_by_user" | "completed", keep?: "everything" | "log"}`.
pub(crate) async fn end(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let mut fields = asked.optional_object()?;
    let outcome = match fields.one_of("outcome", &["ended_by_user", "completed"])?.value() {
        Some("completed") => Outcome::Completed,
        Some(_) | None => Outcome::EndedByUser,
    };
    let keep = match fields.one_of("keep", &["everything", "log"])?.value() {
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
