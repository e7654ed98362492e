//! An agent's tools: how they are configured, shown and offered, and what becomes of calls that don't run.

use serde_json::{Value, json};
use tenure_server::ServerConfig;
use tenure_testkit::{Answer, FakeModel};

use crate::support::{Frame, TestServer, id};

fn toolset(configs: Value) -> Value {
    json!([{"type": "agent_toolset_20260401", "configs": configs}])
}

fn custom(name: &str) -> Value {
    json!({"type": "custom", "name": name, "description": "d", "input_schema": {"type": "object"}})
}

fn agent(tools: &Value) -> Value {
    json!({"name": "helper", "model": "claude-test", "tools": tools})
}

/// The tools that the model was offered.
fn offered(model: &FakeModel) -> Vec<String> {
    let requests = model.requests();
    let tools = requests.last().unwrap()["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

fn of_kind<'f>(frames: &'f [Frame], kind: &str) -> Vec<&'f Value> {
    frames.iter().filter(|frame| frame.kind() == kind).map(|frame| &frame.data).collect()
}

#[tokio::test]
async fn what_is_left_out_or_null_is_resolved() {
    let server = TestServer::start().await;
    let policy = |kind: &str| json!({"type": kind});
    let all = json!({"enabled": true, "permission_policy": policy("always_allow")});
    let bash = json!({"name": "bash", "type": "bash", "enabled": true, "permission_policy": policy("always_ask")});
    let fetch = json!({"name": "web_fetch", "type": "web_fetch", "enabled": false, "permission_policy": policy("always_allow"),
        "allowed_domains": null, "blocked_domains": null, "max_content_tokens": null, "url_sources": null});
    for (given, default, configs) in [
        (json!({}), all.clone(), json!([])),
        (json!({"default_config": null, "configs": null}), all.clone(), json!([])),
        (
            json!({"default_config": {"enabled": null, "permission_policy": null}, "configs": []}),
            all.clone(),
            json!([]),
        ),
        (
            json!({"default_config": {"enabled": false}, "configs": [{"name": "bash", "enabled": true,
                "permission_policy": {"type": "always_ask"}}]}),
            json!({"enabled": false, "permission_policy": policy("always_allow")}),
            json!([bash]),
        ),
        (
            json!({"default_config": {"permission_policy": {"type": "always_ask"}}, "configs": [{"name": "bash", "type": "bash"}]}),
            json!({"enabled": true, "permission_policy": policy("always_ask")}),
            json!([bash]),
        ),
        (
            json!({"configs": [{"name": "web_fetch", "type": "web_fetch", "enabled": false, "permission_policy": null,
                "allowed_domains": null, "blocked_domains": null, "max_content_tokens": null, "url_sources": null}]}),
            all.clone(),
            json!([fetch]),
        ),
    ] {
        let mut tool = given.clone();
        tool["type"] = json!("agent_toolset_20260401");
        let made = server.post("/v1/agents", agent(&json!([tool]))).await.ok();
        let expected = json!([{"type": "agent_toolset_20260401", "default_config": default, "configs": configs}]);
        assert_eq!(made["tools"], expected, "{given}");
    }
}

