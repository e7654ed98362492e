//! Labels: given at creation, changed as a whole, and looked for.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{TestServer, id, ids};

#[tokio::test]
async fn labels_are_given_changed_and_cleared() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let body = json!({"agent": agent, "environment_id": "default", "labels": ["web", "nightly", "Team-1/a_b.c"]});
    let made = server.post("/v1/sessions", body).await.ok();
    assert_eq!(made["tenure"]["labels"], json!(["Team-1/a_b.c", "nightly", "web"]));
    let path = format!("/v1/sessions/{}", id(&made));
    let labels = async |body: Value| server.post(&path, body).await.ok()["tenure"]["labels"].clone();
    assert_eq!(labels(json!({"title": "t"})).await, json!(["Team-1/a_b.c", "nightly", "web"]));
    assert_eq!(labels(json!({"labels": ["b", "a"]})).await, json!(["a", "b"]));
    assert_eq!(labels(json!({"labels": ["a", "b"]})).await, json!(["a", "b"]));
    assert_eq!(labels(json!({"labels": null})).await, json!([]));
    assert_eq!(labels(json!({"labels": []})).await, json!([]));
    let told = server.get(&format!("{path}/events?types[]=session.updated")).await.ok();
    let told: Vec<&Value> = told["data"].as_array().unwrap().iter().map(|event| &event["labels"]).collect();
    assert_eq!(told, [&Value::Null, &json!(["a", "b"]), &json!([])], "only what changes is told");
    assert_eq!(server.get(&path).await.ok()["tenure"]["labels"], json!([]));
}

#[tokio::test]
async fn wrong_labels_are_refused_and_nothing_is_made() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let long = "x".repeat(64);
    let many: Vec<String> = (0..17).map(|at| at.to_string()).collect();
    let session = server.session(&agent).await;
    for (labels, expected) in [
        (json!("web"), "labels: expected a list, got `web`"),
        (json!([1]), "labels.0: expected a string, got 1"),
        (json!(["a", "b", "a"]), "labels.2: expected each label once, got `a` again"),
        (json!([""]), "labels.0: expected 1 to 63 letters"),
        (json!(["a b"]), "labels.0: expected 1 to 63 letters"),
        (json!(["é"]), "labels.0: expected 1 to 63 letters"),
        (json!([long]), "labels.0: expected 1 to 63 letters"),
        (json!(many), "labels: expected at most 16 labels, got 17"),
    ] {
        let body = json!({"agent": agent, "environment_id": "default", "labels": labels});
        let message = server.post("/v1/sessions", body).await.problem(400);
        assert!(message.starts_with(expected), "{message}");
        let message = server.post(&format!("/v1/sessions/{session}"), json!({"labels": labels})).await.problem(400);
        assert!(message.starts_with(expected), "{message}");
    }
    assert_eq!(ids(&server.get("/v1/sessions").await.ok()), [session.as_str()]);
    for wrong in ["labels[]=", "labels[]=a%20b", &format!("labels[]={long}"), &"labels[]=x&".repeat(17)] {
        let message = server.get(&format!("/v1/sessions?{wrong}")).await.problem(400);
        assert!(message.starts_with("labels: "), "{wrong}: {message}");
    }
}

#[tokio::test]
async fn sessions_are_found_by_all_their_labels() {
    let server = TestServer::start().await;
    let agent = server.agent("greeter", &["text: hello"]).await;
    let mut made = Vec::new();
    for at in 0..6 {
        server.engine.clock.advance(Duration::from_secs(1));
        let labels: Vec<&str> = [("even", at % 2 == 0), ("all", true), ("a/b", at == 4)]
            .into_iter()
            .filter_map(|(label, wanted)| wanted.then_some(label))
            .collect();
        let body = json!({"agent": agent, "environment_id": "default", "labels": labels});
        made.push(id(&server.post("/v1/sessions", body).await.ok()));
    }
    for (query, expected) in [
        ("labels[]=even", &[4, 2, 0][..]),
        ("labels%5B%5D=even&labels%5B%5D=all&order=asc", &[0, 2, 4]),
        ("labels=even&labels[]=even", &[4, 2, 0]),
        ("labels[]=a%2Fb&labels[]=even", &[4]),
        ("labels[]=a/b", &[4]),
        ("labels[]=even&labels[]=none", &[]),
        ("labels[]=Even", &[]),
        ("labels[]=even&statuses[]=running", &[]),
        ("labels[]=even&statuses[]=idle&limit=1", &[4]),
    ] {
        let expected: Vec<_> = expected.iter().map(|at| made[*at as usize].clone()).collect();
        assert_eq!(ids(&server.get(&format!("/v1/sessions?{query}")).await.ok()), expected, "{query}");
    }

    // A cursor belongs to the labels it was given for, in whatever order they are sent.
    let first = server.get("/v1/sessions?labels[]=all&labels[]=even&limit=2").await.ok();
    let next = first["next_page"].as_str().unwrap();
    let rest = server.get(&format!("/v1/sessions?labels[]=even&labels[]=all&page={next}")).await.ok();
    assert_eq!([ids(&first), ids(&rest)].concat(), [4, 2, 0].map(|at: usize| made[at].clone()));
    let back = rest["prev_page"].as_str().unwrap();
    let back = server.get(&format!("/v1/sessions?labels[]=even&labels[]=all&page={back}")).await.ok();
    assert_eq!(ids(&back), ids(&first));
    let plain = server.get("/v1/sessions?limit=1").await.ok();
    let plain = plain["next_page"].as_str().unwrap();
    for other in [format!("page={next}"), format!("labels[]=even&page={next}"), format!("labels[]=all&page={plain}")] {
        let message = server.get(&format!("/v1/sessions?{other}")).await.problem(400);
        assert!(message.contains("other `labels`"), "{message}");
    }
}
