//! Bodies, queries and headers that are almost right. Whatever comes, the answer is a 200 or a 4xx in the envelope, and
//! what isn't answered with a 200 has changed nothing.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::http::{Method, Request, header};
use serde_json::{Value, json};
use tenure_server::route_list;

use crate::support::{Answer, TestServer, allows, id, ids, message, request};

/// Where a POST goes, a body that is good there, and the newest of what it makes or changes.
struct Target {
    path: String,
    body: Value,
    shown_by: String,
}

async fn targets(server: &TestServer) -> Vec<Target> {
    let agent = server.agent("greeter", &["text: hello"]).await;
    let environment = id(&server.post("/v1/environments", json!({"name": "box"})).await.ok());
    let (session, spoken) = (server.session(&agent).await, server.session(&agent).await);
    let tools = json!([
        {"type": "agent_toolset_20260401", "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}},
         "configs": [{"name": "bash", "type": "bash", "enabled": true, "permission_policy": {"type": "always_allow"}}]},
        {"type": "custom", "name": "w", "description": "d", "input_schema": {"type": "object", "properties": {"a": {}}}},
    ]);
    let model = json!({"id": "claude-opus-4-6", "effort": {"type": "low"}, "speed": "fast", "inference_geo": "eu",
        "temperature": 0.5, "max_tokens": 10});
    let agent_body = json!({"name": "a", "model": model, "system": "s", "description": "d", "tools": tools,
        "metadata": {"k": "v"}, "mcp_servers": [], "skills": [], "multiagent": null,
        "execution_identity": {"type": "service_account"}});
    let environment_body = json!({"name": "e", "description": "d", "metadata": {"k": "v"}, "scope": "organization",
        "config": {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"type": "packages", "pip": []},
                   "limits": {"memory_bytes": 536_870_912, "cpu_millis": 500, "pids": 100}}});
    let session_body = json!({"agent": {"type": "agent_with_overrides", "id": agent, "version": 1, "model": model,
            "system": "s", "tools": tools}, "environment_id": environment, "title": "t", "metadata": {"k": "v"},
        "labels": ["a"], "resources": [], "vault_ids": [], "initial_events": [],
        "lifetimes": {"idle_seconds": 60, "then": "end", "outcome": "completed", "keep": "log"}});
    let content = json!([{"type": "text", "text": "hi"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t", "context": "c"},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}]);
    let said = json!({"events": [{"type": "user.message", "content": content}]});
    let call = "sevt_1111111111111111111111";
    let answers = json!({"events": [
        {"type": "user.tool_confirmation", "tool_use_id": call, "result": "deny", "deny_message": "no"},
        {"type": "user.custom_tool_result", "custom_tool_use_id": call, "content": content, "is_error": true}]});
    let target =
        |path: String, body: &Value, shown_by: &str| Target { path, body: body.clone(), shown_by: shown_by.to_owned() };
    let events = |session: &str| format!("/v1/sessions/{session}/events");
    let inputs = format!("{}?order=desc&limit=1&types[]=user.message&types[]=user.interrupt", events(&spoken));
    vec![
        target("/v1/agents".to_owned(), &agent_body, "/v1/agents?limit=1"),
        target(format!("/v1/agents/{agent}"), &agent_body, &format!("/v1/agents/{agent}/versions?limit=1")),
        target("/v1/environments".to_owned(), &environment_body, "/v1/environments?limit=1"),
        target(
            format!("/v1/environments/{environment}"),
            &environment_body,
            &format!("/v1/environments/{environment}"),
        ),
        target("/v1/sessions".to_owned(), &session_body, "/v1/sessions?limit=1"),
        target(
            format!("/v1/sessions/{session}"),
            &json!({"title": "t", "metadata": {"k": "v"}, "labels": ["a"], "agent": {"tools": tools, "mcp_servers": []}, "vault_ids": []}),
            &format!("{}?order=desc&limit=1&types[]=session.updated", events(&session)),
        ),
        target(events(&spoken), &said, &inputs),
        target(events(&spoken), &answers, &inputs),
        target(events(&spoken), &json!({"events": [{"type": "user.interrupt"}]}), &inputs),
        target(
            format!("/v1/sessions/{session}/end"),
            &json!({"outcome": "completed", "keep": "log"}),
            &format!("{}?order=desc&limit=1&types[]=session.status_terminated", events(&session)),
        ),
    ]
}

/// Values that something else was expected to be.
fn strange() -> Vec<Value> {
    let deep = (0..100).fold(json!([]), |inner, _| json!([inner]));
    vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\0"),
        json!("\u{202e}é\u{fffd}\n"),
        json!("x".repeat(20_000)),
        json!([]),
        json!([null]),
        json!([[], {}]),
        json!({}),
        json!({"": {"type": "x"}}),
        json!({"type": "nonsense"}),
        deep,
    ]
}

/// The places of a value and of everything in it.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// The body with each of its values replaced by each strange one, left out, or with something beside it.
fn mutated(body: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    places(body, "", &mut found);
    let mut bodies = Vec::new();
    for place in found {
        for value in strange() {
            let mut body = body.clone();
            *body.pointer_mut(&place).unwrap() = value;
            bodies.push(body);
        }
        if let Some((parent, name)) = place.rsplit_once('/') {
            let mut body = body.clone();
            match body.pointer_mut(parent).unwrap() {
                Value::Object(map) => drop(map.remove(name)),
                Value::Array(list) => list.push(list[0].clone()),
                _ => {}
            }
            bodies.push(body);
        }
        let mut body = body.clone();
        if let Some(Value::Object(map)) = body.pointer_mut(&place) {
            map.insert("nobody\u{0}knows".to_owned(), json!([1]));
            bodies.push(body);
        }
    }
    bodies
}

/// Checks an answer; gives whether the request was carried out.
fn sound(answer: &Answer, what: &str) -> bool {
    let status = answer.status.as_u16();
    if status == 200 {
        return true;
    }
    assert!((400..500).contains(&status), "{what}: {status} {}", String::from_utf8_lossy(&answer.body));
    let error = answer.json();
    assert_eq!(error["type"], "error", "{what}");
    assert_eq!(error["request_id"].as_str(), answer.header("request-id"), "{what}");
    assert!(error["error"]["type"].is_string() && error["error"]["message"].is_string(), "{what}");
    assert!(error["error"]["message"].as_str().unwrap().len() < 600, "{what}: a message nobody reads");
    false
}

/// What a schema can't say of a body, or what isn't about the body alone.
const BEYOND_A_SCHEMA: &[&str] = &[
    "expected each tool once",
    "expected the built-in toolset once",
    "no open tool call `sevt_1111111111111111111111`",
    "for claude-opus-4-6, got",
    "the session has ended",
];

/// Beside being sound, the answers agree with the description in OpenAPI: what it refuses is refused (the server's client
/// checks that), and what it allows is not.
#[tokio::test]
async fn bodies_that_are_almost_right() {
    let server = TestServer::start().await;
    let (mut refused, mut done) = (0, 0);
    // What the description allows, and what the server told of it.
    let (mut contradictions, mut met) = (BTreeMap::new(), BTreeSet::new());
    for Target { path, body, shown_by } in targets(&server).await {
        let mut before = server.get(&shown_by).await.ok();
        for body in mutated(&body) {
            let what: String = format!("{path} {body}").chars().take(400).collect();
            let allowed = allows("post", &path, &body);
            let answer = server.post(&path, body).await;
            let told = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
            if allowed && answer.status == 400 {
                match BEYOND_A_SCHEMA.iter().find(|known| told.contains(**known)) {
                    Some(known) => drop(met.insert(*known)),
                    None => drop(contradictions.insert(told, what.clone())),
                }
            }
            if sound(&answer, &what) {
                done += 1;
                before = settled(&server, &path, &shown_by).await;
            } else {
                refused += 1;
                assert_eq!(server.get(&shown_by).await.ok(), before, "{what}: refused, and yet something changed");
            }
        }
    }
    assert!(refused > 1_500 && done > 100, "{refused} refused, {done} done");
    assert_eq!(met, BEYOND_A_SCHEMA.iter().copied().collect(), "what isn't met any more has to go from the list");
    assert!(contradictions.is_empty(), "the description in OpenAPI allows what is refused: {contradictions:#?}");
}

/// What shows it, once what was accepted has been worked off: a message that is taken up changes how it is shown.
async fn settled(server: &TestServer, path: &str, shown_by: &str) -> Value {
    if path.ends_with("/events") {
        loop {
            let session = server.get(path.trim_end_matches("/events")).await.ok();
            if session["status"] == "idle" && session["tenure"]["queued"] == 0 {
                break;
            }
            let cursor = session["tenure"]["cursor"].as_str().unwrap().parse().unwrap();
            if session["status"] != "idle" {
                server.until(&id(&session), cursor, "session.status_idle").await;
            }
        }
    }
    server.get(shown_by).await.ok()
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let server = TestServer::start().await;
    for Target { path, body, shown_by } in targets(&server).await {
        let before = server.get(&shown_by).await.ok();
        let good = body.to_string().into_bytes();
        let mut bodies: Vec<Vec<u8>> = (1..good.len()).step_by(7).map(|end| good[..end].to_vec()).collect();
        let deep = |open: &str, close: &str| [open.repeat(50_000), close.repeat(50_000)].concat().into_bytes();
        bodies.extend([
            b"\xef\xbb\xbf{}".to_vec(),
            [&good[..], b"x"].concat(),
            [b"{\"name\": \"\xff\", ".as_slice(), &good[1..]].concat(),
            b"{\"name\": 1e999}".to_vec(),
            b"{\"name\": \"\\ud800\"}".to_vec(),
            b"\0".to_vec(),
            b"null".to_vec(),
            deep("[", "]"),
            deep("{\"a\":", "}"),
        ]);
        for body in bodies {
            let what = format!("{path}: {}", String::from_utf8_lossy(&body).chars().take(200).collect::<String>());
            let request = Request::post(&path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body));
            let answer = server.answer(request.unwrap()).await;
            assert!(!sound(&answer, &what), "{what}: done");
        }
        assert_eq!(server.get(&shown_by).await.ok(), before, "{path}: refused, and yet something changed");
    }
}

