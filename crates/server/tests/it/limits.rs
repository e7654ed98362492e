//! The limits of a session's sandbox: set by its environment, changed while it works, and what is used of them.

use serde_json::{Value, json};

use crate::support::{TestServer, id};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn limits_of_a_session_are_changed_and_cleared() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let limits = json!({"memory_bytes": 512 * MIB, "pids": 100});
    let config = json!({"type": "cloud", "limits": limits});
    let environment = id(&server.post("/v1/environments", json!({"name": "small", "config": config})).await.ok());
    let body = json!({"agent": agent, "environment_id": environment});
    let made = server.post("/v1/sessions", body).await.ok();
    let path = format!("/v1/sessions/{}", id(&made));
    let all = |change: Value| {
        let names =
            ["memory_bytes", "cpu_millis", "pids", "disk_bytes", "inodes", "open_files", "call_ms", "output_bytes"];
        names.into_iter().map(|name| (name.to_owned(), change[name].clone())).collect::<Value>()
    };
    assert_eq!(made["tenure"]["limits"], all(limits.clone()), "those of its environment");

    let change =
        async |body: Value| server.post(&format!("{path}/limits"), body).await.ok()["tenure"]["limits"].clone();
    assert_eq!(change(json!({})).await, all(limits));
    let more = json!({"memory_bytes": 512 * MIB, "disk_bytes": MIB, "call_ms": 60_000});
    assert_eq!(change(json!({"pids": null, "disk_bytes": MIB, "call_ms": 60_000})).await, all(more));
    let none = json!({"memory_bytes": null, "disk_bytes": null, "call_ms": null});
    assert_eq!(change(none).await, Value::Null);
    let told = server.get(&format!("{path}/events?types[]=session.updated")).await.ok();
    let told: Vec<Value> = told["data"].as_array().unwrap().iter().map(|event| event["limits"].clone()).collect();
    assert_eq!(told.len(), 2, "only what changes is told");
    assert_eq!((&told[0]["call_ms"], &told[1]), (&json!(60_000), &Value::Null));
    let of_the_environment = server.get(&format!("/v1/environments/{environment}")).await.ok();
    assert_eq!(of_the_environment["config"]["limits"]["pids"], 100, "which stays as it is");
}

#[tokio::test]
async fn limits_that_cannot_be_are_refused_with_their_range() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/limits");
    for (limits, expected) in [
        (json!({"memory_bytes": 0}), "memory_bytes: expected a whole number from 16777216 to"),
        (json!({"memory_bytes": -1}), "memory_bytes: expected a whole number"),
        (json!({"pids": 7}), "pids: expected a whole number from 8 to 4194304"),
        (json!({"disk_bytes": 1}), "disk_bytes: expected a whole number from 1048576 to"),
        (json!({"inodes": "many"}), "inodes: expected a whole number"),
        (json!({"open_files": 255}), "open_files: expected a whole number from 256 to"),
        (json!({"call_ms": 999}), "call_ms: expected a whole number from 1000 to"),
        (json!({"output_bytes": 1.5}), "output_bytes: expected a whole number"),
    ] {
        let message = server.post(&path, limits.clone()).await.problem(400);
        assert!(message.starts_with(expected), "{limits}: {message}");
    }
    server.post("/v1/sessions/sesn_1111111111111111111111/limits", json!({})).await.problem(404);
    server.get("/v1/sessions/sesn_1111111111111111111111/stats").await.problem(404);
}

#[tokio::test]
async fn a_live_sandbox_is_limited_at_once_and_tells_what_it_uses() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: echo one}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    let before = server.get(&format!("{path}/stats")).await.ok();
    assert_eq!((&before["type"], &before["memory_bytes"]), (&json!("session_stats"), &Value::Null));
    server.say(&session, "work").await;
    server.until(&session, 0, "session.status_idle").await;
    let used = server.get(&format!("{path}/stats")).await.ok();
    assert_eq!((&used["memory_bytes"], &used["disk_bytes"]), (&json!(100 * MIB), &json!(4096)));
    let message = server.post(&format!("{path}/limits"), json!({"memory_bytes": 99 * MIB})).await.problem(400);
    assert_eq!(message, "memory_bytes: the sandbox uses 104857600 bytes now");
    assert_eq!(server.get(&path).await.ok()["tenure"].get("limits"), None, "and nothing has changed");
    let changed = server.post(&format!("{path}/limits"), json!({"memory_bytes": 200 * MIB})).await.ok();
    assert_eq!(changed["tenure"]["limits"]["memory_bytes"], 200 * MIB);
}
