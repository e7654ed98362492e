//! Reading a file, or a part of it (RFC 9110, sections 13 and 14).

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use tenure_engine::files::{self, Refused, Slice, Span, Why};
use tenure_engine::{Visit, Wanted};

use super::{path_parameters, required_path, visit};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::openapi::{Operation, Parameter, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, name_ignored};

/// `GET /v1/sessions/{id}/workspace/file?path=`.
pub(crate) async fn read(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let at = required_path(&mut asked.query)?;
    let visited = visit(&app, asked.tenant, session, Wanted::Look).await?;
    // With `If-Range` a part is given only of the file that the client knows a part of: the whole has to be looked at first.
    let span = span(&asked.headers).filter(|_| !asked.headers.contains_key(header::IF_RANGE));
    let (slice, body) = match visited.client.read(at.clone(), span).await {
        Err(files::Error::Refused(Refused { why: Why::NoSuchPart, message })) => return Ok(no_such_part(&message)),
        read => read?,
    };
    let tag = format!("\"{}\"", slice.tag);
    if asked.headers.get(header::IF_NONE_MATCH).is_some_and(|known| names(known, &tag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let known = asked.headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let (slice, body, partial) = match self::span(&asked.headers).filter(|_| known) {
        Some(span) => match visited.client.read(at, Some(span)).await {
            Ok((part, body)) if part.tag == slice.tag => (part, body, true),
            Ok(_) | Err(_) => return Err(Problem::conflict("the file is just being changed; try again")),
        },
        None => (slice, body, span.is_some()),
    };
    let mut response = respond(&slice, &tag, partial, pieces(body, visited.visit));
    name_ignored(response.headers_mut(), asked.query.ignored());
    Ok(response)
}

fn respond(slice: &Slice, tag: &str, partial: bool, body: Body) -> Response {
    let mut response = Response::new(body);
    let size = slice.entry.size;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(&slice.entry.name.path)));
    headers.insert(header::CONTENT_LENGTH, slice.length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.extend(HeaderValue::from_str(tag).ok().map(|tag| (header::ETAG, tag)));
    // Files of a sandbox are nobody's whom a browser should trust here.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if partial {
        let last = slice.start + slice.length.saturating_sub(1);
        let range = HeaderValue::from_str(&format!("bytes {}-{last}/{size}", slice.start));
        headers.extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// What comes out of the sandbox, as it comes; the visit lasts as long.
pub(super) fn pieces(body: files::Body, visit: Visit) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some((body, visit)), |state| async move {
        let (mut body, visit) = state?;
        match body.next().await? {
            Ok(piece) => Some((Ok(Bytes::from(piece)), Some((body, visit)))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

fn no_such_part(message: &str) -> Response {
    let size = message.rsplit("it has ").next().and_then(|rest| rest.split(' ').next()).unwrap_or("*");
    let problem = Problem::new(crate::problem::Kind::NoSuchPart, message.to_owned());
    let mut response = problem.into_response();
    let range = HeaderValue::from_str(&format!("bytes */{size}"));
    response.headers_mut().extend(range.ok().map(|range| (header::CONTENT_RANGE, range)));
    response
}

/// One range of bytes; whatever else is asked for gets the whole file, as the RFC allows.
fn span(headers: &HeaderMap) -> Option<Span> {
    let range = headers.get(header::RANGE)?.to_str().ok()?.trim().strip_prefix("bytes=")?;
    let (first, last) = range.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => Some(Span::Last(last.parse().ok()?)),
        (first, "") => Some(Span::From(first.parse().ok()?, None)),
        (first, last) => {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(Span::From(first, Some(last)))
        }
    }
}

fn names(known: &HeaderValue, tag: &str) -> bool {
    let known = known.to_str().unwrap_or("");
    known.trim() == "*" || known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
}

/// The media type of a file by its name; of what isn't listed nothing is said but that it is bytes.
fn media_type(path: &str) -> &'static str {
    const TYPES: &[(&str, &str)] = &[
        ("css", "text/css; charset=utf-8"),
        ("csv", "text/csv; charset=utf-8"),
        ("gif", "image/gif"),
        ("gz", "application/gzip"),
        ("htm", "text/html; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
        ("jpeg", "image/jpeg"),
        ("jpg", "image/jpeg"),
        ("js", "text/javascript; charset=utf-8"),
        ("json", "application/json"),
        ("md", "text/markdown; charset=utf-8"),
        ("pdf", "application/pdf"),
        ("png", "image/png"),
        ("svg", "image/svg+xml"),
        ("tar", "application/x-tar"),
        ("txt", "text/plain; charset=utf-8"),
        ("wasm", "application/wasm"),
        ("webp", "image/webp"),
        ("xml", "application/xml"),
        ("yaml", "application/yaml"),
        ("yml", "application/yaml"),
        ("zip", "application/zip"),
        ("zst", "application/zstd"),
    ];
    let extension =
        path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, extension)| extension);
    let found = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    found.map_or("application/octet-stream", |(_, kind)| kind)
}

pub(crate) fn describe_read(_: &mut Schemas) -> Operation {
    let header = |name: &str, doc: &str| Parameter::header(name, serde_json::json!({"type": "string"}), doc);
    Operation::bytes("read_workspace_file")
        .with(path_parameters("The file; a relative path begins at `/workspace`. Symbolic links are followed."))
        .with([
            header("Range", "One range of bytes (RFC 9110). Several, or another unit, get the whole file."),
            header("If-Range", "The range is given only if this is still the file's `ETag`, else the whole file."),
            header("If-None-Match", "The `ETag` that the client knows: if it is still that, a 304 without content."),
        ])
        .also(206, "The range that was asked for.", true)
        .also(304, "It is what the client knows.", false)
        .may_lack_part()
        .may_be_gone()
}
