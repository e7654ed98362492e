//! `/v1/sessions/{id}/events/stream`.

use std::time::Duration;

use serde_json::json;
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{Frame, TestServer, message, normal};

const TURN: &[&str] =
    &["{thinking: let me look, text: I look., tools: [{name: bash, input: {command: ls}}]}", "text: done"];

async fn played(server: &TestServer) -> String {
    let agent = server.agent("worker", TURN).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    server.until(&session, 0, "session.status_idle").await;
    session
}

#[tokio::test]
async fn a_turn_is_told_in_order() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", TURN).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events/stream?tenure_events=1");
    let mut stream = server.stream(&path, &[]).await;
    server.say(&session, "go").await;
    let told = stream.until("session.status_idle").await;
    let lines = told.iter().map(|frame| {
        assert_eq!(frame.event, frame.kind());
        format!("{:>3} {}\n", frame.id.unwrap(), frame.data)
    });
    crate::assert_snapshot!("turn.txt", normal(&lines.collect::<String>()));
}

#[tokio::test]
async fn every_cursor_leads_on_without_loss_or_doubling() {
    let server = TestServer::start().await;
    let session = played(&server).await;
    let path = format!("/v1/sessions/{session}/events/stream");
    let all = server.stream(&format!("{path}?after=0"), &[]).await.until("session.status_idle").await;
    for (at, frame) in all.iter().enumerate() {
        let cursor = frame.id.unwrap().to_string();
        let mut by_header = server.stream(&format!("{path}?after=0"), &[("last-event-id", &cursor)]).await;
        let mut by_parameter = server.stream(&format!("{path}?after={cursor}"), &[]).await;
        for expected in &all[at + 1..] {
            assert_eq!(by_header.next().await.as_ref(), Some(expected));
            assert_eq!(by_parameter.next().await.as_ref(), Some(expected));
        }
    }
    // From the log into what happens live.
    let middle = all[all.len() / 2].id.unwrap();
    let mut stream = server.stream(&format!("{path}?after={middle}"), &[]).await;
    server.say(&session, "again").await;
    let mut cursors: Vec<u64> = Vec::new();
    for _ in 0..2 {
        cursors.extend(stream.until("session.status_idle").await.iter().filter_map(|frame| frame.id));
    }
    assert!(cursors.windows(2).all(|pair| pair[0] < pair[1]), "{cursors:?}");
}

#[tokio::test]
async fn wrong_cursors_are_refused() {
    let server = TestServer::start().await;
    let session = played(&server).await;
    let path = format!("/v1/sessions/{session}/events/stream");
    for cursor in ["9999", "-1", "x", "1.x", "1.5", "18446744073709551616"] {
        server.get(&format!("{path}?after={cursor}")).await.problem(400);
        let request = crate::support::request(axum::http::Method::GET, &path, None, &[("last-event-id", cursor)]);
        let message = server.answer(request).await.problem(400);
        assert!(message.contains(cursor), "{message}");
    }
    server.get(&format!("{path}?event_deltas[]=agent.tool_use")).await.problem(400);
}

#[tokio::test]
async fn restored_data_have_cursors_of_their_own() {
    let server = TestServer::of_generation(1_763_000_000).await;
    let session = played(&server).await;
    let path = format!("/v1/sessions/{session}/events/stream");
    // The beginning is the same place in all generations.
    let all = server.stream(&format!("{path}?after=0"), &[]).await.until("session.status_idle").await;
    for frame in &all {
        assert_eq!(frame.cursor, Some(format!("1763000000.{}", frame.id.unwrap())));
    }
    let cursor = all[2].cursor.as_deref().unwrap();
    let rest = server.stream(&path, &[("last-event-id", cursor)]).await.until("session.status_idle").await;
    assert_eq!(rest, all[3..]);
    let newest = server.get(&format!("/v1/sessions/{session}")).await.ok()["tenure"]["cursor"].clone();
    assert!(newest.as_str().is_some_and(|cursor| cursor.starts_with("1763000000.")), "{newest}");
    for cursor in ["2", "1700000000.2", "1763000000.9999"] {
        let message = server.get(&format!("{path}?after={cursor}")).await.problem(400);
        let reload = message.contains("reload the session's events");
        assert_eq!(reload, !cursor.ends_with("9999"), "{message}");
    }
}

#[tokio::test]
async fn what_is_sent_after_the_answer_began_is_on_the_stream() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    for _ in 0..20 {
        let session = server.session(&agent).await;
        let mut stream = server.stream(&format!("/v1/sessions/{session}/events/stream"), &[]).await;
        let sent = server.say(&session, "hi").await;
        let told = stream.until("user.message").await;
        assert_eq!(told.last().unwrap().data["id"], json!(sent));
    }
}

