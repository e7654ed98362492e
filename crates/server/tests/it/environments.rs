//! `/v1/environments`.

use serde_json::json;

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
            json!({"type": "cloud", "packages": {"pip": ["numpy"]}}),
            "config.packages.pip: packages are not supported yet",
        ),
        (
            json!({"type": "cloud", "limits": {"memory_bytes": 1}}),
            "config.limits.memory_bytes: expected a whole number",
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