#[tokio::test]
async fn web_fetch_keeps_what_it_is_told() {
    let server = TestServer::start().await;
    let reference = |name: &str| json!({"type": "tool_reference", "name": name});
    for (given, shown) in [
        (json!({"allowed_domains": ["docs.example.com", "münchen.de"], "max_content_tokens": 5000}), None),
        (json!({"blocked_domains": ["ads.example.com"]}), None),
        (
            json!({"url_sources": {"client_tool_results": "none", "server_tool_results": {"type": "all"}, "user_input": "all"}}),
            Some(
                json!({"client_tool_results": {"type": "none"}, "server_tool_results": {"type": "all"}, "user_input": {"type": "all"}}),
            ),
        ),
        (
            json!({"url_sources": {"client_tool_results": {"type": "only", "tools": [reference("find")]},
                "server_tool_results": {"type": "except", "tools": [reference("web_search")]}, "user_input": {"type": "none"}}}),
            None,
        ),
        (
            json!({"url_sources": {"user_input": null}}),
            Some(json!({"client_tool_results": null, "server_tool_results": null, "user_input": null})),
        ),
    ] {
        let mut config = given.clone();
        config["name"] = json!("web_fetch");
        let mut tools = toolset(json!([config]));
        tools.as_array_mut().unwrap().push(custom("find"));
        let made = server.post("/v1/agents", agent(&tools)).await.ok();
        let config = &made["tools"][0]["configs"][0];
        let mut expected =
            json!({"allowed_domains": null, "blocked_domains": null, "max_content_tokens": null, "url_sources": null});
        for (key, value) in given.as_object().unwrap() {
            expected[key] = shown.clone().filter(|_| key == "url_sources").unwrap_or_else(|| value.clone());
        }
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&config[key], value, "{given}: {key}");
        }
        let again = server.get(&format!("/v1/agents/{}", id(&made))).await.ok();
        assert_eq!(again, made);
    }
}

