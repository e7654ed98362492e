//! The table of routes, walked.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request, header};
use tenure_server::{openapi, route_list};

use crate::support::TestServer;

#[test]
fn every_route_is_unique_and_documented() {
    let mut seen = BTreeSet::new();
    let mut table = String::from("# Routes\n\n| | path | key | |\n|---|---|---|---|\n");
    for route in route_list() {
        assert!(seen.insert((route.method, route.path)), "{} {} is there twice", route.method, route.path);
        assert!(route.doc.ends_with('.') && route.doc.len() > 10, "{} says nothing", route.path);
        let key = if route.open { "none" } else { "yes" };
        let ours = if route.ours { " (Tenure's own)" } else { "" };
        table.push_str(&format!("| {} | `{}` | {key} | {}{ours} |\n", route.method, route.path, route.doc));
    }
    crate::assert_snapshot!("routes.md", table);
}

#[test]
fn every_route_of_the_peer_is_on_the_page() {
    let page = include_str!("../../../../docs/managed-agents-reference.md");
    for route in route_list().into_iter().filter(|route| !route.ours) {
        let parts = route.path.split('/').map(|part| if part.starts_with('{') { "{id}" } else { part });
        let shown = format!("`{} {}`", route.method, parts.collect::<Vec<_>>().join("/"));
        assert!(page.contains(&shown), "docs/managed-agents-reference.md doesn't say how {shown} compares");
    }
}

#[test]
fn every_event_of_the_peer_is_on_the_page_as_it_is() {
    let page = include_str!("../../../../docs/managed-agents-reference.md");
    let (_, table) = page.split_once("### Events that are received").unwrap();
    let (table, _) = table.split_once("###").unwrap();
    let description = openapi();
    let list = description["paths"]["/v1/sessions/{session}/events"]["get"]["parameters"].as_array().unwrap();
    let types = list.iter().find(|parameter| parameter["name"] == "types[]").unwrap();
    let types = types["schema"]["items"]["enum"].as_array().unwrap().iter().map(|kind| kind.as_str().unwrap());
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let made: BTreeSet<&str> =
        schemas.values().filter_map(|schema| schema["properties"]["type"]["const"].as_str()).collect();
    for kind in types.filter(|kind| !kind.starts_with("tenure.")) {
        let says = |line: &&str| {
            line.split('`').skip(1).step_by(2).any(|shown| match shown.strip_suffix('…') {
                Some(beginning) => kind.starts_with(beginning),
                None => shown == kind,
            })
        };
        let told = table.lines().find(says).map(|line| line.contains("not yet"));
        // What only a client sends, and we don't take yet, is in the other table.
        let sent = kind.starts_with("user.") || kind == "system.message";
        if told.is_none() && sent && !made.contains(kind) {
            continue;
        }
        assert_eq!(told, Some(!made.contains(kind)), "what the page says of {kind}, and whether it is made");
    }
}

#[tokio::test]
async fn every_route_asks_for_a_key() {
    let server = TestServer::start().await;
    for route in route_list() {
        let path = route.path.replace(['{', '}'], "");
        for key in ["", "Bearer tnr_wrong", "Basic dG5yX3Rlc3Q=", "Bearer "] {
            let request = Request::builder()
                .method(route.method)
                .uri(&path)
                .header(header::AUTHORIZATION, key)
                .body(Body::empty())
                .unwrap();
            let answer = server.answer(request).await;
            assert!(answer.header("request-id").is_some_and(|id| id.starts_with("req_") && id.len() == 26));
            if route.open {
                assert_eq!(answer.status, 200, "{path}");
            } else {
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
                answer.problem(401);
            }
        }
    }
}

#[tokio::test]
async fn both_headers_carry_the_key() {
    let server = TestServer::start().await;
    for (name, value) in
        [("authorization", "Bearer tnr_test"), ("authorization", "bearer tnr_test"), ("x-api-key", "tnr_test")]
    {
        let request = Request::builder().uri("/v1/agents").header(name, value).body(Body::empty()).unwrap();
        server.answer(request).await.ok();
    }
}

#[tokio::test]
async fn pages_of_other_sites_and_unknown_hosts_are_refused() {
    let server = TestServer::start().await;
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("host", "evil.example")] {
        let request = Request::builder().uri("/healthz").header(name, value).body(Body::empty()).unwrap();
        let answer = server.answer(request).await;
        assert!(answer.header("access-control-allow-origin").is_none());
        answer.problem(403);
    }
}

#[tokio::test]
async fn metrics_count_requests_by_route() {
    let server = TestServer::start().await;
    server.get("/v1/agents/agent_1111111111111111111111").await.problem(404);
    let answer = server.get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = r#"tenure_http_requests_total{method="GET",route="/v1/agents/{agent}",status="404"}"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains("tenure_http_request_seconds_bucket"));
    assert!(text.contains("tenure_awake_sessions"));
}

#[tokio::test]
async fn unknown_paths_and_methods_say_so() {
    let server = TestServer::start().await;
    assert!(server.get("/v1/vaults").await.problem(404).contains("/v1/vaults"));
    let request = Request::builder().method(Method::PUT).uri("/v1/agents").body(Body::empty()).unwrap();
    let answer = server.answer(request).await;
    assert_eq!(answer.header("allow").map(|allow| allow.contains("POST")), Some(true));
    answer.problem(405);
}
