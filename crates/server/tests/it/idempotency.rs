//! Requests that are sent twice.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::future::join_all;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tenure_server::route_list;

use crate::support::{Answer, KEY, TestServer, id, ids, message, request};

const KEYED: &[(&str, &str)] = &[("idempotency-key", "k1")];

#[tokio::test]
async fn a_repeated_message_is_said_once() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}});
    let said = json!({"events": [{"type": "user.message", "content": [image]}]});
    let first = server.post_with(&path, said.clone(), KEYED).await;
    assert_eq!(first.header("x-tenure-replayed"), None);
    let again = server.post_with(&path, said.clone(), KEYED).await;
    assert_eq!(again.header("x-tenure-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    assert_eq!(first.ok()["data"][0]["content"][0]["source"]["data"], "aGVsbG8=");
    server.until(&session, 0, "session.status_idle").await;
    assert_eq!(ids(&server.get(&format!("{path}?types[]=user.message")).await.ok()).len(), 1);

    let other = server.post_with(&path, json!({"events": [message("other")]}), KEYED).await;
    assert_eq!(other.header("x-should-retry"), Some("false"));
    assert!(other.problem(409).contains("another request"));
    assert_eq!(server.post_with(&path, said, &[("idempotency-key", "k2")]).await.header("x-tenure-replayed"), None);
}

/// A POST that can be sent many times, and a body that is another request. Each has a server of its own.
struct Case {
    path: String,
    body: Value,
    other: Value,
}

/// The POST of a route, with everything made that it needs.
async fn case(server: &TestServer, route: &str) -> Case {
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let environment = id(&server.post("/v1/environments", json!({"name": "box"})).await.ok());
    let path = route.replace("{agent}", &agent).replace("{session}", &session).replace("{environment}", &environment);
    let (body, other) = match route {
        "/v1/agents" => (json!({"name": "a", "model": "claude-x"}), json!({"name": "b", "model": "claude-x"})),
        "/v1/agents/{agent}" => (json!({"name": "b", "version": 1}), json!({"name": "c", "version": 1})),
        "/v1/environments" => (json!({"name": "e"}), json!({"name": "f"})),
        "/v1/environments/{environment}" => (json!({"name": "e"}), json!({"name": "f"})),
        "/v1/sessions" => {
            let body = |text| json!({"agent": agent, "environment_id": "default", "initial_events": [message(text)]});
            (body("hello"), body("goodbye"))
        }
        "/v1/sessions/{session}" => (json!({"title": "one"}), json!({"title": "two"})),
        "/v1/sessions/{session}/events" => {
            (json!({"events": [message("hello")]}), json!({"events": [message("goodbye")]}))
        }
        "/v1/sessions/{session}/end" => (json!({}), json!({"outcome": "completed"})),
        "/v1/sessions/{session}/fork" => {
            ended_turn(server, &session, "hello").await;
            (json!({}), json!({"title": "another"}))
        }
        "/v1/sessions/{session}/rewind" => {
            let first = ended_turn(server, &session, "hello").await;
            let second = ended_turn(server, &session, "goodbye").await;
            (json!({"to": first}), json!({"to": second}))
        }
        "/v1/sessions/{session}/clone" => (json!({}), json!({"title": "another"})),
        "/v1/sessions/{session}/limits" => (json!({"pids": 100}), json!({"pids": 200})),
        "/v1/sessions/{session}/archive"
        | "/v1/sessions/{session}/stop"
        | "/v1/sessions/{session}/resume"
        | "/v1/environments/{environment}/archive"
        | "/v1/agents/{agent}/archive" => (json!({}), json!({"note": "another request"})),
        _ => panic!("POST {route} is new: say here how it is sent, or in the table of routes why it refuses a key"),
    };
    Case { path, body, other }
}

/// One turn; the cursor of its end.
async fn ended_turn(server: &TestServer, session: &str, text: &str) -> u64 {
    let cursor = async || {
        let session = server.get(&format!("/v1/sessions/{session}")).await.ok();
        session["tenure"]["cursor"].as_str().unwrap().parse().unwrap()
    };
    let after: u64 = cursor().await;
    server.say(session, text).await;
    server.until(session, after, "session.status_idle").await;
    cursor().await
}

/// Everything there is that a POST can change.
async fn everything(server: &TestServer) -> Value {
    let sessions = server.get("/v1/sessions?include_archived=true").await.ok();
    let mut events = Vec::new();
    for session in ids(&sessions) {
        let path = format!("/v1/sessions/{session}/events?types[]=user.message&limit=1000");
        events.push(ids(&server.get(&path).await.ok()));
    }
    let agents = server.get("/v1/agents?include_archived=true&limit=100").await.ok();
    let versions: Vec<_> = agents["data"].as_array().unwrap().iter().map(|agent| agent["version"].clone()).collect();
    let environments = ids(&server.get("/v1/environments?limit=100").await.ok());
    json!([ids(&sessions), events, ids(&agents), versions, environments])
}

fn posts() -> impl Iterator<Item = tenure_server::RouteInfo> {
    route_list().into_iter().filter(|route| route.method == "POST")
}

#[tokio::test]
async fn every_post_is_carried_out_once_or_says_why_it_takes_no_key() {
    for route in posts() {
        let mut server = TestServer::on_disk().await;
        if let Some(why) = route.no_key {
            let answer = server.post_with(route.path, json!({}), KEYED).await;
            assert!(answer.problem(400).contains(why), "{}", route.path);
            continue;
        }
        let Case { path, body, other } = case(&server, route.path).await;

        // Fifty at once: one effect, and everybody hears of it.
        let all = join_all((0..50).map(|_| server.post_with(&path, body.clone(), KEYED))).await;
        let fresh = all.iter().filter(|answer| answer.header("x-tenure-replayed").is_none()).count();
        assert_eq!(fresh, 1, "{}", route.path);
        let answers: BTreeSet<_> = all.into_iter().map(Answer::ok).map(|answer| answer.to_string()).collect();
        assert_eq!(answers.len(), 1, "{}: {answers:#?}", route.path);
        let first: Value = serde_json::from_str(answers.first().unwrap()).unwrap();
        server.post_with(&path, other, KEYED).await.problem(409);
        let after = everything(&server).await;

        // Later, and after a crash, whatever has changed meanwhile.
        server.crash_and_restart().await;
        server.engine.clock.advance(Duration::from_secs(3_600));
        meanwhile(&server, &first).await;
        let again = server.post_with(&path, body.clone(), KEYED).await;
        assert_eq!(again.header("x-tenure-replayed"), Some("true"), "{}", route.path);
        assert_eq!(again.ok(), first, "{}", route.path);
        assert_eq!(everything(&server).await[0], after[0], "{}", route.path);
        assert_eq!(everything(&server).await[2], after[2], "{}", route.path);

        // After a day the key is as good as new.
        server.engine.clock.advance(Duration::from_secs(23 * 3_600));
        assert_eq!(server.post_with(&path, body, KEYED).await.header("x-tenure-replayed"), None, "{}", route.path);
    }
}

/// Makes what a request has changed so that carrying it out again would fail or do something else.
async fn meanwhile(server: &TestServer, made: &Value) {
    let path = match made["type"].as_str() {
        Some("agent") => format!("/v1/agents/{}/archive", id(made)),
        Some("environment") => format!("/v1/environments/{}/archive", id(made)),
        Some("session") => format!("/v1/sessions/{}/archive", id(made)),
        _ => return,
    };
    // Refused by a session that has ended, which is change enough.
    server.post(&path, json!({})).await;
}

#[tokio::test]
async fn a_request_that_changes_nothing_is_not_carried_out_later() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let path = format!("/v1/sessions/{}", server.session(&agent).await);
    let same = json!({"title": "one"});
    server.post(&path, same.clone()).await.ok();
    let nothing = server.post_with(&path, same.clone(), KEYED).await;
    assert_eq!(nothing.header("x-tenure-replayed"), None);
    server.post(&path, json!({"title": "two"})).await.ok();
    let again = server.post_with(&path, same, KEYED).await;
    assert_eq!(again.header("x-tenure-replayed"), Some("true"));
    assert_eq!(again.body, nothing.body);
    assert_eq!(server.get(&path).await.ok()["title"], "two");

    let same = json!({"name": "greeter"});
    let path = format!("/v1/agents/{agent}");
    server.post_with(&path, same.clone(), &[("idempotency-key", "k2")]).await.ok();
    server.post(&path, json!({"name": "other"})).await.ok();
    let again = server.post_with(&path, same, &[("idempotency-key", "k2")]).await;
    assert_eq!(again.header("x-tenure-replayed"), Some("true"));
    assert_eq!(server.get(&path).await.ok()["name"], "other");
}