#[tokio::test]
async fn bad_tools_are_refused_by_name() {
    let server = TestServer::start().await;
    let fetch = |given: Value| {
        let mut config = given;
        config["name"] = json!("web_fetch");
        toolset(json!([config]))
    };
    let many: Vec<String> = (0..65).map(|at| format!("d{at}.example.com")).collect();
    let named = |count: usize| -> Vec<Value> {
        (0..count).map(|at| json!({"type": "tool_reference", "name": format!("t{at}")})).collect()
    };
    let twice = [named(1), named(1)].concat();
    let schema = |schema: Value| json!([{"type": "custom", "name": "a", "description": "d", "input_schema": schema}]);
    let domain = "tools.0.configs.0.allowed_domains";
    let sources = "tools.0.configs.0.url_sources";
    let cases = [
        (json!([{"type": "nonsense"}]), "tools.0.type: expected `agent_toolset_20260401` or `custom`"),
        (json!([{}]), "tools.0.type: "),
        (json!(["bash"]), "tools.0: expected an object"),
        (json!([{"type": "agent_toolset_20260401"}, {"type": "agent_toolset_20260401"}]), "tools.1.type: "),
        (toolset(json!([{"name": "fly"}])), "tools.0.configs.0.name: expected one of bash, "),
        (toolset(json!([{}])), "tools.0.configs.0.name: "),
        (toolset(json!([{"name": "bash"}, {"name": "bash"}])), "tools.0.configs.1.name: expected each tool once"),
        (toolset(json!([{"name": "bash", "type": "read"}])), "tools.0.configs.0.type: expected `bash`"),
        (toolset(json!([{"name": "bash", "enabled": "yes"}])), "tools.0.configs.0.enabled: "),
        (toolset(json!([{"name": "bash", "permission_policy": {}}])), "tools.0.configs.0.permission_policy.type: "),
        (
            toolset(json!([{"name": "bash", "permission_policy": "always_ask"}])),
            "tools.0.configs.0.permission_policy: ",
        ),
        (
            toolset(json!([{"name": "bash", "permission_policy": {"type": "auto"}}])),
            "tools.0.configs.0.permission_policy.type: `auto` needs a judge of calls, which this server doesn't have",
        ),
        (
            toolset(json!([{"name": "web_search"}])),
            "tools.0.configs.0.enabled: the tool `web_search` is not supported yet",
        ),
        (
            toolset(json!([{"name": "web_search", "enabled": false, "user_location": {"type": "approximate"}}])),
            "tools.0.configs.0.user_location: ",
        ),
        (
            fetch(json!({"allowed_domains": ["a.example"], "blocked_domains": ["b.example"]})),
            "tools.0.configs.0.allowed_domains: Only one of allowed_domains or blocked_domains may be set.",
        ),
        (
            fetch(json!({"allowed_domains": []})),
            "tools.0.configs.0.allowed_domains: Empty list of domains is ambiguous. Provide at least one domain or null.",
        ),
        (
            fetch(json!({"blocked_domains": []})),
            "tools.0.configs.0.blocked_domains: Empty list of domains is ambiguous.",
        ),
        (
            fetch(json!({"allowed_domains": many})),
            "tools.0.configs.0.allowed_domains: expected at most 64 domains, got 65",
        ),
        (fetch(json!({"allowed_domains": [1]})), "tools.0.configs.0.allowed_domains.0: expected a host name"),
        (
            fetch(json!({"allowed_domains": ["a.example", "https://b.example"]})),
            &format!("{domain}.1: expected a plain host name"),
        ),
        (fetch(json!({"allowed_domains": ["a.example/path"]})), &format!("{domain}.0: expected a plain host name")),
        (fetch(json!({"allowed_domains": ["a.example:80"]})), &format!("{domain}.0: expected a plain host name")),
        (fetch(json!({"allowed_domains": ["*.example"]})), &format!("{domain}.0: expected a plain host name")),
        (fetch(json!({"allowed_domains": [""]})), &format!("{domain}.0: expected a plain host name")),
        (fetch(json!({"allowed_domains": ["10.0.0.1"]})), &format!("{domain}.0: IP addresses are not supported; ")),
        (fetch(json!({"allowed_domains": ["0x7f.1"]})), &format!("{domain}.0: IP addresses are not supported; ")),
        (fetch(json!({"allowed_domains": ["::1"]})), &format!("{domain}.0: IP addresses are not supported; ")),
        (fetch(json!({"allowed_domains": ["[::1]"]})), &format!("{domain}.0: IP addresses are not supported; ")),
        (fetch(json!({"max_content_tokens": 0})), "tools.0.configs.0.max_content_tokens: "),
        (fetch(json!({"max_content_tokens": "many"})), "tools.0.configs.0.max_content_tokens: "),
        (fetch(json!({"url_sources": "all"})), "tools.0.configs.0.url_sources: expected an object"),
        (
            fetch(json!({"url_sources": {"user_input": "some"}})),
            &format!("{sources}.user_input: expected `all`, `none`"),
        ),
        (
            fetch(json!({"url_sources": {"user_input": {"type": "only", "tools": named(1)}}})),
            &format!("{sources}.user_input.type: expected `all` or `none`"),
        ),
        (
            fetch(
                json!({"url_sources": {"user_input": "none", "client_tool_results": "none", "server_tool_results": {"type": "none"}}}),
            ),
            &format!("{sources}.user_input: all three sources are `none`"),
        ),
        (
            fetch(json!({"url_sources": {"client_tool_results": {"type": "only", "tools": []}}})),
            &format!("{sources}.client_tool_results.tools: expected 1 to 128 tools, got 0"),
        ),
        (
            fetch(json!({"url_sources": {"client_tool_results": {"type": "only", "tools": named(129)}}})),
            &format!("{sources}.client_tool_results.tools: expected 1 to 128 tools, got 129"),
        ),
        (
            fetch(json!({"url_sources": {"client_tool_results": {"type": "only", "tools": twice}}})),
            &format!("{sources}.client_tool_results.tools.1.name: expected each tool once"),
        ),
        (
            fetch(json!({"url_sources": {"client_tool_results": {"type": "except", "tools": named(1)}}})),
            &format!("{sources}.client_tool_results.tools.0.name: expected a custom tool of the same tools, got `t0`"),
        ),
        (
            fetch(json!({"url_sources": {"server_tool_results": {"type": "only", "tools": named(1)}}})),
            &format!("{sources}.server_tool_results.tools.0.name: expected `web_search` or `web_fetch`"),
        ),
        (json!([custom("a"), custom("a")]), "tools.1.name: `a` is the name of another tool"),
        (json!([custom("web_fetch")]), "tools.0.name: `web_fetch` is the name of a built-in tool"),
        (json!([custom("web_search")]), "tools.0.name: `web_search` is the name of a built-in tool"),
        (json!([custom("")]), "tools.0.name: "),
        (json!([custom(&"x".repeat(129))]), "tools.0.name: "),
        (json!([custom("a.b")]), "tools.0.name: expected letters, digits"),
        (json!([{"type": "custom", "name": "a", "input_schema": {"type": "object"}}]), "tools.0.description: "),
        (json!([{"type": "custom", "name": "a", "description": "d"}]), "tools.0.input_schema: "),
        (schema(json!("object")), "tools.0.input_schema.type: "),
        (schema(json!({"type": "array"})), "tools.0.input_schema.type: expected `object`"),
        (schema(json!({"type": "object", "properties": []})), "tools.0.input_schema.properties: "),
        (schema(json!({"type": "object", "required": "a"})), "tools.0.input_schema.required: "),
        (schema(json!({"type": "object", "required": [1]})), "tools.0.input_schema.required: "),
    ];
    for (tools, expected) in cases {
        let message = server.post("/v1/agents", agent(&tools)).await.problem(400);
        assert!(message.starts_with(expected), "{tools}: {message}");
    }
    let tools: Vec<Value> = (0..257).map(|at| custom(&format!("t{at}"))).collect();
    let message = server.post("/v1/agents", agent(&json!(tools))).await.problem(400);
    assert_eq!(message, "tools: expected at most 256 tools in all, got 257");
}

