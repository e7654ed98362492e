//! What each request does in each status of a session: section by section, a whole table.

use axum::http::Method;
use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{TestServer, budget, id, message, request};

const STATES: [&str; 8] =
    ["idle", "requires_action", "budget_reached", "running", "rescheduling", "stopped", "archived", "ended"];

const REQUESTS: [&str; 9] = [
    "`user.message`",
    "`user.interrupt`",
    "answer to an open call",
    "answer to another call",
    "update `agent.tools`",
    "update `title`, `metadata`, `labels`",
    "raise `budget`",
    "archive",
    "delete",
];

/// A session in this state, and the call it waits for.
async fn session_in(server: &TestServer, state: &str) -> (String, Option<Value>) {
    let agent = match state {
        "requires_action" => "priced-asker",
        "budget_reached" => "priced-spender",
        "rescheduling" => "failing",
        _ => "priced-waiter",
    };
    let cents = if state == "budget_reached" { "2" } else { "1000" };
    let session = server.session_within(agent, cents).await;
    let path = format!("/v1/sessions/{session}");
    let mut call = None;
    match state {
        "requires_action" => {
            server.say(&session, "go").await;
            let told = server.until(&session, 0, "session.status_idle").await;
            call = told.iter().find(|frame| frame.kind() == "agent.tool_use").map(|frame| frame.data["id"].clone());
        }
        "budget_reached" => {
            server.say(&session, "go").await;
            server.until(&session, 0, "session.status_idle").await;
        }
        "running" => {
            server.say(&session, "go").await;
            server.until(&session, 0, "tenure.call_started").await;
        }
        "rescheduling" => {
            server.say(&session, "go").await;
            server.until(&session, 0, "session.status_rescheduled").await;
        }
        "stopped" => drop(server.post(&format!("{path}/stop"), json!({})).await.ok()),
        "archived" => drop(server.post(&format!("{path}/archive"), json!({})).await.ok()),
        "ended" => drop(server.post(&format!("{path}/end"), json!({})).await.ok()),
        _ => {}
    }
    (session, call)
}

/// Makes the request; gives what is to be said of it.
async fn answer_to(server: &TestServer, state: &str, asked: &str) -> String {
    let (session, call) = session_in(server, state).await;
    let path = format!("/v1/sessions/{session}");
    let events = |event: Value| request(Method::POST, &format!("{path}/events"), Some(json!({"events": [event]})), &[]);
    let post = |path: &str, body| request(Method::POST, path, Some(body), &[]);
    let confirm = |call| json!({"type": "user.tool_confirmation", "tool_use_id": call, "result": "allow"});
    let request = match asked {
        "`user.message`" => events(message("more")),
        "`user.interrupt`" => events(json!({"type": "user.interrupt"})),
        "answer to an open call" => match call {
            Some(call) => events(confirm(call)),
            None => return "—".to_owned(),
        },
        "answer to another call" => events(confirm(json!("sevt_1111111111111111111111"))),
        "update `agent.tools`" => post(&path, json!({"agent": {"tools": []}})),
        "update `title`, `metadata`, `labels`" => {
            post(&path, json!({"title": "t", "metadata": {"k": "v"}, "labels": ["l"]}))
        }
        "raise `budget`" => post(&path, json!({"budget": budget("2000")})),
        "archive" => post(&format!("{path}/archive"), json!({})),
        "delete" => request(Method::DELETE, &path, None, &[]),
        other => panic!("no request is called {other}"),
    };
    let before = server.get(&path).await.ok();
    let answer = server.answer(request).await;
    let (status, json) = (answer.status.as_u16(), answer.json());
    if status != 200 {
        let mut after = server.get(&path).await.ok();
        after["stats"] = before["stats"].clone();
        after["usage"] = before["usage"].clone();
        assert_eq!(after, before, "{asked} in {state} was refused and changed nothing");
        let retried = answer.header("x-should-retry") != Some("false");
        assert_eq!((status, retried), (400, true), "{asked} in {state}: {json}");
        return "400".to_owned();
    }
    let queued = json["data"][0]["type"] == "user.message" && json["data"][0]["processed_at"].is_null();
    let after = server.get(&path).await;
    if after.status == 404 {
        return "gone".to_owned();
    }
    let after = after.ok();
    let status = after["status"].as_str().unwrap();
    match (queued, before["status"] == after["status"]) {
        (true, _) => format!("queued, {status}"),
        (false, true) => format!("ok, {status}"),
        (false, false) => format!("→ {status}"),
    }
}

#[tokio::test]
async fn every_request_in_every_status() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let model = FakeModel::start((0..20).map(|_| Answer::Status(529, vec![], overloaded))).await;
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let wait = ["{tools: [{name: bash, input: {command: wait}}]}", "text: done"];
    server.agent("priced-waiter", &wait).await;
    let spend = "{tools: [{name: nonsense}], usage: {output: 20}}";
    server.agent("priced-spender", &[spend, wait[0]]).await;
    server.engine.script("priced-asker", &tenure_testkit::script(&wait));
    let ask = json!({"permission_policy": {"type": "always_ask"}});
    let tools = json!([{"type": "agent_toolset_20260401", "default_config": ask}]);
    let asker =
        server.agent_with(json!({"name": "priced-asker", "model": "script/priced-asker", "tools": tools})).await;
    assert_eq!(id(&server.get("/v1/agents/priced-asker").await.ok()), asker);
    server.agent_with(json!({"name": "failing", "model": "claude-priced"})).await;

    let mut table = format!("| | {} |\n|---{}|\n", STATES.join(" | "), "|---".repeat(STATES.len()));
    for asked in REQUESTS {
        table.push_str(&format!("| {asked} |"));
        for state in STATES {
            table.push_str(&format!(" {} |", answer_to(&server, state, asked).await));
        }
        table.push('\n');
    }
    crate::assert_snapshot!("states.md", table.clone());
    let page = include_str!("../../../../docs/managed-agents-reference.md");
    assert!(page.contains(&table), "docs/managed-agents-reference.md has another table; this is right:\n{table}");
}
