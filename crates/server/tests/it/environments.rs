//! `/v1/environments`.

use serde_json::{Value, json};

use crate::support::{TestServer, id, ids, normal};

#[tokio::test]
async fn an_environment_is_shown_whole() {
    let server = TestServer::start().await;
    let body = json!({
        "name": "box", "description": "d", "metadata": {"k": "v"}, "scope": "organization",
        "config": {"type": "cloud", "networking": {"type": "unrestricted"}, "packages": {"type": "packages", "pip": []},
                   "limits": {"memory_bytes": 536_870_912, "pids": 100}},
    });
    let made = server.post("/v1/environments", body).await.ok();
    crate::assert_snapshot!("environment.json", normal(&format!("{made:#}\n")));
    let environment = id(&made);
    assert_eq!(server.get(&format!("/v1/environments/{environment}")).await.ok(), made);
    assert!(ids(&server.get("/v1/environments").await.ok()).contains(&environment));

    let again = server.post("/v1/environments", json!({"name": "box"})).await;
    assert_eq!(again.header("x-should-retry"), Some("false"));
    again.problem(409);
    server.post("/v1/environments", json!({"name": "plain", "config": null})).await.ok();
}

#[tokio::test]
async fn what_cannot_be_enforced_is_refused() {
    let server = TestServer::start().await;
    let cases = [
        (json!({"type": "self_hosted"}), "config.type: "),
        (json!({"networking": {"type": "unrestricted"}}), "config.type: expected `cloud` or `self_hosted`, but"),
        (
            json!({"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["a.b"]}}),
            "config.networking.type: ",
        ),
        (
            json!({"type": "cloud", "packages": {"pip": ["numpy", "--index-url=http://x"]}}),
            "config.packages.pip[1]: expected `name`, `name==version` or a range like `name>=1,<2`, got `--index-url",
        ),
        (json!({"type": "cloud", "packages": {"npm": [7]}}), "config.packages.npm[0]: expected a string, got 7"),
        (json!({"type": "cloud", "packages": {"apt": "jq"}}), "config.packages.apt: expected a list, got `jq`"),
        (
            json!({"type": "cloud", "packages": {"gem": vec!["rake"; 257]}}),
            "config.packages.gem: expected at most 256 packages, got 257",
        ),
        (
            json!({"type": "cloud", "packages": {"cargo": ["ripgrep"]}}),
            "config.packages.cargo: its packages are built from what a registry has",
        ),
        (
            json!({"type": "cloud", "packages": {"pip": ["numpy", "absent"]}}),
            "config.packages: pip: no archive of absent",
        ),
        (
            json!({"type": "cloud", "limits": {"memory_bytes": 1}}),
            "config.limits.memory_bytes: expected a number of bytes from 16777216 (16 MiB) to ",
        ),
        (
            json!({"type": "cloud", "root": {"type": "disk"}}),
            "config.root.type: expected `host`, `directory`, `image` or `archive`",
        ),
        (json!({"type": "cloud", "root": {"type": "directory"}}), "config.root.path: "),
        (
            json!({"type": "cloud", "root": {"type": "directory", "path": "srv"}}),
            "config.root.path: expected an absolute path",
        ),
        (
            json!({"type": "cloud", "root": {"type": "archive", "path": "/etc/x.tar"}}),
            "config.root: only what is below /allowed may be",
        ),
        (
            json!({"type": "cloud", "root": {"type": "image", "reference": "Debian"}}),
            "config.root.reference: expected a name like",
        ),
        (json!("cloud"), "config: expected an object, got `cloud`"),
    ];
    for (config, expected) in cases {
        let message = server.post("/v1/environments", json!({"name": "e", "config": config})).await.problem(400);
        assert!(message.starts_with(expected), "{message}");
    }
    server.get("/v1/environments/agent_1111111111111111111111").await.problem(404);
    server.get("/v1/environments/env_1111111111111111111111").await.problem(404);
}

/// All limits, of which these are set.
fn limits(set: Value) -> Value {
    let names = ["memory_bytes", "cpu_millis", "pids", "disk_bytes", "inodes", "open_files", "call_ms", "output_bytes"];
    names.into_iter().map(|name| (name.to_owned(), set[name].clone())).collect()
}

#[tokio::test]
async fn an_update_merges() {
    let server = TestServer::start().await;
    let body = json!({"name": "box", "description": "d", "metadata": {"a": "1", "b": "2", "c": "3"},
        "config": {"type": "cloud", "limits": {"memory_bytes": 536_870_912, "pids": 100}}});
    let made = server.post("/v1/environments", body).await.ok();
    let path = format!("/v1/environments/{}", id(&made));
    for nothing in [json!({}), json!({"name": null, "config": null, "metadata": null}), made.clone()] {
        assert_eq!(server.post(&path, nothing).await.ok(), made, "a change of nothing changes nothing");
    }
    let cases = [
        (json!({"name": "crate"}), "/name", json!("crate")),
        (json!({"description": ""}), "/description", json!("")),
        (json!({"description": null}), "/description", json!(null)),
        (json!({"metadata": {"a": null, "b": "", "c": "4", "d": "5"}}), "/metadata", json!({"c": "4", "d": "5"})),
        (
            json!({"config": {"type": "cloud", "networking": null, "packages": null, "limits": null}}),
            "/config/limits",
            limits(json!({"memory_bytes": 536_870_912, "pids": 100})),
        ),
        (
            json!({"config": {"limits": {"cpu_millis": 500, "pids": null}}}),
            "/config/limits",
            limits(json!({"memory_bytes": 536_870_912, "cpu_millis": 500})),
        ),
    ];
    let mut before = made;
    for (change, place, expected) in cases {
        let after = server.post(&path, change.clone()).await.ok();
        assert_eq!(after.pointer(place), Some(&expected), "{change}");
        let (mut rest, mut rest_before) = (after.clone(), before);
        for environment in [&mut rest, &mut rest_before] {
            environment["updated_at"] = json!(null);
            *environment.pointer_mut(place).unwrap() = json!(null);
        }
        assert_eq!(rest, rest_before, "{change} changes nothing else");
        assert_eq!(server.get(&path).await.ok(), after);
        before = after;
    }
    let root = |root: Value| json!({"config": {"root": root}});
    for (given, shown) in [
        (
            json!({"type": "image", "reference": "debian:12"}),
            json!({"type": "image", "reference": "docker.io/library/debian:12"}),
        ),
        (json!({"type": "directory", "path": "/allowed/a"}), json!({"type": "directory", "path": "/allowed/a"})),
        (json!(null), json!({"type": "directory", "path": "/allowed/a"})),
        (json!({"type": "archive", "path": "/allowed/b.tar"}), json!({"type": "archive", "path": "/allowed/b.tar"})),
        (json!({"type": "host"}), json!(null)),
    ] {
        assert_eq!(server.post(&path, root(given)).await.ok()["config"]["root"], shown);
    }
    for (given, apt, pip) in [
        (json!({"pip": ["a==1", "b"], "apt": ["jq=1.6"]}), json!(["jq=1.6"]), json!(["a==1", "b"])),
        (json!({"pip": null, "apt": ["jq"]}), json!(["jq"]), json!(["a==1", "b"])),
        (json!({"pip": []}), json!(["jq"]), json!([])),
    ] {
        let shown = server.post(&path, json!({"config": {"packages": given}})).await.ok();
        let packages = &shown["config"]["packages"];
        assert_eq!((&packages["apt"], &packages["pip"], &packages["npm"]), (&apt, &pip, &json!([])));
    }
    let refused = server.post(&path, root(json!({"type": "directory", "path": "/etc"}))).await.problem(400);
    assert!(refused.starts_with("config.root: "), "{refused}");
    let limits = json!({"config": {"limits": {"memory_bytes": null, "cpu_millis": null}}});
    assert_eq!(server.post(&path, limits).await.ok()["config"].get("limits"), None);
}

#[tokio::test]
async fn wrong_updates_are_refused_with_their_codes() {
    let server = TestServer::start().await;
    server.post("/v1/environments", json!({"name": "taken"})).await.ok();
    let many: serde_json::Map<_, _> = (0..16).map(|at| (format!("k{at}"), json!("v"))).collect();
    let made = server.post("/v1/environments", json!({"name": "box", "metadata": many})).await.ok();
    let path = format!("/v1/environments/{}", id(&made));
    let cases = [
        (json!({"name": ""}), 400, "name: expected 1 to 256", json!(null)),
        (json!({"name": "taken"}), 409, "name: `taken` is taken", json!(null)),
        (json!({"config": {"type": "self_hosted"}}), 400, "config.type: ", json!("invalid_config_type_change")),
        (
            json!({"config": {"type": "cloud", "networking": {"type": "limited"}}}),
            400,
            "config.networking.type: ",
            json!(null),
        ),
        (json!({"config": {"packages": {"go": ["x.y/z"]}}}), 400, "config.packages.go: ", json!(null)),
        (json!({"config": {"packages": {"apt": ["-f"]}}}), 400, "config.packages.apt[0]: ", json!(null)),
        (json!({"config": {"packages": {"apt": ["absent"]}}}), 400, "config.packages: apt: ", json!(null)),
        (json!({"config": {"limits": {"pids": 1}}}), 400, "config.limits.pids: ", json!(null)),
        (json!({"metadata": {"one more": "v"}}), 400, "metadata: expected at most 16 pairs", json!("invalid_metadata")),
        (json!({"metadata": {"k1": 7}}), 400, "metadata.k1: expected a string", json!("invalid_metadata")),
        (json!({"scope": "account"}), 400, "scope: ", json!(null)),
    ];
    for (change, status, expected, code) in cases {
        let answer = server.post(&path, change.clone()).await;
        assert_eq!(answer.json()["error"]["details"]["error_code"], code, "{change}");
        let message = answer.problem(status);
        assert!(message.starts_with(expected), "{change}: {message}");
    }
    assert_eq!(server.get(&path).await.ok(), made, "nothing was changed");
    server.post(&path, json!({"metadata": {"k1": null, "one more": "v"}})).await.ok();
    for method in ["get", "post"] {
        let gone = "/v1/environments/env_1111111111111111111111";
        let answer = if method == "get" { server.get(gone).await } else { server.post(gone, json!({})).await };
        assert_eq!(answer.json()["error"]["details"]["error_code"], "environment_not_found");
        answer.problem(404);
    }
}

#[tokio::test]
async fn an_archived_environment_is_only_read() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let environment = id(&server.post("/v1/environments", json!({"name": "box"})).await.ok());
    let path = format!("/v1/environments/{environment}");
    let body = json!({"agent": agent, "environment_id": environment});
    let session = id(&server.post("/v1/sessions", body.clone()).await.ok());

    let archived = server.post(&format!("{path}/archive"), json!({})).await.ok();
    assert!(archived["archived_at"].is_string());
    assert_eq!(server.post(&format!("{path}/archive"), json!({})).await.ok(), archived, "a second time is the same");
    assert_eq!(server.get(&path).await.ok(), archived);
    for answer in [server.post(&path, json!({"name": "x"})).await, server.post("/v1/sessions", body).await] {
        assert_eq!(answer.json()["error"]["details"]["error_code"], "environment_archived");
        answer.problem(400);
    }
    server.post("/v1/environments", json!({"name": "box"})).await.problem(409);
    assert!(!ids(&server.get("/v1/environments").await.ok()).contains(&environment));
    assert!(ids(&server.get("/v1/environments?include_archived=true").await.ok()).contains(&environment));
    server.say(&session, "still there?").await;
    server.until(&session, 0, "session.status_idle").await;
}

#[tokio::test]
async fn an_environment_is_deleted_once_no_session_refers_to_it() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let environment = id(&server.post("/v1/environments", json!({"name": "box"})).await.ok());
    let path = format!("/v1/environments/{environment}");
    let session = id(&server.post("/v1/sessions", json!({"agent": agent, "environment_id": environment})).await.ok());
    server.post(&format!("/v1/sessions/{session}/archive"), json!({})).await.ok();

    let refused = server.delete(&path).await;
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(refused.problem(409).contains("sessions refer to"), "archived sessions count");
    server.get(&path).await.ok();
    server.delete(&format!("/v1/sessions/{session}")).await.ok();
    assert_eq!(server.delete(&path).await.ok(), json!({"id": environment, "type": "environment_deleted"}));
    server.get(&path).await.problem(404);
    server.delete(&path).await.problem(404);
    server.post("/v1/environments", json!({"name": "box"})).await.ok();
}

