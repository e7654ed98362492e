//! What is Tenure's own.

use serde_json::{Value, json};

use crate::support::{TestServer, id, ids, message};

#[tokio::test]
async fn stop_keeps_the_queue_and_resume_takes_it_up() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    server.say(&session, "first").await;
    server.engine.backend.wait_started(1).await;
    let kept = server.say(&session, "second").await;
    let taken_back = server.say(&session, "third").await;
    assert_eq!(ids(&server.get(&format!("{path}/queue")).await.ok()), [kept.clone(), taken_back.clone()]);

    let now = server.delete(&format!("{path}/queue/{taken_back}")).await.ok();
    assert_eq!(now["tenure"]["queued"], 1);
    server.delete(&format!("{path}/queue/{taken_back}")).await.problem(404);

    let stopped = server.post(&format!("{path}/stop"), json!({})).await.ok();
    assert_eq!(stopped["status"], "idle");
    server.until(&session, 0, "tenure.sandbox_absent").await;
    let now = server.get(&path).await.ok();
    assert_eq!((&now["tenure"]["sandbox"], &now["tenure"]["queued"]), (&json!("stopped"), &json!(1)));

    let cursor = now["tenure"]["cursor"].as_str().unwrap().parse().unwrap();
    server.post(&format!("{path}/resume"), json!({})).await.ok();
    let frames = server.until(&session, cursor, "user.message").await;
    assert_eq!(frames.last().unwrap().data["id"], json!(kept));

    let listed = server.get(&format!("{path}/events?types[]=user.message")).await.ok();
    let marks: Vec<_> = listed["data"].as_array().unwrap().iter().map(|event| event["withdrawn"].clone()).collect();
    assert_eq!(marks, [Value::Null, json!(true), Value::Null], "what was taken back is marked");
}

#[tokio::test]
async fn end_is_for_good() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let (one, two) = (server.session(&agent).await, server.session(&agent).await);
    let ended = server.post(&format!("/v1/sessions/{one}/end"), json!({})).await.ok();
    assert_eq!((&ended["status"], &ended["tenure"]["phase"]), (&json!("terminated"), &json!("ended_by_user")));
    assert_eq!(ended["archived_at"], Value::Null);
    let ended = server.post(&format!("/v1/sessions/{two}/end"), json!({"outcome": "completed"})).await.ok();
    assert_eq!(ended["tenure"]["phase"], "completed");
    server.post(&format!("/v1/sessions/{two}/events"), json!({"events": [message("x")]})).await.problem(400);
    server.post(&format!("/v1/sessions/{two}/end"), json!({"outcome": "lost"})).await.problem(400);
}

#[tokio::test]
async fn prefixes_resolve() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let hex = tenure_core::id::SessionId::parse(&session).unwrap().to_string();
    let found = server.get(&format!("/v1/sessions/resolve?prefix={}", hex[..12].to_uppercase())).await.ok();
    assert_eq!(found["data"], json!([session]));
    for wrong in ["", "prefix=", "prefix=xyz", "prefix=sesn_"] {
        server.get(&format!("/v1/sessions/resolve?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let server = TestServer::start().await;
    let made = server.post("/v1/keys", json!({"name": "laptop"})).await.ok();
    let secret = made["key"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {secret}");
    let get = || crate::support::request(axum::http::Method::GET, "/v1/agents", None, &[("authorization", &bearer)]);
    server.answer(get()).await.ok();
    let listed = server.get("/v1/keys").await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&secret));
    assert_eq!(ids(&listed.ok()), [id(&made)]);
    server.delete(&format!("/v1/keys/{}", id(&made))).await.ok();
    server.answer(get()).await.problem(401);
    server.delete("/v1/keys/apikey_1111111111111111111111").await.problem(404);
    server.post_with("/v1/keys", json!({"name": "x"}), &[("idempotency-key", "k")]).await.problem(400);
}

#[tokio::test]
async fn models_and_status_are_told() {
    let server = TestServer::start().await;
    server.engine.script("mine", &tenure_testkit::script(&["text: ready"]));
    let models = server.get("/v1/tenure/models").await.ok();
    let scripts = models["providers"].as_array().unwrap().iter().find(|provider| provider["name"] == "script").unwrap();
    assert!(scripts["models"].as_array().unwrap().iter().any(|model| model["id"] == "script/mine"), "{models}");
    let tested = server.post("/v1/tenure/models/test", json!({"model": "script/mine"})).await.ok();
    assert_eq!(tested, json!({"ok": true, "text": "ready"}));
    assert_eq!(
        server.post("/v1/tenure/models/default", json!({"model": "script/mine"})).await.ok()["default"],
        "script/mine"
    );
    assert_eq!(server.get("/v1/tenure/status").await.ok()["default_model"], "script/mine");
    server.post("/v1/tenure/models/default", json!({})).await.problem(400);
    server.post("/v1/tenure/models", json!({"provider": "acme"})).await.problem(400);
    let own = json!({"provider": "openai", "base_url": "http://127.0.0.1:7717/v1"});
    assert!(server.post("/v1/tenure/models", own).await.problem(400).starts_with("base_url: "));
}
