//! `/v1/sessions/{id}/threads`: the primary thread.

use serde_json::{Value, json};

use crate::support::{TestServer, id, ids, normal};

async fn primary(server: &TestServer, session: &str) -> Value {
    let listed = server.get(&format!("/v1/sessions/{session}/threads")).await.ok();
    assert_eq!((&listed["next_page"], listed.get("prev_page")), (&Value::Null, None));
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    listed["data"][0].clone()
}

#[tokio::test]
async fn the_primary_thread_is_shown_whole() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let fresh = primary(&server, &session).await;
    crate::assert_snapshot!("thread.json", normal(&format!("{fresh:#}\n")));
    assert_eq!((&fresh["stats"], &fresh["usage"]), (&Value::Null, &Value::Null), "until its first turn");

    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    let path = format!("/v1/sessions/{session}/threads/{}", id(&fresh));
    let working = server.get(&path).await.ok();
    assert_eq!(working["status"], "running");
    assert!(working["stats"]["duration_seconds"].is_number() && working["usage"]["input_tokens"].is_number());
    server.engine.backend.release(call);
    let told = server.until(&session, 0, "session.status_idle").await;
    let idle = server.get(&path).await.ok();
    assert_eq!(idle["status"], "idle");
    assert_eq!(primary(&server, &session).await, idle);
    for frame in told.iter().filter(|frame| frame.kind().starts_with("session.thread_")) {
        assert_eq!(frame.data["session_thread_id"], fresh["id"]);
    }

    server.post(&format!("/v1/sessions/{session}/archive"), json!({})).await.ok();
    server.until(&session, 0, "session.status_terminated").await;
    let over = server.get(&path).await.ok();
    assert_eq!(over["status"], "terminated");
    assert!(over["archived_at"].is_string());
}

#[tokio::test]
async fn its_events_are_the_sessions() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}/threads/{}", id(&primary(&server, &session).await));
    let mut live = server.stream(&format!("{path}/stream?event_deltas[]=agent.message"), &[]).await;
    server.say(&session, "hi").await;
    let kinds: Vec<_> = live.until("session.status_idle").await.iter().map(|frame| frame.kind().to_owned()).collect();
    assert!(kinds.contains(&"event_delta".to_owned()), "{kinds:?}");

    let all = server.get(&format!("/v1/sessions/{session}/events")).await.ok();
    assert_eq!(server.get(&format!("{path}/events")).await.ok(), all);
    let first = server.get(&format!("{path}/events?limit=2")).await.ok();
    let next = first["next_page"].as_str().unwrap();
    let second = server.get(&format!("{path}/events?limit=1000&page={next}")).await.ok();
    assert_eq!([ids(&first), ids(&second)].concat(), ids(&all));
    let again = server.stream(&format!("{path}/stream?after=0"), &[]).await.until("session.status_idle").await;
    assert_eq!(again.len(), ids(&all).len());
}

#[tokio::test]
async fn threads_are_filtered_and_wrong_ones_refused() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let (session, other) = (server.session(&agent).await, server.session(&agent).await);
    let path = format!("/v1/sessions/{session}/threads");
    for (query, count) in [
        ("statuses[]=idle", 1),
        ("statuses%5B%5D=running&statuses%5B%5D=idle", 1),
        ("statuses[]=running", 0),
        ("statuses[]=terminated&limit=1000", 0),
    ] {
        let listed = server.get(&format!("{path}?{query}")).await.ok();
        assert_eq!(listed["data"].as_array().unwrap().len(), count, "{query}");
    }
    for wrong in ["statuses[]=busy", "limit=0", "limit=1001", "page=page"] {
        server.get(&format!("{path}?{wrong}")).await.problem(400);
    }
    let others = id(&primary(&server, &other).await);
    for thread in [others.as_str(), "x", session.as_str(), "sthr_1111111111111111111111"] {
        for end in ["", "/events", "/stream"] {
            server.get(&format!("{path}/{thread}{end}")).await.problem(404);
        }
        server.post(&format!("{path}/{thread}/archive"), json!({})).await.problem(404);
    }
    let own = id(&primary(&server, &session).await);
    let message = server.post(&format!("{path}/{own}/archive"), json!({})).await.problem(400);
    assert!(message.contains("primary thread"), "{message}");
    assert_eq!(server.get(&format!("/v1/sessions/{session}")).await.ok()["status"], "idle");
}