#[tokio::test]
async fn the_environment_every_tenant_has_stays() {
    let server = TestServer::start().await;
    let listed = server.get("/v1/environments").await.ok();
    let path = format!("/v1/environments/{}", ids(&listed)[0]);
    for refused in [
        server.delete(&path).await,
        server.post(&format!("{path}/archive"), json!({})).await,
        server.post(&path, json!({"name": "other"})).await,
    ] {
        assert!(refused.problem(400).contains("every tenant has the environment `default`"));
    }
    server.post(&path, json!({"name": "default", "description": "mine"})).await.ok();
}

#[tokio::test]
async fn environments_page_from_the_newest() {
    let server = TestServer::start().await;
    let mut made = Vec::new();
    for number in 0..4 {
        server.engine.clock.advance(std::time::Duration::from_secs(1));
        let environment = server.post("/v1/environments", json!({"name": format!("e{number}")})).await.ok();
        made.insert(0, id(&environment));
    }
    server.post(&format!("/v1/environments/{}/archive", made[1]), json!({})).await.ok();
    for (query, expected) in [("", vec![0, 2, 3]), ("&include_archived=true", vec![0, 1, 2, 3])] {
        let mut listed = Vec::new();
        let mut page = String::new();
        loop {
            let answer = server.get(&format!("/v1/environments?limit=2{query}{page}")).await.ok();
            assert_eq!(answer.get("prev_page"), None);
            listed.extend(ids(&answer));
            let Some(next) = answer["next_page"].as_str() else { break };
            page = format!("&page={next}");
        }
        let expected: Vec<_> = expected.into_iter().map(|at: usize| made[at].clone()).collect();
        assert_eq!(listed[..expected.len()], expected);
        assert_eq!(listed.len(), expected.len() + 1, "and the one every tenant has");
    }
    for wrong in ["page=page", "limit=0", "limit=1001", "include_archived=perhaps"] {
        server.get(&format!("/v1/environments?{wrong}")).await.problem(400);
    }
}