#[tokio::test]
async fn queries_and_paths_that_are_almost_right() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let thread = ids(&server.get(&format!("/v1/sessions/{session}/threads")).await.ok()).remove(0);
    let long = "9".repeat(5_000);
    let values = [
        "",
        "0",
        "-1",
        "1.5",
        "99999999999999999999",
        "%00",
        "%ff",
        "%",
        "%F0%9F%92%A9",
        "a%26b",
        "null",
        "page_",
        "page_bGlzdA",
        "2026-01-01",
        "2026-99-99T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "true",
        &long,
    ];
    let names = [
        "limit",
        "page",
        "order",
        "version",
        "agent_id",
        "agent_version",
        "statuses[]",
        "statuses",
        "types[]",
        "created_at[gt]",
        "created_at%5Blte%5D",
        "created_at",
        "include_archived",
        "after",
        "event_deltas[]",
        "prefix",
        "tenure_events",
        "deployment_id",
        "beta",
        "%ff",
        "",
        "[]",
    ];
    for route in route_list().into_iter().filter(|route| route.method == "GET" && route.path.starts_with("/v1")) {
        let path = |session: &str, thread: &str, agent: &str| {
            let path = route.path.replace("{session}", session).replace("{thread}", thread);
            path.replace("{agent}", agent).replace("{environment}", "env_1111111111111111111111")
        };
        for name in names {
            for value in values {
                let path = format!("{}?{name}={value}", path(&session, &thread, &agent));
                check_head(&server, &path).await;
            }
            check_head(&server, &format!("{}?{name}=1&{name}=1", path(&session, &thread, &agent))).await;
        }
        for odd in ["x", "%00", "%ff", "%2e%2e", "sesn_", "sesn_0OIl", "agent_1111111111111111111111", &long] {
            check_head(&server, &path(odd, odd, odd)).await;
            check_head(&server, &path(&session, odd, &agent)).await;
        }
    }
}

