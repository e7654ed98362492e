//! Clients that go away before they have an answer.

use std::pin::pin;
use std::task::Poll;

use axum::http::Method;
use serde_json::json;

use crate::support::{TestServer, ids, message, request};

/// More than a request ever waits for.
const WAITS: u32 = 30;

#[tokio::test]
async fn what_a_request_began_is_finished_though_its_client_has_gone() {
    let server = TestServer::on_disk().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let body = json!({"agent": agent, "environment_id": "default", "initial_events": [message("hi")]});
    for waits in 1..WAITS {
        let asked = server.answer(request(Method::POST, "/v1/sessions", Some(body.clone()), &[]));
        polled(waits, asked).await;
    }
    // One that is carried out whole, behind all others.
    server.post("/v1/sessions", body).await.ok();
    let made = ids(&server.get("/v1/sessions?limit=100").await.ok());
    assert!(made.len() > 1, "some were far enough to be stored");
    for session in &made {
        server.until(session, 0, "session.status_idle").await;
    }
    for session in &made {
        polled(3, server.answer(request(Method::DELETE, &format!("/v1/sessions/{session}"), None, &[]))).await;
    }
}

/// Lets a request go on until it has waited so often, and then drops it, as the connection of a client that is gone does.
async fn polled(waits: u32, asked: impl Future) {
    let mut asked = pin!(asked);
    let mut left = waits;
    std::future::poll_fn(|context| match asked.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => {
            left -= 1;
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        }
    })
    .await;
}
