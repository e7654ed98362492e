//! Alive and ready. Neither needs a key, and neither says anything else.

use axum::extract::State;
use axum::http::StatusCode;

use crate::app::App;
use crate::openapi::{Operation, Schemas};
use crate::problem::{Kind, Problem};

pub(crate) async fn live() -> (StatusCode, &'static str) {
    (StatusCode::OK, "ok\n")
}

/// Ready from the first request on, since an engine that has started answers, until the server is told to stop; and not
/// while nothing can be stored.
pub(crate) async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    if app.stopping.is_cancelled() {
        return Err(Problem::new(Kind::Unavailable, "the server is stopping"));
    }
    match app.engine.trouble() {
        Some(reason) => Err(Problem::new(Kind::Unavailable, format!("nothing can be stored: {reason}"))),
        None => Ok("ready\n"),
    }
}

pub(crate) fn describe_live(_: &mut Schemas) -> Operation {
    Operation::text("get_health", "text/plain")
}

pub(crate) fn describe_ready(_: &mut Schemas) -> Operation {
    Operation::text("get_readiness", "text/plain")
}
