//! Ours: the limits of a session's sandbox, and what it uses.

use axum::extract::{Path, State};
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tenure_engine::{Applied, Done, Usage};

use crate::app::App;
use crate::dialects::managed_agents::ingest::{read_limits, session_id};
use crate::dialects::managed_agents::{describe, project};
use crate::openapi::{Operation, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, answer, idempotency};

/// `POST /v1/sessions/{id}/limits {memory_bytes?: 1073741824, …}`: what is left out stays, null is the operator's default.
pub(crate) async fn change(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let mut fields = asked.object()?;
    let change = read_limits(&mut fields)?;
    drop(fields);
    let (sessions, tenant) = (app.engine.sessions().clone(), asked.tenant);
    idempotency::once(&app.engine, asked, project::render_alone(), async move |keyed| {
        sessions.change_limits(tenant, session, change, keyed).await.map(Done::Session)
    })
    .await
}

/// `GET /v1/sessions/{id}/stats`.
pub(crate) async fn stats(
    State(app): State<App>,
    Path(session): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let usage = app.engine.sessions().usage(asked.tenant, session).await?;
    Ok(answer(asked, json!(SessionStats::of(usage)).to_string()))
}

/// What a session uses now. What isn't known is null: all but the disk, where no sandbox is alive.
#[derive(Debug, Serialize, JsonSchema)]
struct SessionStats {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "session_stats"))]
    kind: &'static str,
    /// Memory, as the limit counts it.
    memory_bytes: Option<u64>,
    /// The most memory since the sandbox was made.
    memory_peak_bytes: Option<u64>,
    /// Processor time since the sandbox was made.
    cpu_ms: Option<u64>,
    /// Processes and threads.
    pids: Option<u64>,
    /// Bytes on the disk of what the session wrote.
    disk_bytes: Option<u64>,
    /// Files and directories on the disk.
    inodes: Option<u64>,
    /// The limits in force, defaults too; null where no sandbox is alive.
    limits: Option<LimitsInForce>,
}

/// The limits in force; null is none.
#[derive(Debug, Serialize, JsonSchema)]
struct LimitsInForce {
    memory_bytes: Option<u64>,
    cpu_millis: Option<u32>,
    pids: Option<u32>,
    disk_bytes: Option<u64>,
    inodes: Option<u64>,
    open_files: Option<u32>,
    /// Defaults that this host can't enforce, each with its cause.
    missing: Vec<String>,
}

impl SessionStats {
    fn of(usage: Usage) -> Self {
        let Usage { memory_bytes, memory_peak_bytes, cpu_ms, pids, disk_bytes, inodes, limits } = usage;
        let limits = limits.map(|applied| {
            let Applied { memory_bytes, cpu_millis, pids, disk_bytes, inodes, open_files, missing } = applied;
            LimitsInForce { memory_bytes, cpu_millis, pids, disk_bytes, inodes, open_files, missing }
        });
        Self { kind: "session_stats", memory_bytes, memory_peak_bytes, cpu_ms, pids, disk_bytes, inodes, limits }
    }
}

pub(crate) fn describe_change(schemas: &mut Schemas) -> Operation {
    let body = schemas.named("SessionLimits", describe::environments::limits());
    Operation::new("change_session_limits", describe::session(schemas))
        .takes(body, json!({"memory_bytes": 1_073_741_824}))
}

pub(crate) fn describe_stats(schemas: &mut Schemas) -> Operation {
    Operation::new("get_session_stats", schemas.of::<SessionStats>())
}
