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

fn text_of(length: usize) -> String {
    "é".repeat(length)
}

fn custom(number: usize) -> Value {
    json!({"type": "custom", "name": format!("tool-{number}"), "description": "d", "input_schema": {"type": "object"}})
}

#[tokio::test]
async fn an_update_keeps_replaces_and_clears() {
    let server = TestServer::start().await;
    let toolset = json!({"type": "agent_toolset_20260401"});
    let whole = json!({"name": "a", "model": {"id": "claude-x", "effort": "low", "inference_geo": "eu"}, "system": "s",
        "description": "d", "tools": [toolset, custom(1)], "metadata": {"a": "1", "b": "2"}});
    let made = server.post("/v1/agents", whole.clone()).await.ok();
    let path = format!("/v1/agents/{}", id(&made));
    for nothing in [json!({}), json!({"version": 1}), whole, json!({"metadata": null}), made.clone()] {
        assert_eq!(server.post(&path, nothing).await.ok(), made, "a change of nothing makes no version");
    }
    let model = |id: &str, effort: &str, geo: Value| json!({"id": id, "effort": {"type": effort}, "speed": "standard", "inference_geo": geo});
    let cases = [
        (json!({"description": ""}), "description", Value::Null),
        (json!({"description": "e"}), "description", json!("e")),
        (json!({"description": null}), "description", Value::Null),
        (json!({"system": ""}), "system", Value::Null),
        (json!({"tools": [custom(2)]}), "tools", json!([custom(2)])),
        (json!({"tools": []}), "tools", json!([])),
        (json!({"tools": [custom(3)]}), "tools", json!([custom(3)])),
        (json!({"tools": null}), "tools", json!([])),
        (json!({"metadata": {"a": null, "b": "", "c": "3"}}), "metadata", json!({"b": "", "c": "3"})),
        // The same model: effort stays, where inference runs doesn't.
        (json!({"model": {"id": "claude-x"}}), "model", model("claude-x", "low", Value::Null)),
        (
            json!({"model": {"id": "claude-x", "effort": {"type": "max"}}}),
            "model",
            model("claude-x", "max", Value::Null),
        ),
        (json!({"model": {"id": "claude-x", "effort": null}}), "model", model("claude-x", "high", Value::Null)),
        (json!({"model": {"id": "claude-x", "effort": "low"}}), "model", model("claude-x", "low", Value::Null)),
        // Another model: effort is that one's own.
        (json!({"model": {"id": "claude-y"}}), "model", model("claude-y", "high", Value::Null)),
    ];
    let mut before = made;
    for (change, field, expected) in cases {
        let after = server.post(&path, change.clone()).await.ok();
        assert_eq!(after[field], expected, "{change}");
        assert_eq!(after["version"].as_u64(), before["version"].as_u64().map(|version| version + 1), "{change}");
        let (mut rest, mut rest_before) = (after.clone(), before);
        for agent in [&mut rest, &mut rest_before] {
            for changed in [field, "version", "updated_at"] {
                agent[changed] = Value::Null;
            }
        }
        assert_eq!(rest, rest_before, "{change} changes nothing else");
        before = after;
    }
    for (change, expected) in [
        (json!({"name": null}), "name: "),
        (json!({"model": null}), "model: "),
        (json!({"version": 0}), "version: "),
        (json!({"mcp_servers": [{}]}), "mcp_servers: "),
    ] {
        let message = server.post(&path, change.clone()).await.problem(400);
        assert!(message.starts_with(expected), "{change}: {message}");
    }
    server.post(&path, json!({"version": 1})).await.problem(409);
    server.post(&path, json!({"mcp_servers": null, "skills": [], "multiagent": null})).await.ok();
    assert_eq!(server.get(&path).await.ok(), before);
}

#[tokio::test]
async fn of_changes_at_once_without_a_version_none_is_refused() {
    let server = TestServer::start().await;
    let agent = server.agent_with(json!({"name": "a", "model": "claude-x"})).await;
    let path = format!("/v1/agents/{agent}");
    let changes = (0..8).map(|number| server.post(&path, json!({"metadata": {format!("k{number}"): "v"}})));
    let answers = futures_util::future::join_all(changes).await;
    let mut versions: Vec<_> = answers.into_iter().map(|answer| answer.ok()["version"].as_u64().unwrap()).collect();
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(server.get(&path).await.ok()["metadata"].as_object().unwrap().len(), 8, "each has kept the others'");
}

