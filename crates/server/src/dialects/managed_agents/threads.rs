//! `/v1/sessions/{id}/threads`. A session has one thread so far, the primary one: its events are the session's.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_core::id::TenantId;
use tenure_engine::{Order, SessionView};

use super::ingest::{session_id, thread_id};
use super::sessions::statuses;
use super::{events, project, wire};
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, Cursor as _, EventCursor, answer};

pub(crate) async fn list(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let phases = statuses(asked.query.many("statuses"))?;
    asked.query.integer("limit", 1, 1_000)?;
    // There is no second page to have a cursor of.
    if let Some(page) = asked.query.one("page")? {
        let _nothing = EventCursor::parse(&page, Order::OldestFirst)?;
        return Err(Problem::invalid("page", "expected a cursor of this list, got one of another; begin without one"));
    }
    let view = app.engine.sessions().get(asked.tenant, session).await?;
    let wanted = phases.is_none_or(|phases| phases.contains(&view.phase()));
    let data = wanted.then(|| project::thread(&view)).into_iter().collect();
    Ok(answer(asked, project::json(&wire::Page { data, next_page: None })))
}

pub(crate) async fn retrieve(
    State(app): State<App>,
    Path((session, thread)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    let view = find(&app, asked.tenant, &session, &thread).await?;
    Ok(answer(asked, project::json(&project::thread(&view))))
}

/// The primary thread ends with its session, so this is never done: only the threads of sub-agents can be archived.
pub(crate) async fn archive(
    State(app): State<App>,
    Path((session, thread)): Path<(String, String)>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    drop(asked.optional_object()?);
    find(&app, asked.tenant, &session, &thread).await?;
    Err(Problem::invalid(
        "thread",
        "this is the session's primary thread, which is archived with its session; archive the session instead",
    ))
}

pub(crate) async fn list_events(
    State(app): State<App>,
    Path((session, thread)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    find(&app, asked.tenant, &session, &thread).await?;
    events::list(State(app), Path(session), asked).await
}

pub(crate) async fn stream_events(
    State(app): State<App>,
    Path((session, thread)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    find(&app, asked.tenant, &session, &thread).await?;
    events::stream(State(app), Path(session), asked).await
}

/// The session, if the thread is its own.
async fn find(app: &App, tenant: TenantId, session: &str, thread: &str) -> Result<SessionView, Problem> {
    let (session, thread) = (session_id(session)?, thread_id(thread)?);
    let view = app.engine.sessions().get(tenant, session).await?;
    if view.summary.thread == thread {
        return Ok(view);
    }
    let message = format!("the session `{}` has no thread `{}`", session.prefixed(), thread.prefixed());
    Err(Problem::not_found(message))
}
