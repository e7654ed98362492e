//! Snapshots, forks, rewinds and clones, by the API.

use serde_json::{Value, json};

use crate::support::{Frame, TestServer, id, ids};

const STEPS: [&str; 2] = ["{tools: [{name: bash, input: {command: ls}}]}", "text: done"];

/// One turn with a call; the cursor of its end, and the id of the event that says so.
async fn turn(server: &TestServer, session: &str, text: &str) -> (u64, String) {
    let after = cursor(server, session).await;
    server.say(session, text).await;
    let mut stream =
        server.stream(&format!("/v1/sessions/{session}/events/stream?after={after}&tenure_events=1"), &[]).await;
    let told = stream.until("session.status_idle").await;
    let end = told.last().expect("it became idle").clone();
    stream.until("tenure.snapshot_ended").await;
    (place(&end), end.data["id"].as_str().expect("an id").to_owned())
}

fn place(frame: &Frame) -> u64 {
    frame.id.expect("a cursor")
}

async fn cursor(server: &TestServer, session: &str) -> u64 {
    let session = server.get(&format!("/v1/sessions/{session}")).await.ok();
    session["tenure"]["cursor"].as_str().expect("a cursor").parse().expect("a number")
}

/// The texts of what people said, as events are listed.
async fn said(server: &TestServer, session: &str, query: &str) -> Vec<String> {
    let path = format!("/v1/sessions/{session}/events?types[]=user.message{query}");
    let listed = server.get(&path).await.ok();
    let text = |event: &Value| event["content"][0]["text"].as_str().expect("a text").to_owned();
    listed["data"].as_array().expect("a list").iter().map(text).collect()
}

#[tokio::test]
async fn a_session_is_forked_at_every_kind_of_place() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &STEPS).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    let (first, event) = turn(&server, &session, "first").await;
    let named = server.post(&format!("{path}/snapshots"), json!({"name": "before"})).await.ok();
    assert_eq!(
        (&named["type"], &named["name"], &named["how"]),
        (&json!("snapshot"), &json!("before"), &json!("sealed"))
    );
    let (second, _) = turn(&server, &session, "second").await;
    for (at, texts) in [
        (json!({"at": first}), 1),
        (json!({"at": first.to_string()}), 1),
        (json!({"at": event}), 1),
        (json!({"at": "before"}), 1),
        (json!({"at": id(&named)}), 1),
        (json!({"at": second, "title": "another try"}), 2),
        (json!({}), 2),
    ] {
        let fork = server.post(&format!("{path}/fork"), at.clone()).await.ok();
        assert_eq!(fork["status"], "idle");
        assert_eq!(fork["tenure"]["forked_from"]["session_id"], json!(session));
        assert_eq!(fork["title"], at.get("title").cloned().unwrap_or(Value::Null));
        assert_eq!(fork["usage"]["input_tokens"], 0);
        assert_eq!(said(&server, &id(&fork), "").await.len(), texts, "{at}");
    }
    let before = server.get(&format!("{path}/events")).await.ok();
    let fork = server.post(&format!("{path}/fork"), json!({"at": second})).await.ok();
    let copied = server.get(&format!("/v1/sessions/{}/events", id(&fork))).await.ok();
    assert_eq!(ids(&copied), ids(&before), "items keep their ids");
    // Ours are sent only to who asks for them.
    let ours = server.get(&format!("/v1/sessions/{}/events?tenure_events=1", id(&fork))).await.ok();
    let forked =
        ours["data"].as_array().expect("a list").iter().filter(|event| event["type"] == "tenure.session_forked");
    assert_eq!(forked.count(), 1);

    assert!(server.post(&format!("{path}/fork"), json!({"at": first + 1})).await.problem(400).starts_with("at: "));
    for wrong in
        [json!({"at": 0}), json!({"at": "nothing"}), json!({"at": true}), json!({"at": "snap_x"}), json!({"files": 1})]
    {
        server.post(&format!("{path}/fork"), wrong).await.problem(400);
    }
    server.post("/v1/sessions/sesn_1111111111111111111111/fork", json!({})).await.problem(404);
}

#[tokio::test]
async fn a_fork_with_a_key_is_made_once() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &STEPS).await;
    let session = server.session(&agent).await;
    turn(&server, &session, "first").await;
    let path = format!("/v1/sessions/{session}/fork");
    let one = server.post_with(&path, json!({}), &[("idempotency-key", "once")]).await.ok();
    let two = server.post_with(&path, json!({}), &[("idempotency-key", "once")]).await.ok();
    assert_eq!(id(&one), id(&two));
    assert_eq!(ids(&server.get("/v1/sessions").await.ok()).len(), 2);
}