#[tokio::test]
async fn a_failed_request_may_be_repeated() {
    let server = TestServer::start().await;
    let body = json!({"agent": "later", "environment_id": "default"});
    let headers = [("idempotency-key", "k")];
    server.post_with("/v1/sessions", body.clone(), &headers).await.problem(404);
    server.agent("later", &["text: hello"]).await;
    let made = server.post_with("/v1/sessions", body, &headers).await;
    assert_eq!(made.header("x-tenure-replayed"), None);
    id(&made.ok());
}

/// What an official SDK sends, once with each count of repetitions.
struct FromSdk {
    path: String,
    body: String,
}

impl FromSdk {
    fn sent(&self, repetitions: &'static str) -> Request<Body> {
        let body = serde_json::from_str(&self.body).unwrap();
        request(Method::POST, &self.path, Some(body), &[("x-stainless-retry-count", repetitions)])
    }

    /// Whether the server keeps an answer for its repetition.
    async fn is_answer_kept(&self, server: &TestServer) -> bool {
        let fingerprint =
            Sha256::new().chain_update(format!("POST {}\n", self.path)).chain_update(&self.body).finalize();
        let caller = server.engine.engine.keys().check(KEY).await.unwrap().unwrap();
        let bearer = caller.id.bits().to_be_bytes();
        let key = format!("sdk {:x}", Sha256::new().chain_update(fingerprint).chain_update(bearer).finalize());
        server.engine.engine.sessions().answer(caller.tenant, &key).await.unwrap().is_some()
    }

