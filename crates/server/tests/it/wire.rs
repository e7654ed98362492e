//! How requests are written: methods, queries, headers, encodings; and lists that grow while they are read.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tenure_server::route_list;

use crate::support::{TestServer, ids, message, request};

#[tokio::test]
async fn every_path_names_its_methods() {
    let server = TestServer::start().await;
    let paths: BTreeSet<&str> = route_list().iter().map(|route| route.path).collect();
    for path in paths {
        let known: BTreeSet<&str> =
            route_list().iter().filter(|route| route.path == path).map(|route| route.method).collect();
        let place = path.replace(['{', '}'], "");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            // `resolve` is also what an id of a session could be.
            if known.contains(method) || path == "/v1/sessions/resolve" {
                continue;
            }
            let request = Request::builder().method(method).uri(&place).body(Body::empty()).unwrap();
            let answer = server.answer(request).await;
            let allowed: BTreeSet<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            let mut expected = known.clone();
            if known.contains("GET") {
                expected.insert("HEAD");
            }
            assert_eq!(allowed, expected, "{method} {place}");
            answer.problem(405);
        }
    }
}

#[tokio::test]
async fn a_head_is_that_of_get_without_a_body() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    for (path, status) in [
        ("/healthz".to_owned(), 200),
        ("/v1/agents?limit=1".to_owned(), 200),
        (format!("/v1/agents/{agent}"), 200),
        ("/v1/agents?limit=0".to_owned(), 400),
        ("/v1/agents/nobody".to_owned(), 404),
    ] {
        let response = server.send(request(Method::HEAD, &path, None, &[])).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(response.headers().contains_key("request-id"), "{path}");
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(body.is_empty(), "{path}: {}", String::from_utf8_lossy(&body));
    }
}

#[tokio::test]
async fn pages_have_their_bounds() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let thread = ids(&server.get(&format!("/v1/sessions/{session}/threads")).await.ok()).remove(0);
    for (path, most) in [
        ("/v1/agents".to_owned(), 100),
        (format!("/v1/agents/{agent}/versions"), 100),
        ("/v1/environments".to_owned(), 1_000),
        ("/v1/sessions".to_owned(), 1_000),
        (format!("/v1/sessions/{session}/events"), 1_000),
        (format!("/v1/sessions/{session}/threads"), 1_000),
        (format!("/v1/sessions/{session}/threads/{thread}/events"), 1_000),
    ] {
        for good in [1, most] {
            server.get(&format!("{path}?limit={good}")).await.ok();
        }
        for (wrong, said) in [
            ("limit=0".to_owned(), "limit: expected a whole number from 1"),
            (format!("limit={}", most + 1), "limit: expected a whole number from 1"),
            ("limit=ten".to_owned(), "limit: expected a whole number from 1"),
            ("limit=1&limit=1".to_owned(), "limit: expected the parameter once, got it 2 times"),
            ("page=page_x".to_owned(), "page: expected a cursor"),
            ("page=a&page=b".to_owned(), "page: expected the parameter once"),
        ] {
            let message = server.get(&format!("{path}?{wrong}")).await.problem(400);
            assert!(message.starts_with(said), "{path}?{wrong}: {message}");
        }
        let page = server.get(&format!("{path}?limit=1")).await.ok();
        assert_eq!(page.get("prev_page").is_some(), path == "/v1/sessions", "only sessions page back: {path}");
    }
}

