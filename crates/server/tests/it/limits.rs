//! The limits of a session's sandbox: set by its environment, changed while it works, and what is used of them.

use serde_json::{Value, json};
use tenure_core::amount::{bytes, exact_bytes};

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

/// Every limit: its name, the least it may be, the most that can be written, and what the machine of the tests has, or its operator
/// allows.
const RANGES: [(&str, u64, u64, u64); 8] = [
    ("memory_bytes", 16 * MIB, 1 << 50, 64 << 30),
    ("cpu_millis", 10, 1_024_000, 8_000),
    ("pids", 8, 4_194_304, 32_768),
    ("disk_bytes", MIB, 1 << 50, 1 << 40),
    ("inodes", 100, 1 << 32, 10_000_000),
    ("open_files", 256, 1_048_576, 100_000),
    ("call_ms", 1_000, 86_400_000, 3_600_000),
    ("output_bytes", 1_024, 1 << 30, 10 << 20),
];

fn sized(count: u64) -> String {
    format!("{count} ({})", bytes(count))
}

/// What no limit can be, and what the complaint says after the limit's path.
fn impossible() -> Vec<(&'static str, Value, String)> {
    let mut cases = Vec::new();
    for (name, least, most, machine) in RANGES {
        let is_size = name.ends_with("_bytes");
        let expected = match is_size {
            true => format!("expected a number of bytes from {} to {}, got ", sized(least), sized(most)),
            false => format!("expected a whole number from {least} to {most}, got "),
        };
        let never = [
            json!(0),
            json!(-1),
            json!(i64::MIN),
            json!(least - 1),
            json!(most + 1),
            json!(u64::MAX),
            json!(1e300),
            json!(least as f64 + 0.5),
            json!("1GiB"),
            json!(true),
            json!([]),
            json!({}),
        ];
        cases.extend(never.map(|never| (name, never, expected.clone())));
        let beyond = match name {
            _ if is_size => format!("expected at most {}, the ", exact_bytes(machine)),
            "call_ms" => "expected at most 3600000 (3600 s), the operator's --tool-timeout-max, got ".to_owned(),
            _ => format!("expected at most {machine}, the "),
        };
        cases.push((name, json!(machine + 1), beyond.clone()));
        cases.push((name, json!(most), beyond));
    }
    cases
}

#[tokio::test]
async fn limits_that_cannot_be_are_refused_wherever_they_are_set_and_nothing_is_done() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let small = json!({"name": "small", "config": {"type": "cloud", "limits": {"pids": 100}}});
    let environment = id(&server.post("/v1/environments", small).await.ok());
    let (live, changed) = (format!("/v1/sessions/{session}/limits"), format!("/v1/environments/{environment}"));
    let before =
        (server.get(&changed).await.ok(), server.get(&format!("/v1/sessions/{session}")).await.ok()["tenure"].clone());
    for (name, value, expected) in impossible() {
        let limits = json!({name: value});
        let said = format!("{limits}");
        let config = json!({"type": "cloud", "limits": limits});
        let places = [
            (live.as_str(), limits.clone(), name.to_owned()),
            ("/v1/environments", json!({"name": "huge", "config": config}), format!("config.limits.{name}")),
            (&changed, json!({"name": "other", "config": {"limits": limits}}), format!("config.limits.{name}")),
            (
                "/v1/sessions",
                json!({"agent": agent, "environment_id": "default", "limits": limits}),
                format!("limits.{name}"),
            ),
        ];
        for (path, body, at) in places {
            let message = server.post(path, body).await.problem(400);
            assert!(message.starts_with(&format!("{at}: {expected}")), "{path} {said}: {message}");
        }
    }
    assert_eq!(server.get("/v1/environments").await.ok()["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.get("/v1/sessions").await.ok()["data"].as_array().map(Vec::len), Some(1));
    let after =
        (server.get(&changed).await.ok(), server.get(&format!("/v1/sessions/{session}")).await.ok()["tenure"].clone());
    assert_eq!(before, after);
    server.post("/v1/sessions/sesn_1111111111111111111111/limits", json!({})).await.problem(404);
    server.get("/v1/sessions/sesn_1111111111111111111111/stats").await.problem(404);
}

#[tokio::test]
async fn all_that_a_machine_has_may_be_a_limit() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    for whole in [false, true] {
        let limits: Value = RANGES
            .into_iter()
            .map(|(name, least, _, machine)| (name.to_owned(), json!(if whole { machine } else { least })))
            .collect();
        let body = json!({"agent": agent, "environment_id": "default", "limits": limits});
        assert_eq!(server.post("/v1/sessions", body).await.ok()["tenure"]["limits"], limits);
    }
}

#[tokio::test]
async fn a_session_has_limits_of_its_own_over_those_of_its_environment() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let config = json!({"type": "cloud", "limits": {"memory_bytes": 512 * MIB, "pids": 100}});
    let environment = id(&server.post("/v1/environments", json!({"name": "small", "config": config})).await.ok());
    let body = |limits: Value| json!({"agent": agent, "environment_id": environment, "limits": limits});
    let limits = async |given: Value| {
        let made = server.post("/v1/sessions", body(given)).await.ok()["tenure"]["limits"].clone();
        ["memory_bytes", "pids", "call_ms"].map(|name| made[name].as_u64())
    };
    assert_eq!(limits(json!(null)).await, [Some(512 * MIB), Some(100), None]);
    assert_eq!(limits(json!({})).await, [Some(512 * MIB), Some(100), None]);
    let own = json!({"memory_bytes": 256 * MIB, "pids": null, "call_ms": 5_000});
    assert_eq!(limits(own).await, [Some(256 * MIB), None, Some(5_000)]);
    let message = server.post("/v1/sessions", body(json!([]))).await.problem(400);
    assert_eq!(message, "limits: expected an object, got a list");
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

#[tokio::test]
async fn a_limit_of_the_disk_below_what_is_used_is_refused_whether_the_sandbox_is_alive_or_not() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/limits");
    server.engine.backend.fill_disk(3 * MIB, 200);
    let message = server.post(&path, json!({"disk_bytes": 2 * MIB})).await.problem(400);
    assert_eq!(
        message,
        "disk_bytes: the session has 3145728 bytes (3 MiB) on the disk now; 2097152 bytes (2 MiB) is less than that"
    );
    let message = server.post(&path, json!({"inodes": 199})).await.problem(400);
    assert_eq!(message, "inodes: the session has 200 files and directories on the disk now; 199 is less than that");
    server.post(&path, json!({"disk_bytes": 3 * MIB, "inodes": 200})).await.ok();
}
