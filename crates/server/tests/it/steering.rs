//! `delivery: "steer"`: what is said within a turn. The tests look at what the model is sent next.

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{TestServer, id, ids, message};

fn steering(text: &str) -> Value {
    let mut event = message(text);
    event["delivery"] = json!("steer");
    event
}

fn wait() -> (&'static str, Value) {
    ("bash", json!({"command": "wait"}))
}

/// A session whose model gives these answers, and the path of its events.
async fn session(model: &FakeModel, tools: Value) -> (TestServer, String, String) {
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let agent = server.agent_with(json!({"name": "helper", "model": "claude-test", "tools": tools})).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    (server, session, path)
}

fn builtin() -> Value {
    json!([{"type": "agent_toolset_20260401"}])
}

/// What the model was sent last: its last message, piece by piece.
fn last_message(model: &FakeModel) -> Vec<Value> {
    let requests = model.requests();
    let last = requests.last().unwrap()["messages"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["role"], "user");
    last["content"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_steers_is_read_after_the_call_that_runs_and_calls_not_begun_are_given_up() {
    let model = FakeModel::start([Answer::Calls(vec![wait(), wait(), wait()]), Answer::Text("as you wish")]).await;
    let (server, session, path) = session(&model, builtin()).await;
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    server.say(&session, "later").await;
    let sent = server.post(&path, json!({"events": [steering("rather so")]})).await.ok();
    assert_eq!(sent["data"][0]["processed_at"], Value::Null);
    assert_eq!(sent["data"][0]["delivery"], "steer");
    let queue = server.get(&format!("/v1/sessions/{session}/queue")).await.ok();
    assert_eq!(queue["data"][1], sent["data"][0], "it can be seen, and withdrawn, while it waits");
    assert_eq!(queue["data"][0].get("delivery"), None, "the default isn't told");

    server.engine.backend.release(call);
    let frames = server.until(&session, 0, "session.status_idle").await;
    let mine = |id: &str| {
        let told = frames.iter().filter(|frame| frame.data["id"] == id);
        told.map(|frame| !frame.data["processed_at"].is_null()).collect::<Vec<_>>()
    };
    assert_eq!(mine(&id(&sent["data"][0])), [false, true], "twice under one id: queued, and read");
    let results: Vec<_> = frames.iter().filter(|frame| frame.kind() == "agent.tool_result").collect();
    assert_eq!(results.len(), 3, "each call has its result");
    assert_eq!(server.engine.backend.started().len(), 1, "the others never ran");

    let second = model.requests()[1]["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    let second = second.as_array().unwrap();
    let kinds: Vec<&str> = second.iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["tool_result", "tool_result", "tool_result", "text"]);
    assert_eq!((&second[0]["is_error"], &second[1]["is_error"]), (&json!(false), &json!(true)));
    assert!(second[1]["content"][0]["text"].as_str().unwrap().starts_with("not run: "), "{second:?}");
    assert_eq!(second[3]["text"], "rather so");
    assert!(!second.iter().any(|block| block["text"] == "later"), "what doesn't steer waits for the turn's end");
    let next = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert!(next.iter().any(|frame| frame.kind() == "session.status_running"), "then it begins a turn");
    assert_eq!(last_message(&model)[0]["text"], "later");
}

#[tokio::test]
async fn what_steers_goes_along_with_a_request_that_is_made_anew() {
    let answers = [Answer::Status(529, vec![], "{}"), Answer::Calls(vec![wait()]), Answer::Text("as you wish")];
    let model = FakeModel::start(answers).await;
    let (server, session, path) = session(&model, builtin()).await;
    // The request fails, and what is said then is taken along when it is made anew.
    server.say(&session, "go").await;
    let frames = server.until(&session, 0, "session.status_rescheduled").await;
    server.post(&path, json!({"events": [steering("at once")]})).await.ok();
    server.engine.clock.advance(std::time::Duration::from_secs(60));
    let started = server.engine.backend.wait_started(1).await;
    assert_eq!(last_message(&model).iter().map(|block| &block["text"]).collect::<Vec<_>>(), ["go", "at once"]);
    server.engine.backend.release(started[0]);
    server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert_eq!(last_message(&model)[0]["type"], "tool_result");
}

#[tokio::test]
async fn what_steers_waits_for_an_answer_as_other_messages_do_and_what_was_allowed_runs() {
    let model = FakeModel::start([Answer::Calls(vec![wait(), wait()]), Answer::Text("as you wish")]).await;
    let ask = json!({"permission_policy": {"type": "always_ask"}});
    let (server, session, path) =
        session(&model, json!([{"type": "agent_toolset_20260401", "default_config": ask}])).await;
    server.say(&session, "go").await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    let stop = frames.last().unwrap().data["stop_reason"].clone();
    let sent = server.post(&path, json!({"events": [steering("rather so")]})).await.ok();
    assert_eq!(sent["data"][0]["processed_at"], Value::Null);
    assert_eq!(server.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
    let answer = |at: usize, result: &str| json!({"type": "user.tool_confirmation", "tool_use_id": stop["event_ids"][at], "result": result});
    server.post(&path, json!({"events": [answer(0, "allow"), answer(1, "deny")]})).await.ok();
    let call = server.engine.backend.wait_started(1).await[0];
    server.engine.backend.release(call);
    server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    let last = last_message(&model);
    assert_eq!(last.len(), 3, "{last:?}");
    assert!(last[..2].iter().all(|block| block["type"] == "tool_result"), "{last:?}");
    assert_eq!(last[2]["text"], "rather so");
}

#[tokio::test]
async fn what_steers_can_be_taken_back_and_changes_nothing_when_the_session_is_idle() {
    let model =
        FakeModel::start([Answer::Text("hello"), Answer::Calls(vec![wait(), wait()]), Answer::Text("done")]).await;
    let (server, session, path) = session(&model, builtin()).await;
    let sent = server.post(&path, json!({"events": [steering("go")]})).await.ok();
    assert!(sent["data"][0]["processed_at"].is_string(), "an idle session reads it at once");
    let frames = server.until(&session, 0, "session.status_idle").await;
    server.say(&session, "now work").await;
    let calls = server.engine.backend.wait_started(1).await;
    let sent = server.post(&path, json!({"events": [steering("rather so")]})).await.ok();
    server.delete(&format!("/v1/sessions/{session}/queue/{}", ids(&sent)[0])).await.ok();
    server.engine.backend.release(calls[0]);
    let calls = server.engine.backend.wait_started(2).await;
    server.engine.backend.release(calls[1]);
    server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert!(!model.requests().last().unwrap().to_string().contains("rather so"), "it was never read");
    let listed = server.get(&format!("{path}?types[]=user.message")).await.ok();
    let withdrawn = listed["data"].as_array().unwrap().iter().find(|event| event["withdrawn"] == true).unwrap();
    assert_eq!(withdrawn["delivery"], "steer");
    let wrong = json!({"type": "user.message", "content": [{"type": "text", "text": "x"}], "delivery": "now"});
    let told = server.post(&path, json!({"events": [wrong]})).await.problem(400);
    assert!(told.starts_with("events.0.delivery: expected"), "{told}");
}