#[tokio::test]
async fn a_time_may_be_written_in_every_way() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let mut made = Vec::new();
    for _ in 0..3 {
        server.engine.clock.advance(Duration::from_secs(1));
        made.insert(0, server.session(&agent).await);
    }
    let middle = server.get(&format!("/v1/sessions/{}", made[1])).await.ok();
    let at: jiff::Timestamp = middle["created_at"].as_str().unwrap().parse().unwrap();
    let zulu = format!("{at:.6}");
    let plus =
        |hours| at.to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(hours))).strftime("%Y-%m-%dT%H:%M:%S%.6f%:z");
    let mut forms = vec![zulu.clone(), zulu.replace('Z', "+00:00"), zulu.replace('Z', "-00:00"), zulu.to_lowercase()];
    forms.extend([plus(2).to_string(), plus(-7).to_string(), zulu.replace('Z', "000Z")]);
    // A plus sign that a client wrote as a space.
    forms.push(plus(5).to_string().replace('+', "%20"));
    let encoded: Vec<String> = forms
        .iter()
        .flat_map(|form| {
            let colons = form.replace(':', "%3A");
            [form.replace('+', "%2B"), colons.clone(), colons.replace('+', "%2b")]
        })
        .collect();
    for form in forms.into_iter().chain(encoded) {
        for bound in ["created_at[gt]", "created_at%5Bgt%5D", "created_at%5bgt]"] {
            let found = server.get(&format!("/v1/sessions?{bound}={form}")).await.ok();
            assert_eq!(ids(&found), made[..1], "{bound}={form}");
        }
        let found = server.get(&format!("/v1/sessions?created_at[gte]={form}&created_at[lte]={form}")).await.ok();
        assert_eq!(ids(&found), made[1..2], "{form}");
        let found = server.get(&format!("/v1/sessions?created_at[lt]={form}")).await.ok();
        assert_eq!(ids(&found), made[2..], "{form}");
    }
    for wrong in ["2026-03-18", "2026-13-18T10:00:00Z", "2026-03-18T10:00:00", "1763000000", "now"] {
        let message = server.get(&format!("/v1/sessions?created_at[gt]={wrong}")).await.problem(400);
        assert!(message.starts_with("created_at[gt]: expected a time such as"), "{wrong}: {message}");
    }
    let twice = format!("/v1/sessions?created_at[gt]={zulu}&created_at%5Bgt%5D={zulu}");
    assert!(server.get(&twice).await.problem(400).starts_with("created_at[gt]: expected the parameter once"));
}

#[tokio::test]
async fn events_are_filtered_by_when_they_were_processed() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let mut cursor = 0;
    for text in ["one", "two", "three"] {
        server.engine.clock.advance(Duration::from_secs(10));
        server.say(&session, text).await;
        cursor = server.until(&session, cursor, "session.status_idle").await.last().unwrap().id.unwrap();
    }
    let all = server.get(&path).await.ok()["data"].as_array().unwrap().clone();
    let two = all.iter().find(|event| event["content"][0]["text"] == "two").unwrap();
    let at = two["processed_at"].as_str().unwrap();
    let parse = |event: &Value| event["processed_at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let bound = parse(two);
    for (name, within) in [
        ("gt", (|at, bound| at > bound) as fn(jiff::Timestamp, jiff::Timestamp) -> bool),
        ("gte", |at, bound| at >= bound),
        ("lt", |at, bound| at < bound),
        ("lte", |at, bound| at <= bound),
    ] {
        for order in ["asc", "desc"] {
            let mut expected: Vec<&Value> = all.iter().filter(|event| within(parse(event), bound)).collect();
            if order == "desc" {
                expected.reverse();
            }
            assert!(!expected.is_empty() && expected.len() < all.len());
            let mut found: Vec<Value> = Vec::new();
            let mut page = String::new();
            loop {
                let query = format!("{path}?created_at%5B{name}%5D={at}&order={order}&limit=4{page}");
                let answer = server.get(&query).await.ok();
                found.extend(answer["data"].as_array().unwrap().iter().cloned());
                let Some(next) = answer["next_page"].as_str() else { break };
                page = format!("&page={next}");
            }
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{name} {order}");
        }
    }
}

