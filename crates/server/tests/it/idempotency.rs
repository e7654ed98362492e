//! Requests that are sent twice.

use serde_json::json;

use crate::support::{TestServer, id, ids, message};

#[tokio::test]
async fn a_repeated_message_is_said_once() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}});
    let said = json!({"events": [{"type": "user.message", "content": [image]}]});
    let first = server.post_with(&path, said.clone(), &[("idempotency-key", "k1")]).await;
    assert_eq!(first.header("x-tenure-replayed"), None);
    let again = server.post_with(&path, said.clone(), &[("idempotency-key", "k1")]).await;
    assert_eq!(again.header("x-tenure-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    assert_eq!(first.ok()["data"][0]["content"][0]["source"]["data"], "aGVsbG8=");
    server.until(&session, 0, "session.status_idle").await;
    assert_eq!(ids(&server.get(&format!("{path}?types[]=user.message")).await.ok()).len(), 1);

    let other = server.post_with(&path, json!({"events": [message("other")]}), &[("idempotency-key", "k1")]).await;
    assert_eq!(other.header("x-should-retry"), Some("false"));
    assert!(other.problem(409).contains("another request"));
    assert_eq!(server.post_with(&path, said, &[("idempotency-key", "k2")]).await.header("x-tenure-replayed"), None);
}

#[tokio::test]
async fn every_other_post_too() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let cases = [
        ("/v1/agents".to_owned(), json!({"name": "a", "model": "claude-x"})),
        (format!("/v1/agents/{agent}"), json!({"name": "b"})),
        ("/v1/environments".to_owned(), json!({"name": "e"})),
        (
            "/v1/sessions".to_owned(),
            json!({"agent": agent, "environment_id": "default", "initial_events": [message("x")]}),
        ),
        (format!("/v1/sessions/{session}"), json!({"title": "t"})),
        (format!("/v1/sessions/{session}/stop"), json!({})),
        (format!("/v1/sessions/{session}/archive"), json!({})),
        (format!("/v1/agents/{agent}/archive"), json!({})),
    ];
    for (number, (path, body)) in cases.into_iter().enumerate() {
        let key = format!("key-{number}");
        let headers = [("idempotency-key", key.as_str())];
        let first = server.post_with(&path, body.clone(), &headers).await;
        assert_eq!(first.status, 200, "{path}");
        server.engine.clock.advance(std::time::Duration::from_secs(60));
        let again = server.post_with(&path, body, &headers).await;
        assert_eq!(again.header("x-tenure-replayed"), Some("true"), "{path}");
        assert_eq!((again.body, again.status), (first.body, first.status), "{path}");
    }
    assert_eq!(ids(&server.get("/v1/sessions?include_archived=true").await.ok()).len(), 2);
}

#[tokio::test]
async fn a_failed_request_may_be_repeated() {
    let server = TestServer::start().await;
    let body = json!({"agent": "later", "environment_id": "default"});
    let headers = [("idempotency-key", "k")];
    server.post_with("/v1/sessions", body.clone(), &headers).await.problem(404);
    server.agent("later", &["text: hello"]).await;
    let made = server.post_with("/v1/sessions", body, &headers).await;
    assert_eq!(made.header("x-tenure-replayed"), None);
    id(&made.ok());
}
