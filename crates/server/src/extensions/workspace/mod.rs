//! Ours: the files of a session, of a stopped one too.
//!
//! The server touches none of them: all work is done by a process inside the sandbox, and goes through here in pieces.

mod archive;
mod change;
mod diff;
mod list;
mod page;
mod read;
mod wire;

pub(crate) use archive::{describe_download, describe_upload, download, upload};
pub(crate) use change::{describe_move, describe_remove, describe_write, remove, rename, write};
pub(crate) use diff::{describe_diff, diff};
pub(crate) use list::{describe_list, list};
pub(crate) use read::{describe_read, read};

use serde_json::json;
use tenure_core::id::{SessionId, TenantId};
use tenure_engine::files::{FilesClient, MOST_PATH_BYTES, Name};
use tenure_engine::{Visit, Wanted};

use crate::app::App;
use crate::openapi::Parameter;
use crate::problem::Problem;
use crate::request::Query;

/// A visit to the files of a session.
struct Files {
    client: FilesClient,
    visit: Visit,
}

async fn visit(app: &App, tenant: TenantId, session: SessionId, wanted: Wanted) -> Result<Files, Problem> {
    let visit = app.engine.sessions().visit(tenant, session, wanted).await?;
    Ok(Files { client: FilesClient::new(visit.sandbox().clone()), visit })
}

/// The path that a request is about; the workspace itself unless it says.
fn path(query: &mut Query) -> Result<Name, Problem> {
    let (path, escaped) = (query.one("path")?.unwrap_or_default(), query.flag("escaped")?);
    name("path", path, escaped)
}

/// A path, if it can be one.
fn name(field: &str, path: String, escaped: bool) -> Result<Name, Problem> {
    let name = Name { path, escaped };
    match name.bytes() {
        None => {
            let message =
                "expected each backslash doubled and other bytes as `\\x` and two hex digits, got another backslash";
            Err(Problem::invalid(field, message))
        }
        Some(bytes) if bytes.contains(&0) => {
            Err(Problem::invalid(field, "expected a path without a NUL, got one with it"))
        }
        Some(bytes) if bytes.len() > MOST_PATH_BYTES => {
            let message = format!("expected a path of at most {MOST_PATH_BYTES} bytes, got one of {}", bytes.len());
            Err(Problem::invalid(field, message))
        }
        Some(_) => Ok(name),
    }
}

fn required_path(query: &mut Query) -> Result<Name, Problem> {
    let name = path(query)?;
    match name.path.is_empty() {
        true => Err(Problem::invalid("path", "expected the path of a file, got none")),
        false => Ok(name),
    }
}

fn path_parameters(doc: &str) -> [Parameter; 2] {
    let path = json!({"type": "string", "maxLength": 16384});
    let escaped = "Whether each byte that isn't UTF-8 is written as `\\x` and two hex digits in `path`, and each backslash doubled.";
    [Parameter::query("path", path, doc), Parameter::flag("escaped", escaped)]
}
