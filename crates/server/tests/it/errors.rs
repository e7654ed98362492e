//! Requests that are no requests.

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::json;

use crate::support::{TestServer, request};

async fn post(server: &TestServer, path: &str, kind: &str, body: impl Into<Body>) -> crate::support::Answer {
    let request = Request::post(path).header(header::CONTENT_TYPE, kind).body(body.into()).unwrap();
    server.answer(request).await
}

#[tokio::test]
async fn bodies_that_are_no_json_object() {
    let server = TestServer::start().await;
    let cases: [(&str, &[u8], u16, &str); 6] = [
        ("application/json", b"", 400, "expected a JSON object, got an empty body"),
        ("application/json", b"{\"a\":", 400, "expected JSON in UTF-8 as the body"),
        ("application/json", b"{\"name\":\"\xff\"}", 400, "expected JSON in UTF-8 as the body"),
        ("application/json", b"[1]", 400, "expected an object, got a list"),
        ("text/plain", b"{}", 415, "expected the header `content-type: application/json`, got `text/plain`"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "expected the header"),
    ];
    for (kind, body, status, expected) in cases {
        let message = post(&server, "/v1/agents", kind, body.to_vec()).await.problem(status);
        assert!(message.starts_with(expected), "{message}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    post(&server, "/v1/agents", "application/json", deep).await.problem(400);
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let server = TestServer::start().await;
    let text = |length: usize| json!({"name": "a", "model": "claude-x", "x": "y".repeat(length)}).to_string();
    let message = post(&server, "/v1/agents", "application/json", text(1 << 20)).await.problem(413);
    assert!(message.contains("at most 1 MiB"), "{message}");
    // Without a length up front it is noticed on the way.
    let pieces = futures_util::stream::iter((0..40).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 20])));
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let message = post(&server, &path, "application/json", Body::from_stream(pieces)).await.problem(413);
    assert!(message.contains("at most 32 MiB"), "{message}");
}

#[tokio::test]
async fn ids_of_nothing_and_of_another_kind() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    for session in ["x", "..", "%2e%2e%2fetc", "sesn_1111111111111111111111", agent.as_str()] {
        for path in ["", "/events", "/events/stream", "/queue"] {
            server.get(&format!("/v1/sessions/{session}{path}")).await.problem(404);
        }
        server.post(&format!("/v1/sessions/{session}/stop"), json!({})).await.problem(404);
    }
    server.get("/v1/agents?x=%ff").await.problem(400);
}

#[tokio::test]
async fn idempotency_keys_have_a_length() {
    let server = TestServer::start().await;
    let long = "k".repeat(256);
    for key in ["", long.as_str()] {
        let body = json!({"name": "a", "model": "claude-x"});
        let request = request(Method::POST, "/v1/agents", Some(body), &[("idempotency-key", key)]);
        assert!(server.answer(request).await.problem(400).starts_with("Idempotency-Key: "));
    }
}