    /// Sends it; the server dies when the answer is about to leave.
    async fn lose_answer(&self, server: &mut TestServer) {
        // Nothing that the server does beside or after the answer is done.
        let status = std::thread::scope(|scope| {
            let dies = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let server = &*server;
            scope.spawn(move || dies.block_on(server.send(self.sent("0"))).status()).join().unwrap()
        });
        assert_eq!(status, 200);
        assert!(self.is_answer_kept(server).await);
        server.crash_and_restart().await;
    }
}

#[tokio::test]
async fn an_sdk_repeats_what_was_stored_and_not_answered_and_hears_of_it_once() {
    for route in posts().filter(|route| route.no_key.is_none()) {
        let mut server = TestServer::on_disk().await;
        let Case { path, body, other: _ } = case(&server, route.path).await;
        let sdk = FromSdk { path, body: body.to_string() };
        sdk.lose_answer(&mut server).await;
        server.engine.clock.advance(Duration::from_secs(14 * 60));
        let after = everything(&server).await;

        let again = server.answer(sdk.sent("1")).await;
        assert_eq!(again.header("x-tenure-replayed"), Some("true"), "{}", route.path);
        again.ok();
        assert_eq!(everything(&server).await, after, "{}", route.path);
        assert!(!sdk.is_answer_kept(&server).await, "{}: it is given once", route.path);
    }
}

#[tokio::test]
async fn an_sdk_that_went_away_and_asks_again_gets_the_answer_it_did_not_wait_for() {
    let server = TestServer::on_disk().await;
    let body = json!({"name": "a", "model": "claude-x"}).to_string();
    let sdk = FromSdk { path: "/v1/agents".to_owned(), body };
    let mut sending = Box::pin(server.send(sdk.sent("0")));
    assert!(futures_util::poll!(&mut sending).is_pending(), "it takes more than a moment");
    drop(sending);
    while !sdk.is_answer_kept(&server).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.answer(sdk.sent("1")).await.header("x-tenure-replayed"), Some("true"));
}

#[tokio::test]
async fn an_sdk_gets_no_answer_that_was_given_or_is_old() {
    let mut server = TestServer::on_disk().await;
    let body = json!({"name": "a", "model": "claude-x"}).to_string();
    let sdk = FromSdk { path: "/v1/agents".to_owned(), body };
    for count in ["0", "1"] {
        assert_eq!(server.answer(sdk.sent(count)).await.header("x-tenure-replayed"), None);
        while sdk.is_answer_kept(&server).await {
            tokio::task::yield_now().await;
        }
    }
    sdk.lose_answer(&mut server).await;
    server.engine.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(server.answer(sdk.sent("1")).await.header("x-tenure-replayed"), None);
}
