//! `/v1/agents`.

use serde_json::{Value, json};

use crate::support::{TestServer, id, ids, normal};

#[tokio::test]
async fn an_agent_is_shown_whole() {
    let server = TestServer::start().await;
    let body = json!({
        "name": "Coding Helper", "model": {"id": "claude-sonnet-5", "effort": "low"}, "description": "d", "system": "s",
        "metadata": {"team": "a"},
        "tools": [
            {"type": "agent_toolset_20260401", "default_config": {"enabled": true},
             "configs": [{"name": "write", "permission_policy": {"type": "always_ask"}},
                         {"name": "web_fetch", "enabled": false}]},
            {"type": "custom", "name": "weather", "description": "tells it", "input_schema": {"type": "object"}},
        ],
        "mcp_servers": [], "skills": null, "multiagent": null, "execution_identity": {"type": "service_account"},
    });
    let answer = server.post("/v1/agents", body).await;
    assert_eq!(answer.header("x-tenure-ignored"), None);
    let made = answer.ok();
    crate::assert_snapshot!("agent.json", normal(&format!("{made:#}\n")));
    let agent = id(&made);
    assert_eq!(server.get(&format!("/v1/agents/{agent}?beta=true")).await.ok(), made);
    assert_eq!(server.get("/v1/agents/coding-helper").await.ok(), made, "the short name is ours");
    assert_eq!(server.get(&format!("/v1/agents/{agent}?version=1")).await.ok(), made);
    server.get(&format!("/v1/agents/{agent}?version=2")).await.problem(404);
}

#[tokio::test]
async fn updates_make_versions() {
    let server = TestServer::start().await;
    let agent =
        server.agent_with(json!({"name": "a", "model": {"id": "claude-x", "effort": "low"}, "system": "s"})).await;
    let path = format!("/v1/agents/{agent}");

    let same = server.post(&path, json!({"version": 1, "name": "a"})).await.ok();
    assert_eq!(same["version"], 1, "a change of nothing makes no version");

    let changed = server
        .post(&path, json!({"version": 1, "name": "b", "system": null, "model": {"id": "claude-x", "speed": "fast"}, "metadata": {"k": "v"}}))
        .await
        .ok();
    assert_eq!(changed["version"], 2);
    assert_eq!(changed["name"], "b");
    assert_eq!(changed["system"], Value::Null);
    assert_eq!(changed["model"]["effort"]["type"], "low", "effort that isn't named stays");
    assert_eq!(changed["model"]["speed"], "fast");

    let other = server.post(&path, json!({"model": "claude-y", "metadata": {"k": null, "l": "w"}})).await.ok();
    assert_eq!(other["model"]["effort"]["type"], "high", "another model has its own default");
    assert_eq!(other["metadata"], json!({"l": "w"}));

    let stale = server.post(&path, json!({"version": 1, "name": "c"})).await;
    assert_eq!(stale.header("x-should-retry"), Some("false"));
    assert!(stale.problem(409).contains("version"));

    let versions = server.get(&format!("{path}/versions?limit=2")).await.ok();
    let numbers: Vec<_> = versions["data"].as_array().unwrap().iter().map(|agent| agent["version"].clone()).collect();
    assert_eq!(numbers, [json!(3), json!(2)]);
    let next = versions["next_page"].as_str().unwrap();
    let rest = server.get(&format!("{path}/versions?limit=2&page={next}")).await.ok();
    assert_eq!(rest["data"][0]["version"], 1);
    assert_eq!(rest["next_page"], Value::Null);
}

#[tokio::test]
async fn archived_agents_stay_readable_and_unchanged() {
    let server = TestServer::start().await;
    let agent = server.agent_with(json!({"name": "a", "model": "claude-x"})).await;
    let archived = server.post(&format!("/v1/agents/{agent}/archive"), json!({})).await.ok();
    assert!(archived["archived_at"].is_string());
    server.post(&format!("/v1/agents/{agent}"), json!({"name": "b"})).await.problem(400);
    server.post("/v1/sessions", json!({"agent": agent, "environment_id": "default"})).await.problem(400);
    assert!(!ids(&server.get("/v1/agents").await.ok()).contains(&agent));
    assert!(ids(&server.get("/v1/agents?include_archived=true").await.ok()).contains(&agent));
}

