//! Who asks: an API key in `Authorization: Bearer` (SDKs from 2.0) or `X-Api-Key` (SDKs before), on loopback too.
//!
//! The engine compares hashes of 256-bit random secrets, so how long a comparison takes tells nothing.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::problem::{Kind, Problem};
use crate::request::Caller;
use crate::routes;

pub(super) async fn check(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if routes::OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let caller = match caller(&app, request.headers()).await {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(caller);
    response
}

async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Problem> {
    let secret = secret(headers).ok_or_else(|| {
        Problem::new(
            Kind::Unauthenticated,
            "expected an API key in `Authorization: Bearer <key>` or `X-Api-Key: <key>`, got none",
        )
    })?;
    let record = app.engine.keys().check(secret).await?;
    let record = record.ok_or_else(|| {
        Problem::new(Kind::Unauthenticated, "the API key is unknown or was revoked; `tenure keys` lists and makes keys")
    })?;
    Ok(Caller { tenant: record.tenant, key: record.id })
}

/// The key in the headers. A client may have a bearer token for somebody in between, so `X-Api-Key` wins.
fn secret(headers: &HeaderMap) -> Option<&str> {
    let plain = headers.get("x-api-key").and_then(|value| value.to_str().ok());
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    plain.or(bearer).filter(|secret| !secret.is_empty())
}