#[tokio::test]
async fn a_key_makes_a_repeated_change_harmless() {
    let server = TestServer::start().await;
    let environment = id(&server.post("/v1/environments", json!({"name": "box"})).await.ok());
    let path = format!("/v1/environments/{environment}");
    let change = json!({"description": "first"});
    let first = server.post_with(&path, change.clone(), &[("idempotency-key", "k")]).await.ok();
    server.post(&path, json!({"description": "second"})).await.ok();
    let again = server.post_with(&path, change, &[("idempotency-key", "k")]).await;
    assert_eq!(again.header("x-tenure-replayed"), Some("true"));
    assert_eq!(again.ok(), first);
    assert_eq!(server.get(&path).await.ok()["description"], "second");
}

#[tokio::test]
async fn a_session_says_what_is_done_to_get_its_sandbox_ready() {
    let server = TestServer::start().await;
    let agent = server.agent("worker", &["{tools: [{name: bash, input: {command: echo one}}]}", "text: done"]).await;
    let session = server.session(&agent).await;
    let path = format!("/v1/sessions/{session}");
    assert_eq!(server.get(&path).await.ok()["tenure"].get("preparing"), None);
    server.engine.backend.hold_opening(true);
    server.say(&session, "work").await;
    while server.get(&path).await.ok()["tenure"]["preparing"] != "a test holds it up" {}
    server.engine.backend.hold_opening(false);
    server.until(&session, 0, "session.status_idle").await;
    assert_eq!(server.get(&path).await.ok()["tenure"].get("preparing"), None);
}
