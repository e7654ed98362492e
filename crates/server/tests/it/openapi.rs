//! The description in OpenAPI: complete, and as checked in. That it is true is checked of every exchange of every test
//! ([`crate::support`]).

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use tenure_server::{openapi, route_list};

use crate::support::{Exchange, TestServer, check_frame, request};

#[test]
fn it_is_as_checked_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi/v1.json");
    let now = format!("{:#}\n", openapi());
    if std::env::var_os("TENURE_UPDATE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let line = now.lines().zip(kept.lines()).position(|(now, kept)| now != kept);
    assert!(now == kept, "{path} differs from line {:?} on; run with TENURE_UPDATE=1 to accept", line.map(|at| at + 1));
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = openapi();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routes = route_list();
    let table: BTreeSet<_> = routes.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    assert_eq!(described, table);

    let mut ids = BTreeSet::new();
    for route in routes {
        let operation = &paths[route.path][&route.method.to_lowercase()];
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{} is named twice", operation["operationId"]);
        assert_eq!(operation["x-tenure"].as_bool().unwrap_or(false), route.ours, "{}", route.path);
        assert_eq!(operation["security"].is_array(), route.open, "{}", route.path);
        let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let named = |place: &str| -> Vec<&str> {
            let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
            let placed = parameters.iter().filter(|parameter| parameter["in"] == place);
            placed.map(|parameter| parameter["name"].as_str().unwrap()).collect()
        };
        assert_eq!(named("path"), in_path.collect::<Vec<_>>(), "{}", route.path);
        let keyed = route.method == "POST" && route.no_key.is_none();
        assert_eq!(named("header").contains(&"Idempotency-Key"), keyed, "{}", route.path);
        assert_eq!(operation["requestBody"].is_object(), ["POST", "PUT"].contains(&route.method), "{}", route.path);
    }
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_referred_to() {
    let document = openapi();
    let mut references = BTreeSet::new();
    gather(&document, &mut references);
    for reference in &references {
        let found = document.pointer(reference.trim_start_matches('#'));
        assert!(found.is_some_and(Value::is_object), "{reference} leads nowhere");
    }
    for part in ["schemas", "responses", "headers"] {
        for name in document["components"][part].as_object().unwrap().keys() {
            let reference = format!("#/components/{part}/{name}");
            assert!(references.contains(&reference), "nothing refers to {reference}");
        }
    }
}

fn gather(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| gather(value, references));
        }
        Value::Array(list) => list.iter().for_each(|value| gather(value, references)),
        _ => {}
    }
}

#[tokio::test]
async fn it_is_served_to_anybody() {
    let server = TestServer::start().await;
    let path = "/v1/openapi.json";
    let answer = server.answer(request(Method::GET, path, None, &[("authorization", "Bearer nobody")])).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.ok(), openapi());
}

/// The check of exchanges would notice.
#[tokio::test]
async fn what_is_not_described_is_noticed() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let good = Seen {
        exchange: exchange(Method::GET, &format!("/v1/agents/{agent}")),
        body: server.get(&format!("/v1/agents/{agent}")).await.ok(),
    };
    good.clone().check().unwrap();
    let changes: [(&str, Change); 10] = [
        ("a new field", |seen| seen.body["model"]["new"] = json!(1)),
        ("a field less", |seen| drop(seen.body.as_object_mut().unwrap().remove("slug"))),
        ("another type", |seen| seen.body["version"] = json!("1")),
        ("another form", |seen| seen.body["created_at"] = json!("yesterday")),
        ("a new status", |seen| seen.exchange.status = StatusCode::IM_A_TEAPOT),
        ("a new header", |seen| drop(seen.exchange.headers.insert("x-new", "1".parse().unwrap()))),
        ("a new content type", |seen| drop(seen.exchange.headers.insert("content-type", "text/html".parse().unwrap()))),
        ("a new parameter", |seen| seen.exchange.uri = format!("{}?new=1", seen.exchange.uri).parse().unwrap()),
        ("a parameter beyond its bounds", |seen| {
            seen.exchange.uri = format!("{}?version=0", seen.exchange.uri).parse().unwrap();
        }),
        ("a body beyond its bounds", |seen| {
            seen.exchange.method = Method::POST;
            seen.exchange.body = Some(json!({"name": ""}));
        }),
    ];
    for (what, change) in changes {
        let mut seen = good.clone();
        change(&mut seen);
        assert!(seen.check().is_err(), "{what} went unnoticed");
    }
    let frames = [
        ("agent.message", true, json!({"type": "agent.message", "id": "sevt_1111111111111111111111", "content": []})),
        ("session.status_running", false, status("session.status_running")),
        ("other", true, status("session.status_running")),
        ("session.new", true, status("session.new")),
    ];
    check_frame("session.status_running", true, &status("session.status_running"));
    for (event, id, data) in frames {
        assert!(catch_unwind(|| check_frame(event, id, &data)).is_err(), "{data} went unnoticed");
    }
}

type Change = fn(&mut Seen);

#[derive(Clone)]
struct Seen {
    exchange: Exchange,
    body: Value,
}

impl Seen {
    fn check(self) -> std::thread::Result<()> {
        catch_unwind(|| {
            self.exchange.check();
            self.exchange.check_body(self.body.to_string().as_bytes());
        })
    }
}

fn exchange(method: Method, path: &str) -> Exchange {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
    Exchange { method, uri: path.parse().unwrap(), body: None, status: StatusCode::OK, headers }
}

fn status(kind: &str) -> Value {
    json!({"type": kind, "id": "sevt_1111111111111111111111", "processed_at": "2026-03-18T10:00:00Z"})
}
