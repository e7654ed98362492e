//! `/v1/agents`.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_engine::{Done, Error, Order, Page, Position, ResourceQuery, Start, TimeRange};

use super::ingest::{self, agent_id};
use super::{project, wire};
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, Cursor as _, EventCursor, ListCursor, answer, idempotency};

pub(crate) async fn create(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let new = ingest::new_agent(asked.object()?)?;
    ingest::offered("tools", Some(&new.tools), |tool| app.engine.offers(tool))?;
    let (agents, tenant) = (app.engine.agents().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        agents.create(tenant, new, keyed).await.map(Done::Agent)
    })
    .await
}

pub(crate) async fn retrieve(
    State(app): State<App>,
    Path(agent): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let agent = find(&app, asked.tenant, &agent).await?;
    let version = asked.query.integer("version", 1, u64::from(u32::MAX))?.map(|version| version as u32);
    let record = app.engine.agents().get(asked.tenant, agent, version).await?;
    Ok(answer(asked, project::json(&project::agent(&record))))
}

pub(crate) async fn update(
    State(app): State<App>,
    Path(agent): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let agent = agent_id(&agent)?;
    let change = ingest::agent_change(asked.object()?)?;
    ingest::offered("tools", change.tools.as_ref(), |tool| app.engine.offers(tool))?;
    let (agents, tenant) = (app.engine.agents().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        agents.update(tenant, agent, change, keyed).await.map(Done::Agent)
    })
    .await
}

pub(crate) async fn archive(
    State(app): State<App>,
    Path(agent): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let agent = agent_id(&agent)?;
    drop(asked.optional_object()?);
    let (agents, tenant) = (app.engine.agents().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        agents.archive(tenant, agent, keyed).await.map(Done::Agent)
    })
    .await
}

pub(crate) async fn list(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let query = resource_query(&mut asked, 100)?;
    let page = app.engine.agents().list(query).await?;
    let next_page = next_page(&page);
    let data = page.rows.iter().map(project::agent).collect();
    Ok(answer(asked, project::json(&wire::Page { data, next_page })))
}

pub(crate) async fn versions(
    State(app): State<App>,
    Path(agent): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let agent = agent_id(&agent)?;
    let limit = asked.query.integer("limit", 1, 100)?.unwrap_or(20) as usize;
    let before = match asked.query.one("page")? {
        None => None,
        Some(page) => {
            let cursor = EventCursor::parse(&page, Order::NewestFirst)?;
            u32::try_from(cursor.after).ok()
        }
    };
    let mut rows = app.engine.agents().versions(asked.tenant, agent, before, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| more).map(|record| u64::from(record.agent.version));
    let next_page = last.map(|after| EventCursor { order: Order::NewestFirst, queued: false, after }.print());
    let data = rows.iter().map(project::agent).collect();
    Ok(answer(asked, project::json(&wire::Page { data, next_page })))
}

/// What lists of agents and environments take.
pub(super) fn resource_query(asked: &mut Asked, most: u64) -> Result<ResourceQuery, Problem> {
    let created: TimeRange = asked.query.times("created_at")?;
    let include_archived = asked.query.flag("include_archived")?;
    let limit = asked.query.integer("limit", 1, most)?.unwrap_or(20) as usize;
    let order = Order::NewestFirst;
    let start = match asked.query.one("page")? {
        None => None,
        Some(page) => Some(ListCursor::parse(&page, order)?.within(&created, "created_at")?.start),
    };
    Ok(ResourceQuery { tenant: asked.tenant, created, include_archived, order, start, limit })
}

/// The cursor of the page after this one.
pub(super) fn next_page<T>(page: &Page<T>) -> Option<String> {
    let cursor =
        |position: Position| ListCursor { order: Order::NewestFirst, bound_to: 0, start: Start::After(position) };
    page.next.map(|position| cursor(position).print())
}

/// An agent by its id, or by its short name, which is ours.
pub(super) async fn find(
    app: &App,
    tenant: tenure_core::id::TenantId,
    name: &str,
) -> Result<tenure_core::id::AgentId, Error> {
    match tenure_core::id::AgentId::parse(name) {
        Ok(id) => Ok(id),
        Err(_) => app.engine.agents().by_slug(tenant, name).await.map(|record| record.agent.id),
    }
}
