//! `system.message`: what whoever runs the agent says in mid-conversation.

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{TestServer, ids, message};

fn instructions(text: &str) -> Value {
    json!({"type": "system.message", "content": [{"type": "text", "text": text}]})
}

/// A session with this model, which has a tool of the client's; the path of its events.
async fn session(fake: &FakeModel, model: &str) -> (TestServer, String, String) {
    let server = TestServer::with(Some(&fake.url), ServerConfig::default()).await;
    let weather =
        json!({"type": "custom", "name": "weather", "description": "tells it", "input_schema": {"type": "object"}});
    let tools = json!([{"type": "agent_toolset_20260401"}, weather]);
    let agent = server.agent_with(json!({"name": "helper", "model": model, "system": "be kind", "tools": tools})).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    (server, session, path)
}

/// The roles and the first texts of what the model was sent last.
fn sent(fake: &FakeModel) -> Vec<(String, Vec<String>)> {
    let request = fake.requests().pop().unwrap();
    assert_eq!(request["system"][0]["text"], "be kind", "the agent's own stays as it is");
    let text = |block: &Value| block["text"].as_str().unwrap_or(block["type"].as_str().unwrap()).to_owned();
    let messages = request["messages"].as_array().unwrap().iter();
    messages
        .map(|message| {
            let texts = message["content"].as_array().unwrap().iter().map(text).collect();
            (message["role"].as_str().unwrap().to_owned(), texts)
        })
        .collect()
}

fn said(role: &str, texts: &[&str]) -> (String, Vec<String>) {
    (role.to_owned(), texts.iter().map(|&text| text.to_owned()).collect())
}

#[tokio::test]
async fn instructions_stand_behind_what_they_came_with() {
    let fake = FakeModel::start([
        Answer::Text("hello"),
        Answer::Calls(vec![("weather", json!({})), ("weather", json!({}))]),
        Answer::Text("it is"),
    ])
    .await;
    let (server, session, path) = session(&fake, "claude-sonnet-5").await;
    // Alone, to an idle session: recorded, and no turn begins.
    let alone = server.post(&path, json!({"events": [instructions("be brief")]})).await.ok();
    assert_eq!(
        (&alone["data"][0]["type"], alone["data"][0]["processed_at"].is_string()),
        (&json!("system.message"), true)
    );
    assert_eq!(server.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
    let both = server.post(&path, json!({"events": [message("hi"), instructions("speak Latin")]})).await.ok();
    assert_eq!(both["data"][1]["content"], json!([{"type": "text", "text": "speak Latin"}]));
    let frames = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(fake.requests().len(), 1);
    assert_eq!(sent(&fake), [said("user", &["hi"]), said("system", &["be brief", "speak Latin"])]);

    // Behind a result, while another is still waited for: when the model is asked next.
    server.say(&session, "the weather?").await;
    let frames = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    let calls = frames.last().unwrap().data["stop_reason"]["event_ids"].clone();
    let result = |at: usize| json!({"type": "user.custom_tool_result", "custom_tool_use_id": calls[at]});
    for wrong in [json!([instructions("now")]), json!([message("and"), instructions("now")])] {
        let told = server.post(&path, json!({"events": wrong})).await.problem(400);
        assert!(told.contains("only right after that"), "{told}");
    }
    let first = server.post(&path, json!({"events": [result(0), instructions("don't guess")]})).await.ok();
    assert_eq!(first["data"][1]["processed_at"], Value::Null);
    let queue = server.get(&format!("/v1/sessions/{session}/queue")).await.ok();
    assert_eq!(ids(&queue), ids(&first)[1..]);
    server.post(&path, json!({"events": [result(1)]})).await.ok();
    let last = server.until(&session, frames.last().unwrap().id.unwrap(), "agent.message").await;
    assert!(
        last.iter().any(|frame| frame.data["id"] == first["data"][1]["id"] && frame.data["processed_at"].is_string())
    );
    let sent = sent(&fake);
    assert_eq!(
        sent[sent.len() - 2..],
        [said("user", &["tool_result", "tool_result"]), said("system", &["don't guess"])]
    );
    let listed = server.get(&format!("{path}?types[]=system.message")).await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 3);
    let threads = server.get(&format!("/v1/sessions/{session}/threads")).await.ok();
    let thread = threads["data"][0]["id"].as_str().unwrap();
    let told = server.get(&format!("/v1/sessions/{session}/threads/{thread}/events?types[]=system.message")).await.ok();
    assert_eq!(told["data"], listed["data"]);
}

#[tokio::test]
async fn instructions_wait_steer_and_are_taken_back_with_their_message() {
    let wait = || Answer::Calls(vec![("bash", json!({"command": "wait"}))]);
    let fake = FakeModel::start([wait(), wait(), Answer::Text("done")]).await;
    let (server, session, path) = session(&fake, "claude-sonnet-5").await;
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    let told = server.post(&path, json!({"events": [instructions("now")]})).await.problem(400);
    assert!(told.contains("by itself only when the session is idle"), "{told}");
    let mut steering = message("rather so");
    steering["delivery"] = json!("steer");
    server.post(&path, json!({"events": [steering, instructions("be brief")]})).await.ok();
    let later = server.post(&path, json!({"events": [message("later"), instructions("be long")]})).await.ok();
    server.engine.backend.release(call);
    let call = server.engine.backend.wait_started(2).await[1];
    assert_eq!(sent(&fake)[2..], [said("user", &["tool_result", "rather so"]), said("system", &["be brief"])]);
    // Its message is taken back, and they with it.
    server.delete(&format!("/v1/sessions/{session}/queue/{}", ids(&later)[0])).await.ok();
    server.engine.backend.release(call);
    let frames = server.until(&session, 0, "session.status_idle").await;
    server.say(&session, "and?").await;
    server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    assert_eq!(fake.requests().len(), 4, "one for each turn and result");
    let sent = sent(&fake);
    assert_eq!(sent[sent.len() - 2..], [said("assistant", &["done"]), said("user", &["and?"])]);
}

#[tokio::test]
async fn it_is_the_last_of_its_request_and_for_models_that_take_it() {
    let fake = FakeModel::start([Answer::Text("hello")]).await;
    let (server, _, path) = session(&fake, "claude-sonnet-5").await;
    for events in [
        json!([instructions("a"), message("b")]),
        json!([message("b"), instructions("a"), instructions("c")]),
        json!([{"type": "user.interrupt"}, instructions("a")]),
    ] {
        let told = server.post(&path, json!({"events": events})).await.problem(400);
        assert!(told.contains(".type: expected a `system.message` as the last event"), "{told}");
    }
    assert_eq!(server.get(&path).await.ok()["data"], json!([]), "nothing was half done");
    for (model, takes) in
        [("claude-opus-4-7", false), ("claude-opus-4-8", true), ("openai/qwen3", true), ("script/demo", true)]
    {
        let agent = server.agent_with(json!({"name": model, "model": model})).await;
        let path = format!("/v1/sessions/{}/events", server.session(&agent).await);
        let answer = server.post(&path, json!({"events": [instructions("be brief")]})).await;
        match takes {
            true => drop(answer.ok()),
            false => {
                let told = answer.problem(400);
                assert!(told.starts_with("events.0.type: model_does_not_support_mid_conversation_system: "), "{told}");
            }
        }
    }
}