#[tokio::test]
async fn previews_line_up_with_what_they_preview() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", TURN).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events/stream");
    let mut both =
        server.stream(&format!("{path}?event_deltas[]=agent.message&event_deltas%5B%5D=agent.thinking"), &[]).await;
    let mut thinking = server.stream(&format!("{path}?event_deltas[]=agent.thinking"), &[]).await;
    let mut none = server.stream(&path, &[]).await;
    server.say(&session, "go").await;
    let told = both.until("session.status_idle").await;
    let of = |kind: &str| told.iter().filter(|frame| frame.kind() == kind).cloned().collect::<Vec<Frame>>();
    for said in of("agent.message") {
        let begun = of("event_start").into_iter().filter(|frame| frame.data["event"]["id"] == said.data["id"]).count();
        let text: String = of("event_delta")
            .iter()
            .filter(|frame| frame.data["event_id"] == said.data["id"])
            .map(|frame| frame.data["delta"]["content"]["text"].as_str().unwrap())
            .collect();
        assert_eq!((begun, text.as_str()), (1, said.data["content"][0]["text"].as_str().unwrap()));
    }
    assert!(of("event_start").iter().all(|frame| frame.id.is_none()), "previews have no cursor");
    let started: Vec<_> = of("event_start").iter().map(|frame| frame.data["event"]["type"].clone()).collect();
    assert!(started.contains(&json!("agent.thinking")), "{started:?}");
    let told = thinking.until("session.status_idle").await;
    assert!(told.iter().all(|frame| frame.kind() != "event_delta"), "thinking has a beginning only");
    assert!(none.until("session.status_idle").await.iter().all(|frame| frame.id.is_some()));
}

#[tokio::test]
async fn old_python_clients_get_names_they_take() {
    let server = TestServer::start().await;
    let session = played(&server).await;
    let path = format!("/v1/sessions/{session}/events/stream?after=0");
    let old = [("x-stainless-lang", "python"), ("x-stainless-package-version", "0.121.0")];
    let told = server.stream(&path, &old).await.until("session.status_idle").await;
    let usage = told.iter().find(|frame| frame.kind() == "session.usage").unwrap();
    assert_eq!(usage.event, "message");
    assert!(told.iter().all(|frame| frame.event == frame.kind() || frame.kind() == "session.usage"));
    let new = [("x-stainless-lang", "python"), ("x-stainless-package-version", "2.11.0")];
    let told_new = server.stream(&path, &new).await.until("session.status_idle").await;
    assert!(told_new.iter().all(|frame| frame.event == frame.kind()));
    let same = |frames: &[Frame]| frames.iter().map(|frame| (frame.id, frame.data.clone())).collect::<Vec<_>>();
    assert_eq!(same(&told), same(&told_new));
}

#[tokio::test]
async fn a_quiet_stream_says_that_it_is_alive() {
    let config = ServerConfig { keep_alive: Duration::from_millis(5), ..ServerConfig::default() };
    let server = TestServer::with(None, config).await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let mut stream = server.stream(&format!("/v1/sessions/{session}/events/stream"), &[]).await;
    for expected in ["open", "keep-alive", "keep-alive"] {
        assert_eq!(stream.raw().await.unwrap().data, json!(expected));
    }
}

#[tokio::test]
async fn a_failing_model_is_told_of() {
    let model = FakeModel::start([Answer::Status(529, vec![], "{}"), Answer::Text("better")]).await;
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let agent = server.agent_with(json!({"name": "a", "model": "claude-test"})).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let told = server.until(&session, 0, "session.status_rescheduled").await;
    let error = told.iter().find(|frame| frame.kind() == "session.error").unwrap();
    assert_eq!(error.data["error"]["type"], "model_overloaded_error");
    assert_eq!(error.data["error"]["retry_status"]["type"], "retrying");
    let path = format!("/v1/sessions/{session}");
    assert_eq!(server.get(&path).await.ok()["status"], "rescheduling");
    let sent = server.post(&format!("{path}/events"), json!({"events": [message("more")]})).await.ok();
    assert!(sent["data"][0]["processed_at"].is_null());
    server.engine.clock.advance(Duration::from_secs(60));
    server.until(&session, told.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert_eq!(server.get(&path).await.ok()["status"].as_str().map(|status| status != "terminated"), Some(true));
}
