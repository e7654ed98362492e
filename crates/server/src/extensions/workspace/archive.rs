//! Directories as archives, both ways.

use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::json;
use tenure_engine::Wanted;
use tenure_engine::files::Format;

use super::read::pieces;
use super::wire::{self, WorkspaceWritten};
use super::{path, path_parameters, visit};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::project;
use crate::openapi::{Operation, Parameter, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, Streamed, answer_to, name_ignored};

const FORMATS: [(&str, Format, &str); 3] = [
    ("tar", Format::Tar, "application/x-tar"),
    ("tar.gz", Format::Gzip, "application/gzip"),
    ("tar.zst", Format::Zstd, "application/zstd"),
];

/// `GET /v1/sessions/{id}/workspace/archive?path=&format=`.
pub(crate) async fn download(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = path(&mut asked.query)?;
    let format = asked.query.one("format")?.unwrap_or_else(|| FORMATS[0].0.to_owned());
    let (_, format, media_type) = FORMATS
        .into_iter()
        .find(|(name, ..)| *name == format)
        .ok_or_else(|| Problem::invalid("format", "expected `tar`, `tar.gz` or `tar.zst`, got another word"))?;
    let files = visit(&app, asked.tenant, session, Wanted::Look).await?;
    let body = files.client.pack(at, format).await?;
    let mut response = Response::new(pieces(body, files.visit));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    name_ignored(headers, asked.query.ignored());
    Ok(response)
}

/// `PUT /v1/sessions/{id}/workspace/archive?path=&parents=`: the body is unpacked there, all of it or nothing.
pub(crate) async fn upload(
    State(app): State<App>,
    Path(session): Path<String>,
    mut streamed: Streamed,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = path(&mut streamed.query)?;
    let parents = streamed.query.flag("parents")?;
    let files = visit(&app, streamed.tenant, session, Wanted::Change).await?;
    let mut upload = files.client.unpack(at, parents).await?;
    while let Some(piece) = streamed.pieces.next().await? {
        if !upload.send(&piece).await {
            break;
        }
    }
    let (created, file) = upload.finish().await?;
    let written = WorkspaceWritten { kind: "workspace_written", created, file: wire::entry(file) };
    Ok(answer_to(streamed.query, project::json(&written)))
}

pub(crate) fn describe_download(_: &mut Schemas) -> Operation {
    let format = json!({"enum": ["tar", "tar.gz", "tar.zst"], "default": "tar"});
    Operation::bytes("download_workspace_archive")
        .with(path_parameters("The directory; a relative path begins at `/workspace`, which it is by default."))
        .with([Parameter::query("format", format, "As it is, or packed with gzip or zstd.")])
        .may_be_gone()
}

pub(crate) fn describe_upload(schemas: &mut Schemas) -> Operation {
    let to = "The directory it is unpacked into; a relative path begins at `/workspace`, which it is by default. What is in it \
        already stays, but for files of the same name.";
    Operation::new("upload_workspace_archive", schemas.of::<WorkspaceWritten>())
        .with(path_parameters(to))
        .with([Parameter::flag("parents", "Make the directory, and those it is to be in.")])
        .takes_bytes("application/x-tar")
        .may_be_gone()
}
