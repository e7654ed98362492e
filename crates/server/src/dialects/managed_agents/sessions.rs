//! `/v1/sessions`.

use axum::extract::{Path, State};
use axum::response::Response;
use sha2::{Digest as _, Sha256};
use tenure_core::id::AgentId;
use tenure_core::session::{Keep, Labels, Outcome};
use tenure_engine::{AgentChoice, Done, NewSession, Order, Overrides, Position, SessionFilter, Start};

use super::ingest::{self, AgentGiven, SessionGiven, session_id};
use super::status::Status;
use super::{agents, environments, project, wire};
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, Cursor as _, ListCursor, answer, idempotency};

pub(crate) async fn create(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let SessionGiven { agent, environment, title, metadata, labels, lifetimes, budget, limits, said } =
        ingest::new_session(asked.object()?)?;
    let tenant = asked.tenant;
    let environment = environments::find(&app, tenant, &environment).await?;
    let agent = choose(&app, &asked, agent).await?;
    ingest::store(&app.engine, &said.attached).await?;
    let sessions = app.engine.sessions().clone();
    let lifetimes = Some(lifetimes.over(sessions.default_lifetimes()));
    let inputs = said.inputs;
    let new = NewSession { agent, environment, title, metadata, labels, lifetimes, budget, limits, inputs };
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.create(tenant, new, keyed).await.map(Done::Session)
    })
    .await
}

async fn choose(app: &App, asked: &Asked, given: AgentGiven) -> Result<AgentChoice, Problem> {
    let AgentGiven { name, version, model, system, tools } = given;
    ingest::offered("agent.tools", tools.as_ref(), |tool| app.engine.offers(tool))?;
    let id = agents::find(app, asked.tenant, &name).await?;
    Ok(AgentChoice { id, version, overrides: Overrides { model, system, tools } })
}

pub(crate) async fn retrieve(
    State(app): State<App>,
    Path(session): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let view = app.engine.sessions().get(asked.tenant, session).await?;
    Ok(answer(asked, project::json(&project::session(&view))))
}

pub(crate) async fn list(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let filter = filter(&mut asked)?;
    let (order, bound_to) = (filter.order, binding(&filter.labels));
    let page = app.engine.sessions().list(asked.tenant, filter).await?;
    let print = |start: Option<Start>| start.map(|start| ListCursor { order, bound_to, start }.print());
    let (prev, next): (Option<Position>, Option<Position>) = (page.prev, page.next);
    let body = wire::BiPage {
        data: page.rows.iter().map(project::session).collect(),
        next_page: print(next.map(Start::After)),
        prev_page: print(prev.map(Start::Before)),
    };
    let json = project::json(&body);
    Ok(answer(asked, json))
}

fn filter(asked: &mut Asked) -> Result<SessionFilter, Problem> {
    let query = &mut asked.query;
    let agent = match query.one("agent_id")? {
        None => None,
        Some(text) => Some(AgentId::parse(&text).map_err(|error| Problem::invalid("agent_id", error.to_string()))?),
    };
    let agent_version = query.integer("agent_version", 1, u64::from(u32::MAX))?.map(|version| version as u32);
    if agent_version.is_some() && agent.is_none() {
        return Err(Problem::invalid("agent_version", "expected only together with `agent_id`"));
    }
    query.unsupported("deployment_id", "deployments are")?;
    query.unsupported("memory_store_id", "memory stores are")?;
    let created = query.times("created_at")?;
    let include_archived = query.flag("include_archived")?;
    let phases = statuses(query.many("statuses"))?;
    let labels = labels(query.many("labels"))?;
    let order = match query.one("order")?.as_deref() {
        None | Some("desc") => Order::NewestFirst,
        Some("asc") => Order::OldestFirst,
        Some(_) => return Err(Problem::invalid("order", "expected `asc` or `desc`")),
    };
    let limit = query.integer("limit", 1, 1_000)?.unwrap_or(20) as usize;
    let start = match query.one("page")? {
        None => None,
        Some(page) => {
            let cursor = ListCursor::parse(&page, order)?.within(&created, "created_at")?;
            if cursor.bound_to != binding(&labels) {
                let message = "this cursor is of a list with other `labels`; send them as before, or begin without one";
                return Err(Problem::invalid("page", message));
            }
            Some(cursor.start)
        }
    };
    Ok(SessionFilter { agent, agent_version, labels, phases, created, include_archived, order, start, limit })
}

/// The labels that are looked for, each once and sorted.
fn labels(given: Vec<String>) -> Result<Vec<String>, Problem> {
    if given.len() > ingest::labels::MOST {
        let message = format!("expected at most {} labels, got {}", ingest::labels::MOST, given.len());
        return Err(Problem::invalid("labels", message));
    }
    let labels: Result<Labels, Problem> =
        given.into_iter().map(|label| ingest::labels::label("labels", label)).collect();
    Ok(labels?.into_iter().collect())
}

/// What a cursor carries of the labels that are looked for: 0 for none.
fn binding(labels: &[String]) -> u32 {
    if labels.is_empty() {
        return 0;
    }
    let hash = Sha256::digest(labels.join(" "));
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1)
}

pub(super) fn statuses(names: Vec<String>) -> Result<Option<Vec<tenure_core::phase::Phase>>, Problem> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut phases = Vec::new();
    for name in names {
        let status = Status::ALL.into_iter().find(|status| status.name() == name).ok_or_else(|| {
            let given: String = name.chars().take(40).collect();
            let message = format!("expected `idle`, `running`, `rescheduling` or `terminated`, got `{given}`");
            Problem::invalid("statuses", message)
        })?;
        phases.extend(status.phases());
    }
    Ok(Some(phases))
}

pub(crate) async fn update(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let update = ingest::session_update(asked.object()?)?;
    ingest::offered("agent.tools", update.tools.as_ref(), |tool| app.engine.offers(tool))?;
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.update(tenant, session, update, keyed).await.map(Done::Session)
    })
    .await
}

pub(crate) async fn archive(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    drop(asked.optional_object()?);
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.end(tenant, session, Outcome::Archived, Keep::Everything, keyed).await.map(Done::Session)
    })
    .await
}

pub(crate) async fn delete(
    State(app): State<App>,
    Path(session): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    app.engine.sessions().delete(asked.tenant, session).await?;
    let gone = wire::Deleted { id: session.prefixed(), kind: "session_deleted" };
    Ok(answer(asked, project::json(&gone)))
}
