//! The outermost ring: every request gets an id, every problem its body, every answer a log line.

use std::any::Any;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use crate::app::App;
use crate::dialects::managed_agents;
use crate::problem::{Kind, Problem};
use crate::request::{Caller, Unmarked};

/// A request's id, `req_` and 22 letters and digits.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    fn fresh() -> Self {
        let mut bits = [0; 16];
        // Without randomness there are no ids to make either; the engine refuses to start then.
        let _ = getrandom::fill(&mut bits);
        let session = tenure_core::id::SessionId::from_bits(u128::from_ne_bytes(bits)).prefixed();
        Self(format!("req_{}", session.rsplit('_').next().unwrap_or_default()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives the request its id and its answer what every answer has.
pub(crate) async fn finish(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let id = RequestId::fresh();
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "other".to_owned());
    request.extensions_mut().insert(id.clone());

    let span = tracing::info_span!(
        target: "tenure::trace",
        "request",
        id = id.as_str(),
        %method,
        route,
        status = tracing::field::Empty
    );
    if let (Some(adopt), Some(parent)) = (app.config.adopt_trace, request.headers().get("traceparent")) {
        parent.to_str().into_iter().for_each(|parent| adopt(&span, parent));
    }
    let mut response = next.run(request).instrument(span.clone()).await;
    span.record("status", response.status().as_u16());
    let caller = response.extensions_mut().remove::<Caller>();
    if let Some(answer) = response.extensions_mut().remove::<Unmarked>() {
        answer.mark_as_given(&app.engine);
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        print(&mut response, &problem, &id);
    }
    let value = HeaderValue::from_str(id.as_str()).unwrap_or(HeaderValue::from_static("req_"));
    response.headers_mut().insert(HeaderName::from_static("request-id"), value);

    let (status, took) = (response.status().as_u16(), begun.elapsed());
    app.metrics.answered(&method, &route, status, took);
    tracing::info!(
        request = id.as_str(),
        %method,
        route,
        status,
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        key = caller.map(|caller| caller.key.prefixed()),
        "answered"
    );
    response
}

/// A handler panicked. The process's panic hook has said where and why, with what may be said of it.
pub(super) fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a handler panicked");
    Problem::internal().into_response()
}

/// Prints a problem in the envelope of the front door that was asked. All paths are the Managed Agents API's so far.
fn print(response: &mut Response, problem: &Problem, id: &RequestId) {
    *response.body_mut() = Body::from(managed_agents::error::envelope(problem, id.as_str()));
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = problem.retry_after() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if problem.kind == Kind::Conflict {
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    if problem.kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
}
