//! The built-in tool `ask`: a question to a person, and its answer.

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{Frame, TestServer, id, message};

fn question(text: &str) -> (&'static str, Value) {
    ("ask", json!({"question": text, "choices": ["left", "right"]}))
}

fn asking() -> Value {
    json!([{"type": "agent_toolset_20260401", "configs": [{"name": "ask", "enabled": true}]}])
}

/// A session whose model gives these answers, which has been told to go; the path of its events.
async fn session(model: &FakeModel, tools: Value) -> (TestServer, String, String) {
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let agent = server.agent_with(json!({"name": "helper", "model": "claude-test", "tools": tools})).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let path = format!("/v1/sessions/{session}/events");
    (server, session, path)
}

fn asked(frames: &[Frame]) -> Vec<String> {
    let calls = frames.iter().filter(|frame| frame.kind() == "agent.custom_tool_use");
    calls
        .inspect(|call| assert_eq!((&call.data["name"], &call.data["question"]), (&json!("ask"), &json!(true))))
        .map(|call| id(&call.data))
        .collect()
}

/// The results that the model was sent last.
fn results(model: &FakeModel) -> Vec<String> {
    let request = model.requests().pop().unwrap();
    let last = request["messages"].as_array().unwrap().last().unwrap().clone();
    let blocks = last["content"].as_array().unwrap().clone();
    assert!(blocks.iter().all(|block| block["type"] == "tool_result" && block["is_error"] == false), "{blocks:?}");
    blocks.iter().map(|block| block["content"][0]["text"].as_str().unwrap().to_owned()).collect()
}