#[tokio::test]
async fn a_rewind_leaves_out_what_it_went_back_on() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &STEPS).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    let (first, _) = turn(&server, &session, "first").await;
    let (second, _) = turn(&server, &session, "second").await;
    let rewound = server.post(&format!("{path}/rewind"), json!({"to": first})).await.ok();
    assert_eq!((&rewound["status"], &rewound["tenure"]["rewinds"]), (&json!("idle"), &json!(1)));
    assert_eq!(said(&server, &session, "").await, ["first"]);
    turn(&server, &session, "third").await;
    assert_eq!(said(&server, &session, "").await, ["first", "third"]);
    assert_eq!(said(&server, &session, "&order=desc").await, ["third", "first"]);
    assert_eq!(said(&server, &session, "&include_rewound=1").await, ["first", "second", "third"]);

    // With all of it, the list is the stream.
    let listed = server.get(&format!("{path}/events?include_rewound=1&tenure_events=1")).await.ok();
    let end = cursor(&server, &session).await;
    let mut stream = server.stream(&format!("{path}/events/stream?after=0&tenure_events=1"), &[]).await;
    let mut streamed: Vec<String> = Vec::new();
    loop {
        let frame = stream.next().await.expect("it goes on");
        streamed.push(frame.data["id"].as_str().expect("an id").to_owned());
        if place(&frame) == end {
            break;
        }
    }
    streamed.dedup();
    assert_eq!(ids(&listed), streamed);

    let back = server.post(&format!("{path}/rewind"), json!({"to": second})).await.ok();
    assert_eq!(back["tenure"]["rewinds"], 2);
    assert_eq!(said(&server, &session, "").await, ["first", "second"]);
    server.post(&format!("{path}/rewind"), json!({})).await.problem(400);
    assert!(server.post(&format!("{path}/rewind"), json!({"to": 3})).await.problem(400).contains("nearest"));
}

#[tokio::test]
async fn a_session_that_works_is_not_rewound_and_its_files_not_named() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    assert!(server.post(&format!("{path}/snapshots"), json!({"name": "x"})).await.problem(409).contains("interrupt"));
    server.post(&format!("{path}/rewind"), json!({"to": 2})).await.problem(400);
    server.engine.backend.release(call);
    server.until(&session, 0, "tenure.snapshot_ended").await;
    server.post(&format!("{path}/snapshots"), json!({"name": "x"})).await.ok();
    server.post(&format!("{path}/snapshots"), json!({"name": "x"})).await.problem(409);
    for wrong in ["", "a/b", "7", "snap_1"] {
        assert!(
            server.post(&format!("{path}/snapshots"), json!({"name": wrong})).await.problem(400).starts_with("name: ")
        );
    }
    let listed = server.get(&format!("{path}/snapshots")).await.ok();
    let names: Vec<Value> =
        listed["data"].as_array().expect("a list").iter().map(|kept| kept["name"].clone()).collect();
    assert_eq!(names, [Value::Null, json!("x")]);
    server.delete(&format!("{path}/snapshots/x")).await.ok();
    server.delete(&format!("{path}/snapshots/x")).await.problem(404);
    assert_eq!(ids(&server.get(&format!("{path}/snapshots")).await.ok()).len(), 1);
    // Also of a stopped session.
    server.post(&format!("{path}/stop"), json!({})).await.ok();
    server.until(&session, 0, "tenure.sandbox_absent").await;
    server.post(&format!("{path}/snapshots"), json!({"name": "stopped"})).await.ok();
}

#[tokio::test]
async fn a_clone_is_set_up_the_same() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &STEPS).await;
    let session = server.session(&agent).await;
    server.post(&format!("/v1/sessions/{session}"), json!({"title": "mine", "metadata": {"a": "b"}})).await.ok();
    turn(&server, &session, "first").await;
    let clone = server.post(&format!("/v1/sessions/{session}/clone"), json!({"files": true})).await.ok();
    assert_eq!((&clone["title"], &clone["metadata"]), (&json!("mine"), &json!({"a": "b"})));
    assert_eq!(clone["agent"]["id"], json!(agent));
    assert_eq!(clone["tenure"]["forked_from"]["what"], "clone");
    assert_eq!(ids(&server.get(&format!("/v1/sessions/{}/events", id(&clone))).await.ok()), Vec::<String>::new());
    turn(&server, &id(&clone), "hello").await;
}