#[tokio::test]
async fn the_longest_and_the_most() {
    let server = TestServer::start().await;
    let pairs = |count: usize, name: usize, value: usize| -> Value {
        let name = |at: usize| format!("{at:02}{}", text_of(name - 2));
        (0..count).map(|at| (name(at), json!(text_of(value)))).collect::<serde_json::Map<_, _>>().into()
    };
    let with = |field: &str, value: Value| {
        let mut body = json!({"name": "a", "model": "claude-x"});
        body[field] = value;
        body
    };
    let tools = |count: usize| Value::from((0..count).map(custom).collect::<Vec<_>>());
    let cases = [
        ("name", json!(text_of(256)), json!(text_of(257))),
        ("description", json!(text_of(2_048)), json!(text_of(2_049))),
        ("system", json!(text_of(100_000)), json!(text_of(100_001))),
        ("tools", tools(256), tools(257)),
        ("metadata", pairs(16, 64, 512), pairs(17, 64, 512)),
        ("metadata", pairs(1, 64, 512), pairs(1, 65, 512)),
        ("metadata", pairs(1, 64, 512), pairs(1, 64, 513)),
    ];
    for (field, most, more) in cases {
        let made = server.post("/v1/agents", with(field, most.clone())).await.ok();
        assert_eq!(made[field], most, "{field}");
        let refused = server.post("/v1/agents", with(field, more)).await;
        let code = if field == "metadata" { json!("invalid_metadata") } else { Value::Null };
        assert_eq!(refused.json()["error"]["details"]["error_code"], code);
        let message = refused.problem(400);
        assert!(message.starts_with(field), "{message}");
    }
}

#[tokio::test]
async fn lists_are_filtered_by_creation() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for number in 0..3 {
        server.engine.clock.advance(std::time::Duration::from_secs(1));
        let agent = server.post("/v1/agents", json!({"name": format!("a{number}"), "model": "claude-x"})).await.ok();
        made.push((id(&agent), agent["created_at"].as_str().unwrap().to_owned()));
    }
    let of = |at: &[usize]| -> Vec<String> { at.iter().map(|at| made[*at].0.clone()).collect() };
    // As the SDKs' transports write it: plain, and all percent-encoded, with another offset.
    let plain = &made[1].1;
    let encoded = plain.replace(':', "%3A").replace('Z', "%2B00%3A00");
    for time in [plain.as_str(), encoded.as_str()] {
        for (query, expected) in [
            (format!("created_at[gte]={time}"), of(&[2, 1])),
            (format!("created_at%5Blte%5D={time}&created_at%5Bgte%5D={time}"), of(&[1])),
        ] {
            assert_eq!(ids(&server.get(&format!("/v1/agents?{query}")).await.ok()), expected, "{query}");
        }
    }
}

#[tokio::test]
async fn a_session_keeps_the_version_it_began_with() {
    let server = TestServer::start().await;
    let agent = server.agent_with(json!({"name": "a", "model": "claude-x", "system": "one"})).await;
    let first = server.session(&agent).await;
    server.post(&format!("/v1/agents/{agent}"), json!({"system": "two"})).await.ok();
    let create =
        async |agent: Value| server.post("/v1/sessions", json!({"agent": agent, "environment_id": "default"})).await;
    let shown = async |session: &str| {
        let session = server.get(&format!("/v1/sessions/{session}")).await.ok();
        (session["agent"]["version"].clone(), session["agent"]["system"].clone())
    };
    assert_eq!(shown(&first).await, (json!(1), json!("one")));
    for (choice, version, system) in [
        (json!(agent), 2, json!("two")),
        (json!({"type": "agent", "id": agent}), 2, json!("two")),
        (json!({"type": "agent", "id": agent, "version": 1}), 1, json!("one")),
        (json!({"type": "agent_with_overrides", "id": agent, "version": 1, "tools": []}), 1, json!("one")),
        (json!({"type": "agent_with_overrides", "id": agent, "version": 1, "system": "three"}), 1, json!("three")),
        (json!({"type": "agent_with_overrides", "id": agent, "system": ""}), 2, Value::Null),
    ] {
        let made = create(choice.clone()).await.ok();
        assert_eq!(shown(&id(&made)).await, (json!(version), system), "{choice}");
    }
    create(json!({"type": "agent", "id": agent, "version": 3})).await.problem(404);
    create(json!({"type": "agent", "id": agent, "version": 0})).await.problem(400);
    let refused = create(json!({"type": "agent_with_overrides", "id": agent, "mcp_servers": [{"name": "m"}]})).await;
    assert!(refused.problem(400).starts_with("agent.mcp_servers: "));
}