#[tokio::test]
async fn pages_hang_together_while_sessions_are_made() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let mut made = Vec::new();
    for _ in 0..7 {
        server.engine.clock.advance(Duration::from_secs(1));
        made.insert(0, server.session(&agent).await);
    }
    let list = async |query: String| server.get(&format!("/v1/sessions?limit=2{query}")).await.ok();
    let mut pages = vec![list(String::new()).await];
    while let Some(next) = pages.last().unwrap()["next_page"].as_str() {
        // Before each page another one is made, which stands before all of them.
        server.engine.clock.advance(Duration::from_secs(1));
        server.session(&agent).await;
        pages.push(list(format!("&page={next}")).await);
    }
    let seen: Vec<String> = pages.iter().flat_map(ids).collect();
    assert_eq!(seen, made, "there is nothing twice and nothing is left out");

    // Back from the last: what was there, and then those that came meanwhile.
    let mut back = Vec::new();
    let mut prev = pages.last().unwrap()["prev_page"].as_str().map(str::to_owned);
    while let Some(cursor) = prev {
        let page = list(format!("&page={cursor}")).await;
        back.splice(0..0, ids(&page));
        prev = page["prev_page"].as_str().map(str::to_owned);
    }
    let whole = ids(&server.get("/v1/sessions?limit=100").await.ok());
    let last = ids(pages.last().unwrap());
    assert_eq!([back, last].concat(), whole);
}

#[tokio::test]
async fn words_of_a_list_come_once_or_often() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    server.say(&session, "hi").await;
    server.until(&session, 0, "session.status_idle").await;
    let path = format!("/v1/sessions/{session}/events");
    let types = async |query: &str| -> Vec<String> {
        let page = server.get(&format!("{path}?{query}")).await.ok();
        let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
        page["data"].as_array().unwrap().iter().map(kind).collect()
    };
    for query in ["types[]=user.message", "types%5B%5D=user.message", "types=user.message", "types[]=user%2Emessage"] {
        assert_eq!(types(query).await, ["user.message"], "{query}");
    }
    for query in [
        "types[]=user.message&types[]=agent.message",
        "types[]=agent.message&types%5B%5D=user.message",
        "types=agent.message&types[]=user.message&types[]=user.message",
    ] {
        assert_eq!(types(query).await, ["user.message", "agent.message"], "{query}");
    }
    for query in ["types[]=user.message,agent.message", "types[]=", "types[]=USER.MESSAGE", "types[]=user.message%20"] {
        let message = server.get(&format!("{path}?{query}")).await.problem(400);
        assert!(message.starts_with("types: "), "{query}: {message}");
    }
}

#[tokio::test]
async fn bodies_say_what_they_are() {
    let server = TestServer::start().await;
    let body = json!({"name": "a", "model": "claude-x"}).to_string();
    let utf16: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let gzipped = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec();
    for (kind, encoding, bytes, status) in [
        (Some("application/json"), None, body.clone().into_bytes(), 200),
        (Some("application/json; charset=utf-8"), None, body.clone().into_bytes(), 200),
        (Some("APPLICATION/JSON"), None, body.clone().into_bytes(), 200),
        (Some("application/merge-patch+json"), None, body.clone().into_bytes(), 200),
        (None, None, body.clone().into_bytes(), 200),
        (Some("text/plain"), None, body.clone().into_bytes(), 415),
        (Some("multipart/form-data; boundary=x"), None, body.clone().into_bytes(), 415),
        (Some("application/json"), None, utf16, 400),
        (Some("application/json"), Some("gzip"), gzipped, 400),
    ] {
        let mut request = Request::post("/v1/agents");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let answer = server.answer(request.body(Body::from(bytes)).unwrap()).await;
        assert_eq!(answer.status.as_u16(), status, "{kind:?} {encoding:?}");
    }
    // What takes no body takes an empty one of any kind.
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let request = Request::post(format!("/v1/sessions/{session}/archive")).header("content-type", "text/plain");
    server.answer(request.body(Body::empty()).unwrap()).await.ok();
}

#[tokio::test]
async fn what_is_ignored_is_named() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let body = json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": "hi", "x": 1}], "y": 2}], "z": 3});
    let answer = server.post(&format!("/v1/sessions/{session}/events?beta=true&w=4"), body).await;
    let ignored: BTreeSet<String> = answer.header("x-tenure-ignored").unwrap().split(", ").map(str::to_owned).collect();
    assert_eq!(ignored, ["events.0.content.0.x", "events.0.y", "w", "z"].map(str::to_owned).into());
    answer.ok();
    let answer = server.post(&format!("/v1/sessions/{session}/events"), json!({"events": [message("hi")]})).await;
    assert_eq!(answer.header("x-tenure-ignored"), None);
}
