//! Ours: what the server knows of itself.

use axum::extract::State;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use tenure_engine::Room;

use crate::app::App;
use crate::dialects::managed_agents::project;
use crate::openapi::{Operation, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, answer};

/// `GET /v1/tenure/status`.
pub(crate) async fn status(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    let stats = app.engine.stats();
    let trouble = app.engine.trouble();
    let body = ServerStatus {
        kind: "tenure_status",
        version: env!("CARGO_PKG_VERSION"),
        ready: !app.stopping.is_cancelled() && trouble.is_none(),
        degraded: trouble.map(|reason| format!("nothing can be stored: {reason}")).into_iter().collect(),
        uptime_seconds: app.started.elapsed().as_secs(),
        sandbox_backend: app.engine.backend_name(),
        awake_sessions: stats.awake,
        sandboxes: stats.sandboxes,
        sandbox_room: Line::of(stats.sandbox_room),
        model_requests: Line::of(stats.model_requests),
        default_model: app.engine.providers().default_model().await,
    };
    Ok(answer(asked, project::json(&body)))
}

/// How a server is.
#[derive(Serialize, JsonSchema)]
struct ServerStatus {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "tenure_status"))]
    kind: &'static str,
    version: &'static str,
    /// Whether it takes requests, and can store what they ask for.
    ready: bool,
    /// What is amiss, for an operator; empty when all is well.
    degraded: Vec<String>,
    uptime_seconds: u64,
    sandbox_backend: &'static str,
    /// Sessions that are held in memory.
    awake_sessions: usize,
    /// Sandboxes that are there.
    sandboxes: usize,
    /// Places for sandboxes.
    sandbox_room: Line,
    /// Requests to models.
    model_requests: Line,
    default_model: String,
}

/// What there is so much of, and who waits for it.
#[derive(Serialize, JsonSchema)]
struct Line {
    in_use: usize,
    limit: usize,
    waiting: usize,
    /// How long the first in line has waited; null when nobody waits.
    oldest_wait_seconds: Option<u64>,
}

impl Line {
    fn of(room: Room) -> Self {
        let Room { in_use, limit, waiting, oldest_wait } = room;
        Self { in_use, limit, waiting, oldest_wait_seconds: oldest_wait.map(|wait| wait.as_secs()) }
    }
}

pub(crate) fn describe(schemas: &mut Schemas) -> Operation {
    Operation::new("get_status", schemas.of::<ServerStatus>())
}

/// Brings the engine's gauges up to date, for whoever is about to read them.
pub(crate) fn gauges(app: &App) {
    let stats = app.engine.stats();
    metrics::gauge!("tenure_awake_sessions").set(stats.awake as f64);
    metrics::gauge!("tenure_sandboxes").set(stats.sandboxes as f64);
    metrics::gauge!("tenure_sandboxes_limit").set(stats.sandbox_room.limit as f64);
    metrics::gauge!("tenure_sandboxes_waiting").set(stats.sandbox_room.waiting as f64);
    metrics::gauge!("tenure_sandboxes_oldest_wait_seconds").set(oldest(stats.sandbox_room));
    metrics::gauge!("tenure_model_requests_running").set(stats.model_requests.in_use as f64);
    metrics::gauge!("tenure_model_requests_limit").set(stats.model_requests.limit as f64);
    metrics::gauge!("tenure_model_requests_waiting").set(stats.model_requests.waiting as f64);
    metrics::gauge!("tenure_model_requests_oldest_wait_seconds").set(oldest(stats.model_requests));
    metrics::gauge!("tenure_uptime_seconds").set(app.started.elapsed().as_secs_f64());
}

/// The longest wait, 0 when nobody waits.
fn oldest(room: Room) -> f64 {
    room.oldest_wait.map_or(0.0, |wait| wait.as_secs_f64())
}
