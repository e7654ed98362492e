//! `/v1/sessions`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestServer, id, ids, message, normal};

#[tokio::test]
async fn a_session_is_shown_whole() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let body = json!({"agent": {"type": "agent", "id": agent, "version": 1}, "environment_id": "default", "title": "t",
        "metadata": {"k": "v"}, "resources": [], "vault_ids": []});
    let made = server.post("/v1/sessions", body).await.ok();
    crate::assert_snapshot!("session.json", normal(&format!("{made:#}\n")));
    assert_eq!(server.get(&format!("/v1/sessions/{}", id(&made))).await.ok(), made);
}

#[tokio::test]
async fn a_session_begins_with_its_first_messages() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let body = json!({"agent": agent, "environment_id": "default", "initial_events": [message("hi\nthere")]});
    let made = server.post("/v1/sessions", body).await.ok();
    assert_eq!(made["status"], "running");
    let session = id(&made);
    server.until(&session, 0, "session.status_idle").await;
    let now = server.get(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(now["status"], "idle");
    assert_eq!(now["tenure"]["messages"], 2);
    assert_eq!(now["tenure"]["first_line"], "hi");
}

#[tokio::test]
async fn overrides_are_the_sessions_alone() {
    let server = TestServer::start().await;
    let agent =
        server.agent_with(json!({"name": "a", "model": {"id": "claude-x", "effort": "low"}, "system": "s"})).await;
    let overrides = json!({"type": "agent_with_overrides", "id": agent, "model": "claude-x", "system": null,
        "tools": [{"type": "agent_toolset_20260401"}], "skills": []});
    let made = server.post("/v1/sessions", json!({"agent": overrides, "environment_id": "default"})).await.ok();
    assert_eq!(made["agent"]["system"], Value::Null);
    assert_eq!(made["agent"]["model"]["effort"]["type"], "low");
    assert_eq!(made["agent"]["tools"][0]["type"], "agent_toolset_20260401");
    assert_eq!(server.get(&format!("/v1/agents/{agent}")).await.ok()["system"], "s");
    let without = json!({"type": "agent_with_overrides", "id": agent, "model": null});
    let refused = server.post("/v1/sessions", json!({"agent": without, "environment_id": "default"})).await;
    assert!(refused.problem(400).contains("agent_model_required"));
}

