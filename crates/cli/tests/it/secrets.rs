//! What a server writes about itself never holds what it is entrusted with, however much it is told to write.

use std::fs::File;

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, has_sandboxes, signal, until};
use crate::http::{Fake, send};

/// Every secret has this in it.
const CANARY: &str = "canary";

/// A model server that is angry, and repeats what it heard.
const ANGRY: &str =
    r#"{"type":"error","error":{"type":"invalid_request_error","message":"you said canary-echo to canary"}}"#;

const CALLER: &str = r#"
- steps:
    - text: canary-reply
      tools: [{name: bash, input: {command: "echo canary-output; echo canary-error >&2; exit 3"}}]
    - text: "{{last_tool_result}}"
"#;

#[test]
fn logs_traces_metrics_and_process_lists_hold_no_secret() {
    if !has_sandboxes("logs_traces_metrics_and_process_lists_hold_no_secret") {
        return;
    }
    for format in ["text", "json"] {
        everything_is_used_and_nothing_shows(format);
    }
}

fn everything_is_used_and_nothing_shows(format: &str) {
    let home = Home::new();
    std::fs::write(home.data().join("scripts/caller.yaml"), CALLER).expect("written");
    let (collector, model) = (Fake::start("200 OK", ""), Fake::start("400 Bad Request", ANGRY));
    let log = home.data().join("log");
    let mut command = home.command(&["up", "--log", "trace", "--log-format", format]);
    command.args(["--otlp-endpoint", &collector.url, "--retry-count", "0"]).stderr(File::create(&log).expect("made"));
    command.env("TENURE_API_KEY", "canary-api-key").env("TENURE_MASTER_KEY", "ca".repeat(32));
    command.env("ANTHROPIC_API_KEY", "canary-model-key");
    command.env("ANTHROPIC_BASE_URL", format!("{}/canary-path", model.url));
    command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer canary-collector");
    let mut server = command.spawn().expect("started");
    let url = home.server()["url"].as_str().expect("a text").to_owned();

    let headers = "x-api-key: canary-api-key\r\ncookie: id=canary-cookie\r\n";
    let post = |path: &str, body: &str| -> Value {
        let answer = send(&url, "POST", path, headers, body);
        serde_json::from_slice(&answer.body).expect("it is JSON")
    };
    let session = |model: &str| {
        let agent = format!(
            r#"{{"name": "canary-agent", "model": "{model}", "system": "canary-prompt",
                "tools": [{{"type": "agent_toolset_20260401"}}]}}"#
        );
        let agent = post("/v1/agents", &agent)["id"].as_str().expect("an id").to_owned();
        let message = r#"{"type": "user.message", "content": [{"type": "text", "text": "canary-message"}]}"#;
        let body = format!(
            r#"{{"agent": "{agent}", "environment_id": "default", "title": "canary-title",
                "metadata": {{"canary-name": "canary-value"}}, "initial_events": [{message}]}}"#
        );
        let made = post("/v1/sessions", &body);
        let id = made["id"].as_str().unwrap_or_else(|| panic!("no id in {made}")).to_owned();
        let path = format!("/v1/sessions/{id}/events?types[]=session.status_idle");
        until("the end of the turn", || {
            let events = send(&url, "GET", &path, headers, "");
            String::from_utf8_lossy(&events.body).contains("stop_reason").then_some(())
        });
        id
    };
    let talked = session("script/caller");
    session("claude-canary-model");
    assert!(model.asked().iter().any(|asked| asked.head.contains("canary-model-key")), "the model was asked");

    // Requests that are refused, and one whose body is no JSON.
    let mut shown = String::new();
    for refused in
        ["authorization: Bearer canary-wrong\r\n", "x-api-key: canary-wrong\r\n", "origin: http://canary\r\n"]
    {
        let answer = send(&url, "POST", "/v1/agents?key=canary-query", refused, "canary-body");
        if !refused.starts_with("origin") {
            shown.push_str(&String::from_utf8_lossy(&answer.body));
        }
    }
    post("/v1/agents", "canary-body");
    post(&format!("/v1/sessions/{talked}/events"), r#"{"events": [{"type": "canary-type"}]}"#);
    post("/v1/tenure/models", r#"{"provider": "openai", "base_url": "http://127.0.0.1:1/v1", "key": "canary-added"}"#);
    post("/v1/tenure/models/test", r#"{"model": "openai/canary"}"#);
    let keys = send(&url, "GET", "/v1/keys", headers, "");
    shown.push_str(&String::from_utf8_lossy(&keys.body));
    let metrics = send(&url, "GET", "/metrics", headers, "");
    shown.push_str(&String::from_utf8_lossy(&metrics.body));
    assert!(shown.contains("tenure_http_requests_total"));
    for process in std::fs::read_dir("/proc").expect("it is Linux").flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains("tenure") && !line.contains("secrets::") {
            shown.push_str(&line);
        }
    }
    signal(server.id(), Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));

    shown.push_str(&std::fs::read_to_string(&log).expect("there"));
    assert!(shown.contains("model request failed") && shown.contains("answered"), "the log is not empty: {shown}");
    for asked in collector.asked() {
        shown.push_str(&String::from_utf8_lossy(&asked.body));
    }
    assert!(!collector.asked().is_empty());
    // The model's name is no secret: it is what an operator wants to see.
    let shown = shown.replace("claude-canary-model", "");
    let found: Vec<&str> =
        shown.lines().filter(|line| line.contains(CANARY) || line.contains(&"ca".repeat(32))).collect();
    assert!(found.is_empty(), "secrets in: {found:#?}");
}