#[tokio::test]
async fn lists_page_from_the_newest() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for number in 0..5 {
        server.engine.clock.advance(std::time::Duration::from_secs(1));
        made.insert(0, server.agent_with(json!({"name": format!("a{number}"), "model": "claude-x"})).await);
    }
    let mut listed = Vec::new();
    let mut path = "/v1/agents?limit=2".to_owned();
    loop {
        let page = server.get(&path).await.ok();
        listed.extend(ids(&page));
        let Some(next) = page["next_page"].as_str() else { break };
        path = format!("/v1/agents?limit=2&page={next}");
    }
    assert_eq!(listed[..5], made);
    assert_eq!(listed.len(), 6, "and the agent every tenant has");
    for wrong in ["page=page", "limit=0", "limit=101", "limit=x", "created_at[gte]=now", "include_archived=perhaps"] {
        server.get(&format!("/v1/agents?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn wrong_agents_are_refused_by_field() {
    let server = TestServer::start().await;
    let long = "x".repeat(257);
    let cases = [
        (json!({"model": "claude-x"}), "name: expected a string, but the field is missing"),
        (json!({"model": "claude-x", "name": ""}), "name: expected 1 to 256 characters, got 0"),
        (json!({"model": "claude-x", "name": long}), "name: expected 1 to 256 characters, got 257"),
        (json!({"model": 7, "name": "a"}), "model: expected a model's name or an object, got 7"),
        (json!({"name": "a"}), "model: expected a model's name or an object, but the field is missing"),
        (json!({"model": {"id": "m", "effort": "huge"}, "name": "a"}), "model.effort: expected `low`"),
        (json!({"model": "nosuch", "name": "a"}), "model.id: "),
        (
            json!({"model": "claude-x", "name": "a", "mcp_servers": [{"name": "x"}]}),
            "mcp_servers: MCP servers are not supported yet",
        ),
        (json!({"model": "claude-x", "name": "a", "skills": [{}]}), "skills: "),
        (json!({"model": "claude-x", "name": "a", "multiagent": {"type": "coordinator"}}), "multiagent: "),
        (
            json!({"model": "claude-x", "name": "a", "execution_identity": {"type": "aws_role"}}),
            "execution_identity.type: ",
        ),
        (json!({"model": "claude-x", "name": "a", "metadata": {"k": 1}}), "metadata.k: expected a string, got 1"),
        (json!({"model": "claude-x", "name": "a", "tools": [{"type": "mcp_toolset"}]}), "tools.0.type: MCP toolsets"),
        (
            json!({"model": "claude-x", "name": "a", "tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "web_search", "enabled": true}]}]}),
            "tools.0.configs.0.enabled: ",
        ),
        (
            json!({"model": "claude-x", "name": "a", "tools": [{"type": "agent_toolset_20260401", "configs": [{"name": "fly"}]}]}),
            "tools.0.configs.0.name: ",
        ),
        (
            json!({"model": "claude-x", "name": "a", "tools": [{"type": "agent_toolset_20260401", "default_config": {"permission_policy": {"type": "auto"}}}]}),
            "tools.0.default_config.permission_policy.type: ",
        ),
        (
            json!({"model": "claude-x", "name": "a", "tools": [{"type": "custom", "name": "a b", "description": "d", "input_schema": {"type": "object"}}]}),
            "tools.0.name: ",
        ),
        (
            json!({"model": "claude-x", "name": "a", "tools": [{"type": "custom", "name": "bash", "description": "d", "input_schema": {"type": "object"}}]}),
            "tools.0.name: `bash` is the name of a built-in tool",
        ),
        (
            json!({"model": "claude-x", "name": "a", "tools": [{"type": "custom", "name": "b", "description": "d", "input_schema": {}}]}),
            "tools.0.input_schema.type: ",
        ),
    ];
    for (body, expected) in cases {
        let message = server.post("/v1/agents", body.clone()).await.problem(400);
        assert!(message.starts_with(expected), "{body}: {message}");
    }
    let many: serde_json::Map<String, Value> = (0..17).map(|at| (format!("k{at}"), json!("v"))).collect();
    let message =
        server.post("/v1/agents", json!({"model": "claude-x", "name": "a", "metadata": many})).await.problem(400);
    assert_eq!(message, "metadata: expected at most 16 pairs, got 17");
    assert_eq!(ids(&server.get("/v1/agents").await.ok()).len(), 1, "nothing was made");
}

#[tokio::test]
async fn what_nobody_knows_is_ignored_and_named() {
    let server = TestServer::start().await;
    let body = json!({"model": {"id": "claude-x", "mood": 1}, "name": "a", "colour": "red", "tools": [{"type": "agent_toolset_20260401", "x": 1}]});
    let answer = server.post("/v1/agents?beta=true&shape=round", body).await;
    let mut named: Vec<_> = answer.header("x-tenure-ignored").unwrap().split(", ").map(str::to_owned).collect();
    named.sort();
    assert_eq!(named, ["colour", "model.mood", "shape", "tools.0.x"]);
    answer.ok();
}