#[tokio::test]
async fn lists_page_in_both_directions() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        server.engine.clock.advance(Duration::from_secs(1));
        made.insert(0, server.session(&agent).await);
    }
    let first = server.get("/v1/sessions?limit=2").await.ok();
    assert_eq!(ids(&first), made[..2]);
    assert_eq!(first["prev_page"], Value::Null);
    let next = first["next_page"].as_str().unwrap();
    let second = server.get(&format!("/v1/sessions?limit=2&page={next}")).await.ok();
    assert_eq!(ids(&second), made[2..4]);
    let prev = second["prev_page"].as_str().unwrap();
    assert_eq!(ids(&server.get(&format!("/v1/sessions?limit=2&page={prev}")).await.ok()), made[..2]);

    let message = server.get(&format!("/v1/sessions?order=asc&page={next}")).await.problem(400);
    assert!(message.contains("order=desc"), "{message}");
    let late = format!("/v1/sessions?created_at%5Bgte%5D=2030-01-01T00%3A00%3A00Z&page={next}");
    assert!(server.get(&late).await.problem(400).starts_with("page: "));

    let oldest = server.get("/v1/sessions?order=asc&limit=1").await.ok();
    assert_eq!(ids(&oldest), made[4..]);
    let created = second["data"][0]["created_at"].as_str().unwrap();
    let after = server.get(&format!("/v1/sessions?created_at[gt]={created}")).await.ok();
    assert_eq!(ids(&after), made[..2]);
    assert_eq!(ids(&server.get(&format!("/v1/sessions?agent_id={agent}&agent_version=1")).await.ok()).len(), 5);
    assert_eq!(ids(&server.get("/v1/sessions?statuses[]=running&statuses[]=rescheduling").await.ok()).len(), 0);
    assert_eq!(ids(&server.get("/v1/sessions?statuses%5B%5D=idle").await.ok()).len(), 5);
    for wrong in ["agent_id=x", "agent_version=1", "statuses[]=asleep", "order=up", "deployment_id=depl_1", "page=x"] {
        server.get(&format!("/v1/sessions?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn lists_are_filtered() {
    let server = TestServer::start().await;
    let wait = server.agent("waiter", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let other = server.agent("greeter", &["text: hello"]).await;
    let mut made = Vec::new();
    for at in 0..4 {
        server.engine.clock.advance(Duration::from_secs(1));
        if at == 2 {
            server.post(&format!("/v1/agents/{wait}"), json!({"system": "two"})).await.ok();
        }
        made.push(server.session(if at == 3 { &other } else { &wait }).await);
    }
    server.say(&made[1], "go").await;
    server.until(&made[1], 0, "tenure.call_started").await;
    server.post(&format!("/v1/sessions/{}/archive", made[0]), json!({})).await.ok();
    let session = server.get(&format!("/v1/sessions/{}", made[2])).await.ok();
    let plain = session["created_at"].as_str().unwrap();
    // As different transports write the same time: with another offset, encoded in part or whole.
    let offset = plain.replace('Z', "+00:00");
    let (colons, all) = (offset.replace(':', "%3A"), offset.replace(':', "%3A").replace('+', "%2B"));
    let mut cases = vec![
        (String::new(), vec![3, 2, 1]),
        ("order=desc".to_owned(), vec![3, 2, 1]),
        ("order=asc&include_archived=true".to_owned(), vec![0, 1, 2, 3]),
        (format!("agent_id={wait}"), vec![2, 1]),
        (format!("agent_id={wait}&include_archived=true"), vec![2, 1, 0]),
        (format!("agent_id={wait}&agent_version=1&include_archived=1"), vec![1, 0]),
        (format!("agent_id={wait}&agent_version=2"), vec![2]),
        (format!("agent_id={wait}&agent_version=3"), vec![]),
        ("agent_id=agent_1111111111111111111111".to_owned(), vec![]),
        ("statuses[]=running".to_owned(), vec![1]),
        ("statuses%5B%5D=running&statuses[]=idle".to_owned(), vec![3, 2, 1]),
        ("statuses=idle".to_owned(), vec![3, 2]),
        ("statuses[]=terminated".to_owned(), vec![]),
        ("statuses[]=terminated&include_archived=true".to_owned(), vec![0]),
        (format!("statuses[]=idle&agent_id={wait}&order=asc&limit=1"), vec![2]),
        ("deployment_id=&memory_store_id=".to_owned(), vec![3, 2, 1]),
    ];
    for time in [plain, &offset, &colons, &all] {
        cases.extend([
            (format!("created_at[gt]={time}"), vec![3]),
            (format!("created_at%5Bgte%5D={time}"), vec![3, 2]),
            (format!("created_at[lt]={time}&order=asc&include_archived=true"), vec![0, 1]),
            (format!("created_at%5blte%5d={time}"), vec![2, 1]),
            (format!("created_at[gte]={time}&created_at[lte]={time}"), vec![2]),
        ]);
    }
    for (query, expected) in cases {
        let expected: Vec<_> = expected.into_iter().map(|at: usize| made[at].clone()).collect();
        assert_eq!(ids(&server.get(&format!("/v1/sessions?{query}")).await.ok()), expected, "{query}");
    }
    for (wrong, expected) in [
        ("agent_version=1".to_owned(), "agent_version: expected only together with `agent_id`"),
        (format!("agent_id={wait}&agent_version=0"), "agent_version: "),
        ("statuses[]=idle&statuses[]=asleep".to_owned(), "statuses: expected `idle`"),
        ("created_at[gte]=yesterday".to_owned(), "created_at[gte]: expected a time"),
        ("order=newest".to_owned(), "order: "),
        ("limit=1001".to_owned(), "limit: "),
        ("deployment_id=depl_1".to_owned(), "deployment_id: "),
        ("memory_store_id=memstore_1".to_owned(), "memory_store_id: "),
    ] {
        let message = server.get(&format!("/v1/sessions?{wrong}")).await.problem(400);
        assert!(message.starts_with(expected), "{wrong}: {message}");
    }
}

#[tokio::test]
async fn cursors_belong_to_their_order_and_range() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let mut made = Vec::new();
    for _ in 0..5 {
        server.engine.clock.advance(Duration::from_secs(1));
        made.push(server.session(&agent).await);
    }
    for order in ["asc", "desc"] {
        let expected: Vec<_> = if order == "asc" { made.clone() } else { made.iter().rev().cloned().collect() };
        let list = async |query: String| server.get(&format!("/v1/sessions?order={order}&{query}")).await;
        let first = list("limit=2".to_owned()).await.ok();
        let next = first["next_page"].as_str().unwrap().to_owned();
        assert!(next.starts_with("page_"));
        // The limit and filters may change from page to page.
        let rest = list(format!("limit=3&agent_id={agent}&page={next}")).await.ok();
        assert_eq!([ids(&first), ids(&rest)].concat(), expected);
        assert_eq!(rest["next_page"], Value::Null);
        let back = rest["prev_page"].as_str().unwrap();
        let back = list(format!("limit=1&page={back}")).await.ok();
        assert_eq!(ids(&back), expected[1..2]);
        let back = list(format!("limit=1&page={}", back["prev_page"].as_str().unwrap())).await.ok();
        assert_eq!((ids(&back).as_slice(), &back["prev_page"]), (&expected[..1], &Value::Null));

        let other = if order == "asc" { "desc" } else { "asc" };
        let message = server.get(&format!("/v1/sessions?order={other}&page={next}")).await.problem(400);
        assert!(message.contains(&format!("order={order}")), "{message}");
        let outside = list(format!("page={next}&created_at[gt]=2100-01-01T00:00:00Z")).await.problem(400);
        assert!(outside.contains("outside of `created_at`"), "{outside}");
        list(format!("page={next}&created_at[lt]=2100-01-01T00:00:00Z")).await.ok();
        // One of another list, and half of one.
        server.get(&format!("/v1/agents/{agent}/versions?page={next}")).await.problem(400);
        list(format!("page={}", &next[..next.len() / 2])).await.problem(400);
    }
}

#[tokio::test]
async fn names_and_tools_change() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    let changed =
        server.post(&path, json!({"title": "new", "metadata": {"k": "v"}, "agent": {"tools": []}})).await.ok();
    assert_eq!((&changed["title"], &changed["metadata"]), (&json!("new"), &json!({"k": "v"})));
    assert_eq!(changed["agent"]["tools"], json!([]));
    let events = server.get(&format!("{path}/events?types[]=session.updated")).await.ok();
    let event = &events["data"][0];
    assert_eq!((&event["title"], &event["agent"]["tools"]), (&json!("new"), &json!([])));
    assert_eq!(event["agent"]["name"], "greeter", "the agent is shown whole");
    let cleared = server.post(&path, json!({"title": null, "metadata": {"k": null}})).await.ok();
    assert_eq!((&cleared["title"], &cleared["metadata"]), (&Value::Null, &json!({})));
    for (body, field) in [
        (json!({"vault_ids": ["v"]}), "vault_ids"),
        (json!({"budget": {"type": "limit"}}), "budget"),
        (json!({"agent": {"model": "m"}}), "agent.model"),
        (json!({"title": 3}), "title"),
    ] {
        let message = server.post(&path, body).await.problem(400);
        assert!(message.starts_with(field), "{message}");
    }
}

#[tokio::test]
async fn archived_sessions_are_readable_and_closed() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    let archived = server.post(&format!("{path}/archive"), json!({})).await.ok();
    assert_eq!(archived["status"], "terminated");
    assert!(archived["archived_at"].is_string());
    server.post(&format!("{path}/archive"), json!({})).await.ok();
    let refused = server.post(&format!("{path}/events"), json!({"events": [message("hi")]})).await.problem(400);
    assert!(refused.contains("archived"), "{refused}");
    assert_eq!(ids(&server.get("/v1/sessions").await.ok()).len(), 0);
    assert_eq!(ids(&server.get("/v1/sessions?include_archived=true").await.ok()).len(), 1);
    assert_eq!(server.get(&format!("{path}/events")).await.ok()["data"][0]["type"], "session.status_terminated");
}

