//! Conversations that are too long for their model, and replies that are, as clients see them.

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{Frame, TestServer};

const TOO_LONG: &str =
    r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#;

/// A session with this model, and its first turn done; where that ended.
async fn session(model: &FakeModel) -> (TestServer, String, u64) {
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let agent = server.agent_with(json!({"name": "helper", "model": "claude-test"})).await;
    let session = server.session(&agent).await;
    server.say(&session, &"a long question ".repeat(200)).await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    let cursor = frames.last().unwrap().id.unwrap();
    (server, session, cursor)
}

fn counted(text: &str, stop: &'static str) -> Answer {
    Answer::Counted { text: text.to_owned(), input_tokens: 1_000, stop }
}

#[tokio::test]
async fn a_compaction_is_an_event_between_two_requests() {
    let too_long = || Answer::Status(400, vec![], TOO_LONG);
    let answers = [counted("a long answer", "end_turn"), too_long(), Answer::Text("in short"), Answer::Text("done")];
    let model = FakeModel::start(answers).await;
    let (server, session, cursor) = session(&model).await;
    server.say(&session, "and now?").await;
    let frames = server.until(&session, cursor, "session.status_idle").await;
    let kinds: Vec<&str> = frames.iter().map(Frame::kind).collect();
    assert_eq!(
        kinds,
        [
            "session.status_running",
            "session.thread_status_running",
            "user.message",
            "span.model_request_start",
            "span.model_request_end",
            "span.model_request_start",
            "span.model_request_end",
            "agent.thread_context_compacted",
            "span.model_request_start",
            "agent.message",
            "span.model_request_end",
            "session.thread_status_idle",
            "session.usage",
            "session.status_idle",
        ]
    );
    assert_eq!((&frames[4].data["is_error"], &frames[6].data["is_error"]), (&json!(true), &json!(false)));
    assert_eq!(frames[4].data["model_usage"]["input_tokens"], 0, "what was refused wasn't read");
    assert_eq!(frames[7].data["summary"], "in short");

    // All that was said is listed, the summary as what it is.
    let listed = server.get(&format!("/v1/sessions/{session}/events?limit=1000")).await.ok();
    let of = |kind: &str| listed["data"].as_array().unwrap().iter().filter(|event| event["type"] == kind).count();
    assert_eq!((of("user.message"), of("agent.message"), of("agent.thread_context_compacted")), (2, 2, 1));
    let only = server.get(&format!("/v1/sessions/{session}/events?types[]=agent.thread_context_compacted")).await.ok();
    assert_eq!(only["data"].as_array().unwrap().len(), 1);
    let sent = model.requests().pop().unwrap();
    assert!(sent.to_string().contains("in short") && !sent.to_string().contains("a long question"), "{sent}");
}

#[tokio::test]
async fn replies_that_are_cut_off_again_and_again_end_the_turn_with_an_error() {
    let model = FakeModel::start([counted("so far", "max_tokens")]).await;
    let (server, session, cursor) = session(&model).await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    let said = frames.iter().filter(|frame| frame.kind() == "agent.message").count();
    assert_eq!((said, model.requests().len()), (4, 4));
    let error = frames.iter().find(|frame| frame.kind() == "session.error").unwrap();
    assert_eq!(error.data["error"]["type"], "model_request_failed_error");
    assert!(error.data["error"]["message"].as_str().unwrap().contains("max_tokens"), "{error:?}");
    assert_eq!(error.data["error"]["retry_status"]["type"], "exhausted");
    assert_eq!(frames.last().unwrap().data["stop_reason"]["type"], "retries_exhausted");
    server.say(&session, "and now?").await;
    server.until(&session, cursor, "session.status_idle").await;
}

#[tokio::test]
async fn a_reply_that_says_nothing_leaves_nothing_in_the_next_request() {
    let model = FakeModel::start([counted("", "end_turn"), counted("", "refusal"), counted("here", "end_turn")]).await;
    let (server, session, mut cursor) = session(&model).await;
    let mut stops = Vec::new();
    for text in ["and now?", "please"] {
        server.say(&session, text).await;
        let frames = server.until(&session, cursor, "session.status_idle").await;
        let idle = frames.last().unwrap();
        cursor = idle.id.unwrap();
        stops.push((idle.data["stop_reason"]["type"].clone(), idle.data["stop_details"]["type"].clone()));
    }
    assert_eq!(stops, [(json!("refusal"), json!("refusal")), (json!("end_turn"), Value::Null)]);
    let sent = model.requests().pop().unwrap();
    let roles: Vec<&Value> = sent["messages"].as_array().unwrap().iter().map(|message| &message["role"]).collect();
    assert_eq!(roles, ["user"], "{sent}");
    assert_eq!(sent["messages"][0]["content"].as_array().unwrap().len(), 3, "{sent}");
}