#[tokio::test]
async fn the_model_is_offered_what_is_switched_on() {
    let all = ["bash", "read", "write", "edit", "glob", "grep", "web_fetch"];
    let only = json!([{"type": "agent_toolset_20260401", "default_config": {"enabled": false}, "configs": [{"name": "web_fetch", "enabled": true}]}]);
    for (tools, expected) in [
        (toolset(json!([])), all.to_vec()),
        (toolset(json!([{"name": "web_fetch", "enabled": false}])), all[..6].to_vec()),
        (only, vec!["web_fetch"]),
        (json!([custom("weather")]), vec!["weather"]),
    ] {
        let model = FakeModel::start([Answer::Text("hello")]).await;
        let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
        let agent = server.agent_with(agent(&tools)).await;
        let session = server.session(&agent).await;
        server.say(&session, "hello").await;
        server.until(&session, 0, "session.status_idle").await;
        assert_eq!(offered(&model), expected, "{tools}");
    }
}

#[tokio::test]
async fn the_operator_switches_web_fetch_off_for_all() {
    let answers = [Answer::Call("web_fetch", json!({"url": "https://example.com/"})), Answer::Text("hello")];
    let model = FakeModel::start(answers).await;
    let server = TestServer::without_hosted_tools(Some(&model.url)).await;
    let named = toolset(json!([{"name": "bash"}, {"name": "web_fetch", "enabled": true}]));
    let expected = ".0.configs.1.enabled: `web_fetch` is switched off on this server by its operator";
    let refused = |message: String, at: &str| assert_eq!(message, format!("{at}{expected}"));
    refused(server.post("/v1/agents", agent(&named)).await.problem(400), "tools");
    let off = toolset(json!([{"name": "web_fetch", "enabled": false}]));
    server.post("/v1/agents", agent(&off)).await.ok();
    let helper = server.agent_with(agent(&toolset(json!([])))).await;
    refused(server.post(&format!("/v1/agents/{helper}"), json!({"tools": named})).await.problem(400), "tools");
    let with = json!({"type": "agent_with_overrides", "id": helper, "tools": named});
    let body = json!({"agent": with, "environment_id": "default"});
    refused(server.post("/v1/sessions", body).await.problem(400), "agent.tools");
    let session = server.session(&helper).await;
    let update = json!({"agent": {"tools": named}});
    refused(server.post(&format!("/v1/sessions/{session}"), update).await.problem(400), "agent.tools");
    server.say(&session, "hello").await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    assert!(!offered(&model).contains(&"web_fetch".to_owned()), "{:?}", offered(&model));
    let results = of_kind(&frames, "agent.tool_result");
    assert_eq!(results[0]["is_error"], true, "and if a model calls it all the same, it doesn't run: {results:?}");
    assert!(results[0].to_string().contains("switched off on this server"), "{results:?}");
}

