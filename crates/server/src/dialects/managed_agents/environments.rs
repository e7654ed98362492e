//! `/v1/environments`.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_core::id::{EnvironmentId, TenantId};
use tenure_engine::{Done, Error};

use super::agents::{next_page, resource_query};
use super::ingest::{self, environment_id};
use super::{project, wire};
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, answer, idempotency};

pub(crate) async fn create(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let new = ingest::new_environment(asked.object()?)?;
    let (environments, tenant) = (app.engine.environments().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        environments.create(tenant, new, keyed).await.map(Done::Environment)
    })
    .await
}

pub(crate) async fn retrieve(
    State(app): State<App>,
    Path(environment): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let environment = environment_id(&environment)?;
    let record = app.engine.environments().get(asked.tenant, environment).await?;
    Ok(answer(asked, project::json(&project::environment(&record))))
}

pub(crate) async fn update(
    State(app): State<App>,
    Path(environment): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let environment = environment_id(&environment)?;
    let change = ingest::environment_change(asked.object()?)?;
    let (environments, tenant) = (app.engine.environments().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        environments.update(tenant, environment, change, keyed).await.map(Done::Environment)
    })
    .await
}

pub(crate) async fn archive(
    State(app): State<App>,
    Path(environment): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let environment = environment_id(&environment)?;
    drop(asked.optional_object()?);
    let (environments, tenant) = (app.engine.environments().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        environments.archive(tenant, environment, keyed).await.map(Done::Environment)
    })
    .await
}

pub(crate) async fn delete(
    State(app): State<App>,
    Path(environment): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let environment = environment_id(&environment)?;
    app.engine.environments().delete(asked.tenant, environment).await?;
    let gone = wire::Deleted { id: environment.prefixed(), kind: "environment_deleted" };
    Ok(answer(asked, project::json(&gone)))
}

pub(crate) async fn list(State(app): State<App>, mut asked: Asked) -> Result<Response, Problem> {
    let query = resource_query(&mut asked, 1_000)?;
    let page = app.engine.environments().list(query).await?;
    let next_page = next_page(&page);
    let data = page.rows.iter().map(project::environment).collect();
    Ok(answer(asked, project::json(&wire::Page { data, next_page })))
}

/// An environment by its id, or by its name, which is ours.
pub(super) async fn find(app: &App, tenant: TenantId, name: &str) -> Result<EnvironmentId, Error> {
    match EnvironmentId::parse(name) {
        Ok(id) => Ok(id),
        Err(_) => app.engine.environments().by_name(tenant, name).await.map(|record| record.id),
    }
}
