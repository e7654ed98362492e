//! `/v1/sessions/{id}/events`: sending and listing.

use serde_json::{Value, json};

use crate::support::{TestServer, ids, message};

fn types(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_was_sent_is_echoed_as_it_is_now() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let blocks = json!([
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "url", "url": "https://a.b/c.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "d"}, "title": "t"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
    ]);
    let sent = server.post(&path, json!({"events": [{"type": "user.message", "content": blocks}]})).await.ok();
    assert_eq!(sent["data"][0]["content"], blocks);
    assert!(sent["data"][0]["processed_at"].is_string(), "it was taken up at once");
    let call = server.engine.backend.wait_started(1).await[0];
    let sent = server.post(&path, json!({"events": [message("a"), message("b")]})).await.ok();
    assert_eq!(sent["data"][1]["processed_at"], Value::Null, "it waits");
    let queued = ids(&sent);

    let listed = server.get(&path).await.ok();
    assert_eq!(ids(&listed)[ids(&listed).len() - 2..], queued, "queued ones are last");
    let newest = server.get(&format!("{path}?order=desc&limit=1")).await.ok();
    assert_eq!(ids(&newest), queued[1..]);
    server.engine.backend.release(call);
    server.until(&session, 0, "session.status_idle").await;
    let messages = server.get(&format!("{path}?types[]=user.message")).await.ok();
    assert_eq!(messages["data"][0]["content"], blocks, "contents come back from their blobs");
}

#[tokio::test]
async fn the_list_is_the_stream_without_repetitions() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    server.say(&session, "first").await;
    let call = server.engine.backend.wait_started(1).await[0];
    server.say(&session, "second").await;
    server.engine.backend.release(call);
    let call = server.engine.backend.wait_started(2).await[1];
    server.engine.backend.release(call);
    let mut stream = server.stream(&format!("/v1/sessions/{session}/events/stream?after=0"), &[]).await;
    let mut told = stream.until("session.status_idle").await;
    told.extend(stream.until("session.status_idle").await);
    let mut last: Vec<Value> = Vec::new();
    for frame in &told {
        last.retain(|event| event["id"] != frame.data["id"]);
        last.push(frame.data.clone());
    }
    assert!(last.len() < told.len(), "a queued message is told twice");
    let listed = server.get(&format!("/v1/sessions/{session}/events")).await.ok();
    assert_eq!(listed["data"], json!(last));
    assert_eq!(listed["next_page"], Value::Null);
}