fn tool_names(model: &FakeModel) -> Vec<String> {
    let request = model.requests().pop().unwrap();
    let tools = request["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_question_is_answered_by_what_is_said_next() {
    let answers = [Answer::Calls(vec![question("Which way?"), question("And then?")]), Answer::Text("thank you")];
    let model = FakeModel::start(answers).await;
    let (server, session, path) = session(&model, asking()).await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    assert!(tool_names(&model).contains(&"ask".to_owned()));
    let calls = asked(&frames);
    let stop = |frames: &[Frame]| frames.last().unwrap().data["stop_reason"].clone();
    assert_eq!(stop(&frames), json!({"type": "requires_action", "event_ids": calls}));

    // The oldest question first; each answer is shown as the message that it is, and as the call's result.
    let sent = server.post(&path, json!({"events": [message("left")]})).await.ok();
    assert!(sent["data"][0]["processed_at"].is_string(), "an answer doesn't wait");
    assert_eq!((&sent["data"][0]["type"], &sent["data"][0]["answers"]), (&json!("user.message"), &json!(calls[0])));
    let next = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    let kinds: Vec<&str> = next.iter().map(Frame::kind).filter(|kind| kind.starts_with("user.")).collect();
    assert_eq!(kinds, ["user.message", "user.custom_tool_result"]);
    assert_eq!(next[1].data["custom_tool_use_id"], calls[0]);
    assert_eq!(next[1].data["content"], sent["data"][0]["content"]);
    assert_eq!(stop(&next), json!({"type": "requires_action", "event_ids": [calls[1]]}));

    // Or by its name, as a tool of the client's.
    let result = json!({"type": "user.custom_tool_result", "custom_tool_use_id": calls[1],
        "content": [{"type": "text", "text": "home"}]});
    server.post(&path, json!({"events": [result]})).await.ok();
    let last = server.until(&session, next.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert_eq!(stop(&last)["type"], "end_turn");
    assert_eq!(results(&model), ["left", "home"]);
    assert!(server.engine.backend.started().is_empty(), "nothing ran for it");
    server.post(&path, json!({"events": [result]})).await.problem(400);
}

#[tokio::test]
async fn what_was_said_before_a_question_is_no_answer_to_it() {
    let calls = vec![("bash", json!({"command": "wait"}))];
    let model =
        FakeModel::start([Answer::Calls(calls), Answer::Calls(vec![question("Which way?")]), Answer::Text("ok")]).await;
    let (server, session, path) = session(&model, asking()).await;
    let call = server.engine.backend.wait_started(1).await[0];
    server.say(&session, "by the way").await;
    server.engine.backend.release(call);
    let frames = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(frames.last().unwrap().data["stop_reason"]["event_ids"], json!(asked(&frames)));
    let confirmation = json!({"type": "user.tool_confirmation", "tool_use_id": asked(&frames)[0], "result": "allow"});
    let told = server.post(&path, json!({"events": [confirmation]})).await.problem(400);
    assert!(told.contains("waits for an answer, not for a confirmation"), "{told}");
    // Two at once: the first answers, the second is a message like any other.
    let sent = server.post(&path, json!({"events": [message("right"), message("and thanks")]})).await.ok();
    assert!(sent["data"][0]["processed_at"].is_string());
    assert_eq!(sent["data"][1]["processed_at"], Value::Null);
    let next = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert_eq!(results(&model), ["right"]);
    server.until(&session, next.last().unwrap().id.unwrap(), "session.status_idle").await;
    let request = model.requests().pop().unwrap().to_string();
    assert!(request.contains("by the way") && request.contains("and thanks"), "{request}");
}

#[tokio::test]
async fn a_question_that_asks_nothing_goes_back_to_the_model_and_an_interrupt_ends_one() {
    let empty = ("ask", json!({"question": " "}));
    let model = FakeModel::start([Answer::Calls(vec![empty]), Answer::Calls(vec![question("Which way?")])]).await;
    let (server, session, path) = session(&model, asking()).await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(asked(&frames).len(), 1, "only the one with a text is put to anybody");
    let refused = frames.iter().find(|frame| frame.kind() == "agent.tool_result").unwrap();
    assert_eq!(refused.data["is_error"], true);
    let body = json!({"events": [{"type": "user.interrupt"}, message("forget it")]});
    server.post(&path, body).await.ok();
    let next = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    let end = next.iter().find(|frame| frame.kind() == "agent.tool_result").unwrap();
    assert_eq!(end.data["content"][0]["text"], "interrupted by the user, who gave no answer");
}

#[tokio::test]
async fn it_is_off_unless_a_toolset_switches_it_on_by_name() {
    let model = FakeModel::start([Answer::Text("hello")]).await;
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let toolset = |more: Value| {
        let mut toolset = json!({"type": "agent_toolset_20260401"});
        toolset.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        toolset
    };
    let custom = json!({"type": "custom", "name": "ask", "description": "mine", "input_schema": {"type": "object"}});
    let on = json!({"configs": [{"name": "ask", "enabled": true}]});
    let off = json!({"configs": [{"name": "ask"}]});
    for (at, (tools, offered)) in [
        (json!([toolset(json!({}))]), 0),
        (json!([toolset(json!({"default_config": {"enabled": true}}))]), 0),
        (json!([toolset(off.clone())]), 0),
        (json!([toolset(on.clone())]), 1),
        (
            json!([toolset(
                json!({"default_config": {"permission_policy": {"type": "always_ask"}}, "configs": on["configs"]})
            )]),
            1,
        ),
        // A tool of the client's may have the name as long as this one is off.
        (json!([toolset(off), custom]), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({"name": format!("helper {at}"), "model": "claude-test", "tools": tools});
        let session = server.session(&server.agent_with(body).await).await;
        server.say(&session, "hello").await;
        server.until(&session, 0, "session.status_idle").await;
        assert_eq!(tool_names(&model).iter().filter(|name| *name == "ask").count(), offered, "{tools}");
    }
    let asks = json!({"configs": [{"name": "ask", "enabled": true, "permission_policy": {"type": "always_ask"}}]});
    for (tools, expected) in [
        (json!([toolset(on.clone()), custom]), "tools.1.name: `ask` is the name of a built-in tool"),
        (json!([custom, toolset(on)]), "tools.1.configs: `ask` is the name of another tool"),
        (json!([toolset(asks)]), "tools.0.configs.0.permission_policy: expected `always_allow`"),
    ] {
        let body = json!({"name": "helper", "model": "claude-test", "tools": tools});
        let told = server.post("/v1/agents", body).await.problem(400);
        assert!(told.starts_with(expected), "{told}");
    }
}