#[tokio::test]
async fn calls_show_what_was_decided_about_them() {
    let calls = vec![
        ("web_fetch", json!({"url": "https://example.com/"})),
        ("grep", json!({"pattern": "x"})),
        ("nonsense", json!({})),
        ("bash", json!({"command": "echo hi"})),
        ("weather", json!({"city": "here"})),
    ];
    let model = FakeModel::start([Answer::Calls(calls), Answer::Text("done")]).await;
    let server = TestServer::with(Some(&model.url), ServerConfig::default()).await;
    let mut tools = toolset(json!([
        {"name": "grep", "enabled": false}, {"name": "bash", "permission_policy": {"type": "always_ask"}}]));
    tools.as_array_mut().unwrap().push(custom("weather"));
    let agent = server.agent_with(agent(&tools)).await;
    let session = server.session(&agent).await;
    server.say(&session, "go").await;
    let frames = server.until(&session, 0, "session.status_idle").await;
    let shown: Vec<Value> = of_kind(&frames, "agent.tool_use")
        .iter()
        .map(|use_| json!([use_["name"], use_["evaluated_permission"], use_.get("evaluation")]))
        .collect();
    assert_eq!(
        shown,
        [
            json!(["web_fetch", "allow", {"type": "always_allow"}]),
            json!(["grep", "deny", null]),
            json!(["nonsense", "deny", null]),
            json!(["bash", "ask", {"type": "always_ask"}]),
        ]
    );
    let uses = of_kind(&frames, "agent.tool_use");
    let result = |name: &str, frames: &[Frame]| {
        let call = uses.iter().find(|use_| use_["name"] == name).unwrap()["id"].clone();
        of_kind(frames, "agent.tool_result").into_iter().find(|result| result["tool_use_id"] == call).cloned()
    };
    let refused = result("grep", &frames).unwrap();
    assert_eq!(refused["is_error"], true);
    assert!(refused.to_string().contains("`grep` is switched off for this agent"), "{refused}");
    assert!(result("nonsense", &frames).unwrap().to_string().contains("there is no tool named `nonsense`"));
    assert_eq!(result("web_fetch", &frames).unwrap()["content"][0]["text"], "fetched: https://example.com/");
    let idle = of_kind(&frames, "session.status_idle")[0];
    let asked = uses.iter().find(|use_| use_["name"] == "bash").unwrap()["id"].clone();
    let custom = of_kind(&frames, "agent.custom_tool_use")[0]["id"].clone();
    assert_eq!(idle["stop_reason"], json!({"type": "requires_action", "event_ids": [asked, custom]}));

    let deny =
        json!({"type": "user.tool_confirmation", "tool_use_id": asked, "result": "deny", "deny_message": "too risky"});
    let sunny = json!({"type": "user.custom_tool_result", "custom_tool_use_id": custom, "content": [{"type": "text", "text": "sunny"}]});
    let last = frames.last().unwrap().id.unwrap();
    server.post(&format!("/v1/sessions/{session}/events"), json!({"events": [deny, sunny]})).await.ok();
    let frames = server.until(&session, last, "session.status_idle").await;
    let denied = result("bash", &frames).unwrap();
    assert_eq!(denied["is_error"], true);
    assert!(denied.to_string().contains("too risky"), "{denied}");
    assert_eq!(server.engine.backend.opened(), 0, "nothing of this needed a sandbox");
}