#[tokio::test]
async fn lists_page_and_filter() {
    let server = TestServer::start().await;
    let agent =
        server.agent("worker", &["{thinking: hm, tools: [{name: bash, input: {command: ls}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    server.until(&session, 0, "session.status_idle").await;
    let path = format!("/v1/sessions/{session}/events");
    let all = server.get(&path).await.ok();
    for order in ["asc", "desc"] {
        let mut paged = Vec::new();
        let mut page = server.get(&format!("{path}?order={order}&limit=3")).await.ok();
        loop {
            paged.extend(ids(&page));
            let Some(next) = page["next_page"].as_str() else { break };
            page = server.get(&format!("{path}?order={order}&limit=3&page={next}")).await.ok();
        }
        if order == "desc" {
            paged.reverse();
        }
        assert_eq!(paged, ids(&all), "{order}");
    }
    let tools = server.get(&format!("{path}?types%5B%5D=agent.tool_use&types[]=agent.tool_result&limit=1")).await.ok();
    assert_eq!(types(&tools), ["agent.tool_use"]);
    let next = tools["next_page"].as_str().unwrap();
    let rest = server.get(&format!("{path}?types[]=agent.tool_use&types[]=agent.tool_result&page={next}")).await.ok();
    assert_eq!(types(&rest), ["agent.tool_result"]);
    assert_eq!(types(&server.get(&format!("{path}?types[]=agent.mcp_tool_use")).await.ok()), [""; 0]);
    assert_eq!(types(&server.get(&format!("{path}?types[]=user.interrupt")).await.ok()), [""; 0]);
    let ours = server.get(&format!("{path}?tenure_events=1")).await.ok();
    assert!(types(&ours).contains(&"tenure.sandbox_running"));
    assert!(types(&all).iter().all(|kind| !kind.starts_with("tenure.")), "ours are told on request only");
    assert_eq!(types(&server.get(&format!("{path}?created_at[gt]=2030-01-01T00:00:00Z")).await.ok()), [""; 0]);
    let message = server.get(&format!("{path}?order=desc&page={next}")).await.problem(400);
    assert!(message.starts_with("page: "), "{message}");
    for wrong in ["types[]=agent.song", "limit=0", "limit=1001", "order=sideways", "page=page_x", "created_at[gt]=x"] {
        server.get(&format!("{path}?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn a_call_waits_for_a_yes() {
    let server = TestServer::start().await;
    server
        .engine
        .script("asker", &tenure_testkit::script(&["{tools: [{name: bash, input: {command: ls}}]}", "text: done"]));
    let ask = json!({"enabled": true, "permission_policy": {"type": "always_ask"}});
    let agent = server
        .agent_with(json!({"name": "asker", "model": "script/asker",
            "tools": [{"type": "agent_toolset_20260401", "default_config": ask}]}))
        .await;
    for (result, is_error) in [("allow", false), ("deny", true)] {
        let session = server.session(&agent).await;
        let path = format!("/v1/sessions/{session}/events");
        server.say(&session, "go").await;
        let frames = server.until(&session, 0, "session.status_idle").await;
        let call = frames.iter().find(|frame| frame.kind() == "agent.tool_use").unwrap();
        assert_eq!(call.data["evaluated_permission"], "ask");
        let stop = &frames.last().unwrap().data["stop_reason"];
        assert_eq!(*stop, json!({"type": "requires_action", "event_ids": [call.data["id"]]}));

        let wrong = json!({"events": [{"type": "user.custom_tool_result", "custom_tool_use_id": call.data["id"]}]});
        assert!(server.post(&path, wrong).await.problem(400).contains("waits for a confirmation"));
        let mut answer = json!({"type": "user.tool_confirmation", "tool_use_id": call.data["id"], "result": result});
        if result == "deny" {
            answer["deny_message"] = json!("not now");
        }
        let sent = server.post(&path, json!({"events": [answer]})).await.ok();
        assert!(sent["data"][0]["processed_at"].is_string());
        let frames = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
        let result = frames.iter().find(|frame| frame.kind() == "agent.tool_result").unwrap();
        assert_eq!(result.data["is_error"], is_error);
        assert_eq!(result.data["tool_use_id"], call.data["id"]);
        server.post(&path, json!({"events": [answer]})).await.problem(400);
    }
}

#[tokio::test]
async fn a_call_that_nobody_was_asked_about_takes_no_answer() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    let path = format!("/v1/sessions/{session}/events");
    for result in ["allow", "deny"] {
        let answer = json!({"type": "user.tool_confirmation", "tool_use_id": call.prefixed(), "result": result});
        let told = server.post(&path, json!({"events": [answer]})).await.problem(400);
        assert!(told.contains("waits for its own end, not for a confirmation"), "{told}");
    }
    server.engine.backend.release(call);
    server.until(&session, 0, "session.status_idle").await;
}

#[tokio::test]
async fn clients_run_their_own_tools() {
    let server = TestServer::start().await;
    server.engine.script(
        "asker",
        &tenure_testkit::script(&[
            "{tools: [{name: weather, input: {at: Rome}}]}",
            "text: 'it is {{last_tool_result}}'",
        ]),
    );
    let agent = server
        .agent_with(json!({"name": "asker", "model": "script/asker", "tools": [{"type": "custom", "name": "weather",
            "description": "tells it", "input_schema": {"type": "object"}}]}))
        .await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    let call = frames.iter().find(|frame| frame.kind() == "agent.custom_tool_use").unwrap();
    assert_eq!((&call.data["name"], &call.data["input"]), (&json!("weather"), &json!({"at": "Rome"})));
    let content = json!([{"type": "text", "text": "sunny"}, {"type": "search_result", "source": "https://a", "title": "t",
        "content": [{"type": "text", "text": "p"}], "citations": {"enabled": true}}]);
    let result = json!({"type": "user.custom_tool_result", "custom_tool_use_id": call.data["id"], "content": content});
    let sent = server.post(&format!("/v1/sessions/{session}/events"), json!({"events": [result]})).await.ok();
    assert_eq!(sent["data"][0]["content"], content);
    let frames = server.until(&session, frames.last().unwrap().id.unwrap(), "session.status_idle").await;
    let said = frames.iter().find(|frame| frame.kind() == "agent.message").unwrap();
    assert!(said.data["content"][0]["text"].as_str().unwrap().starts_with("it is sunny"), "{said:?}");
}

#[tokio::test]
async fn an_interrupt_ends_the_turn_and_the_next_message_begins_one() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    server.engine.backend.wait_started(1).await;
    let path = format!("/v1/sessions/{session}/events");
    let body = json!({"events": [{"type": "user.interrupt"}]});
    server.post(&path, body).await.ok();
    let frames = server.until(&session, 0, "session.status_idle").await;
    assert_eq!(frames.last().unwrap().data["stop_reason"]["type"], "end_turn");
    let thread = frames.iter().find_map(|frame| frame.data["session_thread_id"].as_str()).unwrap().to_owned();
    server.post(&path, json!({"events": [{"type": "user.interrupt", "session_thread_id": thread}]})).await.ok();
    let other = json!({"events": [{"type": "user.interrupt", "session_thread_id": "sthr_1111111111111111111111"}]});
    assert!(server.post(&path, other).await.problem(400).starts_with("events.0.session_thread_id: no thread"));
}

#[tokio::test]
async fn wrong_events_are_refused_all_or_nothing() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    let image = |source: Value| json!({"type": "user.message", "content": [{"type": "image", "source": source}]});
    let nobody = "sevt_1111111111111111111111";
    let cases = [
        (json!({"type": "user.song"}), "events.1.type: expected `user.message`"),
        (json!({"content": []}), "events.1.type: expected a string, but the field is missing"),
        (json!("hi"), "events.1: expected an object, got `hi`"),
        (
            json!({"type": "user.message", "content": "hi"}),
            "events.1.content: expected a list of content blocks such as",
        ),
        (json!({"type": "user.message", "content": []}), "events.1.content: expected at least one block"),
        (json!({"type": "user.message", "content": [{"type": "redacted"}]}), "events.1.content.0.type: "),
        (
            json!({"type": "user.message", "content": [{"type": "text", "text": 1}]}),
            "events.1.content.0.text: expected a string, got 1",
        ),
        (json!({"type": "user.message", "content": [{"type": "search_result"}]}), "events.1.content.0.type: "),
        (image(json!({"type": "file", "file_id": "file_1"})), "events.1.content.0.source.type: files are"),
        (image(json!({"type": "url", "url": "http://a"})), "events.1.content.0.source.url: "),
        (
            image(json!({"type": "base64", "media_type": "image/tiff", "data": "aGk="})),
            "events.1.content.0.source.media_type: ",
        ),
        (
            image(json!({"type": "base64", "media_type": "image/png", "data": "a b"})),
            "events.1.content.0.source.data: expected base64",
        ),
        (json!({"type": "user.tool_confirmation", "tool_use_id": nobody, "result": "allow"}), "no open tool call"),
        (
            json!({"type": "user.tool_confirmation", "tool_use_id": "toolu_1", "result": "allow"}),
            "events.1.tool_use_id: expected an id",
        ),
        (
            json!({"type": "user.tool_confirmation", "tool_use_id": nobody, "result": "allow", "deny_message": "x"}),
            "events.1.deny_message: ",
        ),
        (json!({"type": "user.custom_tool_result", "custom_tool_use_id": nobody}), "no open tool call"),
        (json!({"type": "system.message", "content": []}), "events.1.content: expected at least one block"),
        (
            json!({"type": "system.message", "content": [{"type": "image", "source": {}}]}),
            "events.1.content.0.type: expected `text`, got `image`",
        ),
        (json!({"type": "system.message", "content": [{"type": "text", "text": ""}]}), "events.1.content.0.text: "),
        (json!({"type": "user.define_outcome"}), "events.1.type: outcomes are"),
        (json!({"type": "user.tool_result", "tool_use_id": nobody}), "events.1.type: results of built-in tools"),
    ];
    for (event, expected) in cases {
        let message = server.post(&path, json!({"events": [message("fine"), event]})).await.problem(400);
        assert!(message.starts_with(expected), "{event}: {message}");
    }
    server.post(&path, json!({"events": []})).await.problem(400);
    server.post(&path, json!({})).await.problem(400);
    assert_eq!(server.get(&path).await.ok()["data"], json!([]), "nothing was half done");
}

#[tokio::test]
async fn more_input_than_may_wait_is_told_to_come_again() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/events");
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    let some: Vec<Value> = (0..100).map(|_| message("and this")).collect();
    for _ in 0..10 {
        server.post(&path, json!({"events": some})).await.ok();
    }
    let refused = server.post(&path, json!({"events": [message("too much")]})).await;
    assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok_and(|seconds| seconds > 0)));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    refused.problem(429);
    let status = server.get("/v1/tenure/status").await.ok();
    assert_eq!(status["sandbox_room"]["in_use"], 1);
    assert_eq!((&status["model_requests"]["limit"], &status["model_requests"]["waiting"]), (&json!(256), &json!(0)));
    server.engine.backend.release(call);
    server.until(&session, 0, "session.status_idle").await;
}
