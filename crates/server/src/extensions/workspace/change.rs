//! Writing, removing and moving.

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::json;
use tenure_engine::Wanted;

use super::wire::{self, WorkspaceChanged, WorkspaceWritten};
use super::{name, path_parameters, required_path, visit};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::project;
use crate::openapi::{Operation, Parameter, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, Query, Streamed, answer, answer_to};

const MOST_PATH: usize = 16_384;

/// `PUT /v1/sessions/{id}/workspace/file?path=&parents=&mode=`: the body is what it holds afterwards, at once.
pub(crate) async fn write(
    State(app): State<App>,
    Path(session): Path<String>,
    mut streamed: Streamed,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = required_path(&mut streamed.query)?;
    if at.path.ends_with('/') {
        return Err(Problem::invalid("path", "expected the path of a file, got one with a slash at its end"));
    }
    let parents = streamed.query.flag("parents")?;
    let mode = mode(&mut streamed.query)?;
    let files = visit(&app, streamed.tenant, session, Wanted::Change).await?;
    let mut upload = files.client.write(at, parents, mode).await?;
    while let Some(piece) = streamed.pieces.next().await? {
        if !upload.send(&piece).await {
            break;
        }
    }
    let (created, file) = upload.finish().await?;
    let written = WorkspaceWritten { kind: "workspace_written", created, file: wire::entry(file) };
    Ok(answer_to(streamed.query, project::json(&written)))
}

fn mode(query: &mut Query) -> Result<Option<u32>, Problem> {
    let Some(given) = query.one("mode")? else { return Ok(None) };
    let mode = u32::from_str_radix(&given, 8).ok().filter(|mode| *mode <= 0o777 && given.len() <= 4);
    let wrong = || Problem::invalid("mode", "expected permissions in octal, at most 0777, such as 0644");
    mode.map(Some).ok_or_else(wrong)
}

/// `DELETE /v1/sessions/{id}/workspace/file?path=&recursive=`.
pub(crate) async fn remove(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = required_path(&mut asked.query)?;
    let recursive = asked.query.flag("recursive")?;
    let files = visit(&app, asked.tenant, session, Wanted::Change).await?;
    files.client.remove(at.clone(), recursive).await?;
    Ok(answer(asked, project::json(&WorkspaceChanged { kind: "workspace_removed", path: at.path })))
}

/// `POST /v1/sessions/{id}/workspace/move {from, to, replace?, parents?}`.
pub(crate) async fn rename(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let mut fields = asked.object()?;
    let from = fields.required_text("from", 1, MOST_PATH)?;
    let to = fields.required_text("to", 1, MOST_PATH)?;
    let replace = fields.bool("replace")?.value().unwrap_or(false);
    let parents = fields.bool("parents")?.value().unwrap_or(false);
    let escaped = fields.bool("escaped")?.value().unwrap_or(false);
    drop(fields);
    let (from, to) = (name("from", from, escaped)?, name("to", to, escaped)?);
    let files = visit(&app, asked.tenant, session, Wanted::Change).await?;
    files.client.rename(from, to.clone(), replace, parents).await?;
    Ok(answer(asked, project::json(&WorkspaceChanged { kind: "workspace_moved", path: to.path })))
}

pub(crate) fn describe_write(schemas: &mut Schemas) -> Operation {
    let mode = json!({"type": "string", "pattern": "^[0-7]{1,4}$"});
    Operation::new("write_workspace_file", schemas.of::<WorkspaceWritten>())
        .with(path_parameters(
            "The file; a relative path begins at `/workspace`. A symbolic link is followed, and stays one.",
        ))
        .with([
            Parameter::flag("parents", "Make the directories it is to be in."),
            Parameter::query(
                "mode",
                mode,
                "Its permissions in octal. A new file gets 0644, another keeps what it has.",
            ),
        ])
        .takes_bytes("application/octet-stream")
        .may_be_gone()
}

pub(crate) fn describe_remove(schemas: &mut Schemas) -> Operation {
    Operation::new("remove_workspace_file", schemas.of::<WorkspaceChanged>())
        .with(path_parameters("What is to be removed. A symbolic link is removed itself."))
        .with([Parameter::flag("recursive", "Also a directory that isn't empty, with all that is in it.")])
        .may_be_gone()
}

pub(crate) fn describe_move(schemas: &mut Schemas) -> Operation {
    let path = || schema::text(1, MOST_PATH);
    let flag = |doc: &str| schema::nullable(schema::said(json!({"type": "boolean"}), doc));
    let fields = [
        ("replace", flag("Replace a file that has the new name. Default: a 409.")),
        ("parents", flag("Make the directories it is to be in.")),
        ("escaped", flag("Whether bytes that aren't UTF-8 are escaped in both paths.")),
    ];
    let body = schema::object([("from", path()), ("to", path())], fields);
    Operation::new("move_workspace_file", schemas.of::<WorkspaceChanged>())
        .takes(body, json!({"from": "draft.md", "to": "report.md"}))
        .may_be_gone()
}