/// A stream that opens is an answer, too; it isn't read to its end, which doesn't come.
async fn check_head(server: &TestServer, path: &str) {
    let response = server.send(request(Method::GET, path, None, &[])).await;
    let status = response.status().as_u16();
    assert!(status == 200 || (400..500).contains(&status), "{path}: {status}");
    assert!(response.headers().contains_key("request-id"), "{path}");
}

#[tokio::test]
async fn headers_that_are_almost_right() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let long = "9".repeat(4_000);
    let values =
        ["", " ", "-1", "0", "99999999999999999999", "é", "a, b", "application/json; charset=", "1;q=9", &long];
    let names = [
        "content-type",
        "idempotency-key",
        "x-stainless-retry-count",
        "x-stainless-lang",
        "last-event-id",
        "anthropic-beta",
        "anthropic-version",
        "anthropic-workspace-id",
        "accept",
        "accept-encoding",
        "content-length",
    ];
    for name in names {
        for value in values {
            let what = format!("{name}: {value}");
            let body = json!({"events": [message("hi")]}).to_string();
            let mut request = Request::post(&path).header(name, value.as_bytes());
            if name != "content-type" {
                request = request.header(header::CONTENT_TYPE, "application/json");
            }
            sound(&server.answer(request.body(Body::from(body)).unwrap()).await, &what);
            let request = Request::get(format!("{path}/stream")).header(name, value.as_bytes());
            let status = server.send(request.body(Body::empty()).unwrap()).await.status().as_u16();
            assert!(status == 200 || (400..500).contains(&status), "{what}: {status}");
        }
    }
}

#[tokio::test]
async fn what_the_sdks_send_of_versions_and_betas_means_nothing() {
    let server = TestServer::start().await;
    let listed = server.get("/v1/agents").await.ok();
    for (name, value) in [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-version", "2026-10-21"),
        ("anthropic-version", "2031-01-01"),
        ("anthropic-beta", "managed-agents-2026-04-01"),
        ("anthropic-beta", "computer-use-2024-10-22,managed-agents-2026-04-01"),
        ("anthropic-beta", "managed-agents-2026-04-01, agent-memory-2026-07-22"),
        ("anthropic-workspace-id", "wrkspc_011CZkZaBF1tNoB5wlCeusgy"),
        ("accept", "text/event-stream"),
    ] {
        for query in ["", "?beta=true"] {
            let path = format!("/v1/agents{query}");
            let answer = server.answer(request(Method::GET, &path, None, &[(name, value)])).await;
            assert_eq!(answer.header("x-tenure-ignored"), None, "{name}: {value}");
            assert_eq!(answer.ok(), listed, "{name}: {value}");
        }
    }
}
