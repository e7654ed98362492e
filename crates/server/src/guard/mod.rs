//! What surrounds every request, from the outside in: an id, a log line and metrics; a panic caught; hosts and origins
//! checked; a key asked for; a change carried through though its client goes.

mod auth;
mod carry_on;
mod finish;
mod origin;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::problem::{Kind, Problem};

use carry_on::carry_on;
use finish::finish;

/// Puts all of it around a router.
pub(crate) fn surround(router: Router<App>, app: &App) -> Router<App> {
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(carry_on))
        .layer(from_fn_with_state(app.clone(), auth::check))
        .layer(from_fn_with_state(app.clone(), origin::check))
        .layer(CatchPanicLayer::custom(finish::panicked))
        .layer(from_fn_with_state(app.clone(), finish))
}

async fn no_such_route(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::new(Kind::NotFound, format!("no route `{path}`; see the list of routes in the documentation"))
}

async fn no_such_method(request: Request) -> Problem {
    let path: String = request.uri().path().chars().take(200).collect();
    let method = request.method();
    Problem::new(Kind::MethodNotAllowed, format!("`{path}` takes other methods than {method}; `allow` names them"))
}
