//! Listing a directory.

use axum::extract::{Path, State};
use axum::response::Response;
use tenure_engine::Wanted;

use super::wire::{self, WorkspacePage};
use super::{page, path, path_parameters, visit};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::project;
use crate::openapi::{Operation, Parameter, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, answer};

const LIMIT: u64 = 100;
const MOST: u64 = 1_000;

/// `GET /v1/sessions/{id}/workspace?path=&recursive=&limit=&page=`: in order of names.
pub(crate) async fn list(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = path(&mut asked.query)?;
    let recursive = asked.query.flag("recursive")?;
    let limit = asked.query.integer("limit", 1, MOST)?.unwrap_or(LIMIT);
    let after = asked.query.one("page")?.map(|given| page::parse(&given)).transpose()?;
    let files = visit(&app, asked.tenant, session, Wanted::Look).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let listing = files.client.list(at, recursive, after, limit).await?;
    let next_page = listing.more.then(|| listing.entries.last().map(|last| page::print(&last.name))).flatten();
    let data = listing.entries.into_iter().map(wire::entry).collect();
    Ok(answer(asked, project::json(&WorkspacePage { data, next_page })))
}

pub(crate) fn describe_list(schemas: &mut Schemas) -> Operation {
    let recursive =
        Parameter::flag("recursive", "Also what is in the directories in it, each right after its directory.");
    Operation::new("list_workspace", schemas.of::<WorkspacePage>())
        .with(path_parameters("The directory; a relative path begins at `/workspace`, which it is by default."))
        .with([recursive, Parameter::limit(LIMIT, MOST), Parameter::page()])
        .may_be_gone()
}
