//! The order of events. `support::Order` checks it in every stream that a test reads from its session's beginning; here it
//! is shown that it would notice.

use std::time::Duration;

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{Frame, Order, TestServer, message};

fn accepted(frames: &[Frame]) -> bool {
    let mut order = Order::default();
    frames.iter().all(|frame| order.refuses(frame).is_none())
}

/// Two turns: one with a tool, and one that begins with a message that had to wait.
async fn told() -> Vec<Frame> {
    let server = TestServer::start().await;
    let steps = ["{thinking: hm, text: I look., tools: [{name: bash, input: {command: wait}}]}", "text: done"];
    let agent = server.agent("worker", &steps).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    server.say(&session, "and then").await;
    server.engine.backend.release(call);
    let call = server.engine.backend.wait_started(2).await[1];
    server.engine.backend.release(call);
    let mut stream = server.stream(&format!("/v1/sessions/{session}/events/stream?after=0"), &[]).await;
    let mut told = stream.until("session.status_idle").await;
    told.extend(stream.until("session.status_idle").await);
    told
}

#[tokio::test]
async fn events_out_of_order_are_noticed() {
    let told = told().await;
    assert!(accepted(&told));
    let (mut left_out, mut exchanged) = (Vec::new(), Vec::new());
    for at in 0..told.len() {
        let mut doubled = told.clone();
        doubled.insert(at, told[at].clone());
        assert!(!accepted(&doubled), "{} twice", told[at].kind());
        let mut missing = told.clone();
        missing.remove(at);
        if accepted(&missing) {
            left_out.push(told[at].kind());
        }
        let mut turned = told.clone();
        turned.swap(at, (at + 1).min(told.len() - 1));
        if at + 1 < told.len() && accepted(&turned) {
            exchanged.push([told[at].kind(), told[at + 1].kind()]);
        }
    }
    left_out.sort_unstable();
    left_out.dedup();
    exchanged.sort_unstable();
    exchanged.dedup();
    // A model needn't think or speak, and nothing is missed before it comes. All else has its place.
    assert_eq!(left_out, ["agent.message", "agent.thinking", "session.status_idle", "user.message"]);
    // The parts of a reply come as the model made them, and what a person says may come at any time.
    exchanged.retain(|pair| !pair.contains(&"user.message"));
    assert_eq!(exchanged, [["agent.message", "agent.tool_use"], ["agent.thinking", "agent.message"]]);
}

#[tokio::test]
async fn a_model_that_fails_for_good_is_told_of_until_the_retries_are_exhausted() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let failures = (0..20).map(|_| Answer::Status(529, vec![], overloaded));
    let model = FakeModel::start(failures).await;
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let agent = server.agent_with(json!({"name": "a", "model": "claude-test"})).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let path = format!("/v1/sessions/{session}");
    let mut stream = server.stream(&format!("{path}/events/stream?after=0"), &[]).await;
    let mut told = stream.until("session.status_rescheduled").await;
    server.post(&format!("{path}/events"), json!({"events": [message("are you there?")]})).await.ok();
    let idle = loop {
        server.engine.clock.advance(Duration::from_secs(60));
        told.extend(stream.until("session.error").await);
        if told.last().unwrap().data["error"]["retry_status"]["type"] == "exhausted" {
            break stream.until("session.status_idle").await;
        }
        told.extend(stream.until("session.status_rescheduled").await);
    };
    let errors: Vec<&Value> =
        told.iter().filter(|frame| frame.kind() == "session.error").map(|frame| &frame.data["error"]).collect();
    assert!(errors.iter().all(|error| error["type"] == "model_overloaded_error"), "{errors:?}");
    let (last, before) = errors.split_last().unwrap();
    assert!(!before.is_empty() && before.iter().all(|error| error["retry_status"]["type"] == "retrying"));
    assert_eq!(last["retry_status"]["type"], "exhausted");
    let read = idle.iter().find(|frame| frame.kind() == "user.message").unwrap();
    assert!(read.data["processed_at"].is_string(), "what waited isn't lost");
    assert_eq!(idle.last().unwrap().data["stop_reason"]["type"], "retries_exhausted");
    assert_eq!(server.get(&path).await.ok()["status"], "idle");
}
