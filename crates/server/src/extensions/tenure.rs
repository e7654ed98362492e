//! Ours: what the server knows of itself.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::app::App;
use crate::dialects::managed_agents::project;
use crate::problem::Problem;
use crate::request::{Asked, answer};

/// `GET /v1/tenure/status`.
pub(crate) async fn status(State(app): State<App>, asked: Asked) -> Result<Response, Problem> {
    let stats = app.engine.stats();
    let body = json!({
        "type": "tenure_status",
        "version": env!("CARGO_PKG_VERSION"),
        "ready": !app.stopping.is_cancelled(),
        "uptime_seconds": app.started.elapsed().as_secs(),
        "sandbox_backend": app.engine.backend_name(),
        "awake_sessions": stats.awake,
        "sandboxes": stats.sandboxes,
        "default_model": app.engine.providers().default_model().await,
    });
    Ok(answer(asked, project::json(&body)))
}

/// Brings the engine's gauges up to date, for whoever is about to read them.
pub(crate) fn gauges(app: &App) {
    let stats = app.engine.stats();
    metrics::gauge!("tenure_awake_sessions").set(stats.awake as f64);
    metrics::gauge!("tenure_sandboxes").set(stats.sandboxes as f64);
    metrics::gauge!("tenure_uptime_seconds").set(app.started.elapsed().as_secs_f64());
}
