//! What a request has begun is finished, whether or not its client waits for the answer.
//!
//! When a connection breaks, whatever answers on it is dropped where it stands. A session could then be stored with
//! nobody to do what its first message asks for. So whatever may change something runs in a task of its own.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use crate::problem::{Kind, Problem};

pub(super) async fn carry_on(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request).in_current_span()).await {
        Ok(response) => response,
        Err(broken) => match broken.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Problem::new(Kind::Unavailable, "the server is stopping").into_response(),
        },
    }
}
