//! When sessions stop or end by themselves, as `lifetimes` says at their creation.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestServer, id};

async fn create(server: &TestServer, agent: &str, lifetimes: Value) -> crate::support::Answer {
    let body = json!({"agent": agent, "environment_id": "default", "lifetimes": lifetimes});
    server.post("/v1/sessions", body).await
}

#[tokio::test]
async fn lifetimes_are_shown_as_they_are_in_force() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let operators = json!({"idle_seconds": null, "then": null, "outcome": null, "keep": null,
        "sandbox_idle_seconds": 3600, "max_duration_seconds": null, "end_when_agent_exits": false,
        "stop_grace_seconds": 10});
    let cases = [
        (json!(null), json!({})),
        (json!({}), json!({})),
        (json!({"idle_seconds": null}), json!({})),
        (json!({"sandbox_idle_seconds": null}), json!({"sandbox_idle_seconds": null})),
        (json!({"idle_seconds": 60}), json!({"idle_seconds": 60, "then": "stop"})),
        (
            json!({"idle_seconds": 60, "then": "end"}),
            json!({"idle_seconds": 60, "then": "end", "outcome": "timed_out", "keep": "everything"}),
        ),
        (
            json!({"idle_seconds": 1740, "then": "end", "outcome": "completed", "keep": "log",
                "max_duration_seconds": 300, "end_when_agent_exits": true, "stop_grace_seconds": 0}),
            json!({"idle_seconds": 1740, "then": "end", "outcome": "completed", "keep": "log",
                "max_duration_seconds": 300, "end_when_agent_exits": true, "stop_grace_seconds": 0}),
        ),
    ];
    for (given, differences) in cases {
        let mut expected = operators.clone();
        expected.as_object_mut().unwrap().extend(differences.as_object().unwrap().clone());
        let made = create(&server, &agent, given.clone()).await.ok();
        assert_eq!(made["tenure"]["lifetimes"], expected, "{given}");
    }
}

#[tokio::test]
async fn an_idle_session_times_out() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: ls}}]}", "text: done"]).await;
    let lifetimes = json!({"idle_seconds": 1740, "then": "end", "outcome": "timed_out", "keep": "log"});
    let session = id(&create(&server, &agent, lifetimes).await.ok());
    let path = format!("/v1/sessions/{session}");
    server.say(&session, "go").await;
    server.until(&session, 0, "session.status_idle").await;
    server.engine.clock.advance(Duration::from_secs(1739));
    assert_eq!(server.get(&path).await.ok()["status"], "idle");
    server.engine.clock.advance(Duration::from_secs(1));
    server.until(&session, 0, "session.status_terminated").await;
    let over = server.get(&path).await.ok();
    assert_eq!((&over["status"], &over["tenure"]["cli_status"]), (&json!("terminated"), &json!("timeout")));
    assert_eq!(over["archived_at"], Value::Null);
    let message = server.post(&format!("{path}/events"), json!({"events": [crate::support::message("?")]})).await;
    assert!(message.problem(400).contains("timed out"));
}

#[tokio::test]
async fn a_session_ends_with_its_agents_turn() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = id(&create(&server, &agent, json!({"end_when_agent_exits": true})).await.ok());
    server.say(&session, "hi").await;
    server.until(&session, 0, "session.status_terminated").await;
    let over = server.get(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(over["tenure"]["phase"], "completed");
}

#[tokio::test]
async fn wrong_lifetimes_are_refused_by_field() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    for (given, expected) in [
        (json!(60), "lifetimes: expected an object, got 60"),
        (json!({"idle_seconds": 0}), "lifetimes.idle_seconds: expected a whole number from 1 to"),
        (json!({"idle_seconds": 1.5}), "lifetimes.idle_seconds: "),
        (json!({"then": "end"}), "lifetimes.then: expected it together with `idle_seconds`"),
        (json!({"idle_seconds": null, "then": "stop"}), "lifetimes.then: "),
        (json!({"idle_seconds": 9, "then": "leave"}), "lifetimes.then: expected `stop` or `end`, got `leave`"),
        (
            json!({"idle_seconds": 9, "outcome": "completed"}),
            "lifetimes.outcome: expected it together with `then: end`",
        ),
        (json!({"idle_seconds": 9, "then": "stop", "keep": "log"}), "lifetimes.keep: "),
        (json!({"idle_seconds": 9, "then": "end", "outcome": "archived"}), "lifetimes.outcome: "),
        (json!({"max_duration_seconds": 99_999_999_999u64}), "lifetimes.max_duration_seconds: "),
        (json!({"end_when_agent_exits": 1}), "lifetimes.end_when_agent_exits: "),
    ] {
        let message = create(&server, &agent, given.clone()).await.problem(400);
        assert!(message.starts_with(expected), "{given}: {message}");
    }
}
