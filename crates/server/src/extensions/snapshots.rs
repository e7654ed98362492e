//! Ours: snapshots of a session's files.

use axum::extract::{Path, State};
use axum::response::Response;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::json;
use tenure_core::files::{MAX_NAME, Snapshot};
use tenure_core::id::SnapshotId;
use tenure_engine::Point;

use super::point;
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::Problem;
use crate::request::{Asked, answer};

/// `POST /v1/sessions/{id}/snapshots {name}`: answers when the files are kept.
pub(crate) async fn take(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let name = asked.object()?.required_string("name")?;
    let taken = app.engine.sessions().take_snapshot(asked.tenant, session, name).await?;
    Ok(answer(asked, project::json(&print(&taken))))
}

/// `GET /v1/sessions/{id}/snapshots`: those with a name and those of turns' ends, the oldest first.
pub(crate) async fn list(
    State(app): State<App>,
    Path(session): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let kept = app.engine.sessions().snapshots(asked.tenant, session).await?;
    let data = kept.iter().map(print).collect();
    Ok(answer(asked, project::json(&Listed { data, next_page: () })))
}

/// `DELETE /v1/sessions/{id}/snapshots/{snapshot}`: by its id or its name.
pub(crate) async fn remove(
    State(app): State<App>,
    Path((session, snapshot)): Path<(String, String)>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let sessions = app.engine.sessions();
    let which = match point::read(sessions, "snapshot", snapshot.clone().into()) {
        Ok(which @ (Point::Snapshot(_) | Point::Name(_))) => which,
        Ok(Point::Last | Point::Place(_) | Point::Event(_)) | Err(_) => Point::Name(snapshot),
    };
    let removed = sessions.remove_snapshot(asked.tenant, session, &which).await?;
    Ok(answer(asked, project::json(&Removed { id: removed.id.prefixed(), kind: "snapshot_deleted" })))
}

fn print(snapshot: &Snapshot) -> Printed<'_> {
    let (how, bytes, _) = project::how_taken(&snapshot.ending);
    Printed {
        id: snapshot.id.prefixed(),
        kind: "snapshot",
        name: snapshot.name.as_deref(),
        at: snapshot.point,
        how,
        bytes,
        created_at: project::time(snapshot.at),
    }
}

/// A snapshot of a session's files.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Snapshot")]
struct Printed<'a> {
    #[schemars(schema_with = "snapshot_id")]
    id: String,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "snapshot"))]
    kind: &'static str,
    /// Null: it was taken at a turn's end.
    name: Option<&'a str>,
    /// The place of the log it belongs to, which the session can be forked at and rewound to.
    at: u64,
    /// At no cost, with files copied because processes went on living, or because nothing had changed.
    #[schemars(extend("enum" = ["sealed", "copied", "reused"]))]
    how: &'static str,
    /// Bytes that were copied.
    bytes: Option<u64>,
    #[schemars(extend("format" = "date-time"))]
    created_at: String,
}

/// All snapshots of a session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Snapshots")]
struct Listed<'a> {
    data: Vec<Printed<'a>>,
    /// There is one page.
    next_page: (),
}

/// Confirms that a snapshot isn't kept any longer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SnapshotDeleted")]
struct Removed {
    #[schemars(schema_with = "snapshot_id")]
    id: String,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "snapshot_deleted"))]
    kind: &'static str,
}

fn snapshot_id(_: &mut SchemaGenerator) -> Schema {
    describe::printed_id(SnapshotId::PREFIX)
}

pub(crate) fn describe_take(schemas: &mut Schemas) -> Operation {
    let body = schema::object([("name", schema::text(1, MAX_NAME))], []);
    Operation::new("take_snapshot", schemas.of::<Printed<'_>>()).takes(body, json!({"name": "before"}))
}

pub(crate) fn describe_list(schemas: &mut Schemas) -> Operation {
    Operation::new("list_snapshots", schemas.of::<Listed<'_>>())
}

pub(crate) fn describe_remove(schemas: &mut Schemas) -> Operation {
    Operation::new("delete_snapshot", schemas.of::<Removed>())
}
