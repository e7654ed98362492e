//! Traces: what a collector of OTLP over HTTP is sent.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustix::process::Signal;

use crate::home::{Home, finish, has_sandboxes, read_until, signal, until};
use crate::http::{Fake, send};

const CALLER: &str = "
- steps:
    - text: I look.
      tools: [{name: bash, input: {command: echo hello}}]
    - text: Done.
";

fn spans(collector: &Fake) -> Vec<Span> {
    let mut spans = Vec::new();
    for asked in collector.asked() {
        assert!(asked.head.starts_with("POST /v1/traces "), "{}", asked.head);
        let request = ExportTraceServiceRequest::decode(asked.body.as_slice()).expect("it is OTLP");
        for resource in request.resource_spans {
            for scope in resource.scope_spans {
                spans.extend(scope.spans);
            }
        }
    }
    spans
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a span is called in the expected tree.
fn label(span: &Span) -> String {
    let of = |name| attribute(span, name).unwrap_or_default();
    match span.name.as_str() {
        "command" => format!("command {}", of("command")),
        "call" => format!("call {}", of("tool")),
        "request" => format!("request {} {}", of("method"), of("route")),
        other => other.to_owned(),
    }
}

/// The tree below a span, each with what is below it, in the order of their beginning.
fn tree(spans: &[Span], parent: &[u8], depth: usize, into: &mut String) {
    let mut below: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == parent).collect();
    below.sort_by_key(|span| span.start_time_unix_nano);
    for span in below {
        into.push_str(&format!("{}{}\n", "  ".repeat(depth), label(span)));
        tree(spans, &span.span_id, depth + 1, into);
    }
}

#[test]
fn a_collector_is_sent_a_turn_as_one_tree_below_its_client_s_span() {
    if !has_sandboxes("a_collector_is_sent_a_turn_as_one_tree_below_its_client_s_span") {
        return;
    }
    let home = Home::new();
    std::fs::write(home.data().join("scripts/caller.yaml"), CALLER).expect("written");
    let collector = Fake::start("200 OK", "");
    let mut server = home.command(&["up", "--otlp-endpoint", &collector.url]).spawn().expect("started");
    let _ = read_until(server.stdout.take().expect("piped"), "root key");
    let key = std::fs::read_to_string(home.data().join("root.key")).expect("there");
    let url = home.server()["url"].as_str().expect("a text").to_owned();

    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let headers = format!("x-api-key: {}\r\ntraceparent: 00-{trace}-{parent}-01\r\n", key.trim());
    let body = r#"{"agent": {"type": "agent_with_overrides", "id": "AGENT", "model": "script/caller"},
        "environment_id": "default",
        "initial_events": [{"type": "user.message", "content": [{"type": "text", "text": "a secret wish"}]}]}"#;
    let agent = home.json(&["agents", "list"]);
    let agent = agent["agents"][0]["id"].as_str().expect("an id");
    let made = send(&url, "POST", "/v1/sessions", &headers, &body.replace("AGENT", agent));
    let made: serde_json::Value = serde_json::from_slice(&made.body).expect("it is JSON");
    let session = made["id"].as_str().unwrap_or_else(|| panic!("no id in {made}")).to_owned();
    let path = format!("/v1/sessions/{session}/events?types[]=session.status_idle");
    let headers = format!("x-api-key: {}\r\n", key.trim());
    until("the end of the turn", || {
        let events = send(&url, "GET", &path, &headers, "");
        String::from_utf8_lossy(&events.body).contains("end_turn").then_some(())
    });
    signal(server.id(), Signal::TERM);
    assert_eq!(finish(server).code, 0);

    let spans = spans(&collector);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let ours: Vec<Span> = spans.into_iter().filter(|span| hex(&span.trace_id) == trace).collect();
    let root = ours.iter().find(|span| span.name == "request").expect("the request");
    assert_eq!(hex(&root.parent_span_id), parent);
    assert_eq!(attribute(root, "status").as_deref(), Some("200"));
    let mut drawn = String::new();
    tree(&ours, &root.parent_span_id, 0, &mut drawn);
    let expected = "\
request POST /v1/sessions
  append
  turn
    attempt
      command finish_attempt
        append
    command report_sandbox
      append
    call bash
      command finish_call
        append
    attempt
      command finish_attempt
        append
";
    assert_eq!(drawn, expected);
    for span in &ours {
        let named = ["append", "request"].contains(&span.name.as_str());
        assert!(named || attribute(span, "session").as_deref() == Some(&*session), "{span:?}");
    }
    let names: BTreeMap<_, _> = ours.iter().flat_map(|span| &span.attributes).map(|a| (a.key.clone(), ())).collect();
    for name in ["turn", "attempt", "call", "tool", "model", "id"] {
        assert!(names.contains_key(name), "{name} is nowhere in {names:?}");
    }
}

#[test]
fn a_collector_that_is_not_there_or_hangs_holds_nothing_up() {
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hanging = format!("http://{}", hangs.local_addr().expect("bound"));
    for endpoint in ["http://127.0.0.1:1", &hanging] {
        let home = Home::new();
        let mut command = home.command(&["up", "--otlp-endpoint", endpoint]);
        let mut server = command.env("OTEL_BSP_SCHEDULE_DELAY", "10").spawn().expect("started");
        let _ = read_until(server.stdout.take().expect("piped"), "root key");
        for _ in 0..30 {
            home.ok(&["sessions", "list"]);
        }
        signal(server.id(), Signal::TERM);
        let ran = finish(server);
        assert_eq!(ran.code, 0, "{ran:#?}");
        assert!(ran.stderr.matches("traces are not delivered").count() <= 1, "{ran:#?}");
    }
}

#[test]
fn a_wrong_collector_is_refused() {
    let home = Home::new();
    let ran = home.run(&["up", "--otlp-endpoint", "127.0.0.1:4318"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("expected the URL of a collector"), "{ran:#?}");
}