#[tokio::test]
async fn deleted_sessions_are_gone() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    let mut stream = server.stream(&format!("{path}/events/stream"), &[]).await;
    let gone = server.delete(&path).await.ok();
    assert_eq!(gone, json!({"id": session, "type": "session_deleted"}));
    let last = stream.next().await.unwrap();
    assert_eq!((last.kind(), last.id), ("session.deleted", None));
    assert!(last.data["id"].as_str().unwrap().starts_with("sevt_") && last.data["processed_at"].is_string());
    assert_eq!(stream.next().await, None, "and the stream is over");
    for path in [path.clone(), format!("{path}/events"), format!("{path}/events/stream")] {
        server.get(&path).await.problem(404);
    }
}

#[tokio::test]
async fn a_working_session_is_neither_archived_nor_deleted() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: wait}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    server.say(&session, "go").await;
    let call = server.engine.backend.wait_started(1).await[0];
    server.post(&format!("{path}/archive"), json!({})).await.problem(400);
    server.delete(&path).await.problem(400);
    server.post(&path, json!({"agent": {"tools": []}})).await.problem(400);
    server.engine.backend.release(call);
    server.until(&session, 0, "session.status_idle").await;
    server.delete(&path).await.ok();
}

#[tokio::test]
async fn wrong_sessions_are_refused_and_nothing_is_made() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let cases = [
        (json!({"environment_id": "default"}), 400, "agent: "),
        (json!({"agent": agent}), 400, "environment_id: "),
        (json!({"agent": "nobody", "environment_id": "default"}), 404, "no agent `nobody`"),
        (json!({"agent": agent, "environment_id": "nowhere"}), 404, "no environment `nowhere`"),
        (json!({"agent": {"type": "agent"}, "environment_id": "default"}), 400, "agent.id: "),
        (json!({"agent": agent, "environment_id": "default", "resources": [{"type": "file"}]}), 400, "resources: "),
        (json!({"agent": agent, "environment_id": "default", "vault_ids": ["vlt_1"]}), 400, "vault_ids: "),
        (
            json!({"agent": agent, "environment_id": "default", "budget": {"type": "limit"}}),
            400,
            "budget.max_list_cost: ",
        ),
        (
            json!({"agent": agent, "environment_id": "default", "initial_events": [message("hi"), {"type": "user.interrupt"}]}),
            400,
            "initial_events.1.type: expected `user.message`, got `user.interrupt`",
        ),
        (
            json!({"agent": agent, "environment_id": "default", "initial_events": [{"type": "user.define_outcome"}]}),
            400,
            "initial_events.0.type: outcomes are",
        ),
    ];
    for (body, status, expected) in cases {
        let message = server.post("/v1/sessions", body.clone()).await.problem(status);
        assert!(message.starts_with(expected), "{body}: {message}");
    }
    assert_eq!(ids(&server.get("/v1/sessions").await.ok()).len(), 0);
}
