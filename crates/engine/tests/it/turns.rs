//! A turn from a message to idleness.

use std::time::Duration;

use serde_json::json;
use tenure_core::fact::Fact;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Input, StopReason};
use tenure_engine::{Config, Error};
use tenure_testkit::{Answer, FakeModel, TestEngine, message, script};

#[tokio::test]
async fn a_tool_call_runs_and_its_result_reaches_the_model() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "echo hi"})), Answer::Text("done")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "say hi").await;
    let facts = engine.until_idle(session, 0).await;
    let kinds: Vec<&str> = facts.iter().map(|stored| stored.fact.kind()).collect();
    assert_eq!(
        kinds,
        [
            "session_created",
            "session_running",
            "thread_running",
            "input_processed",
            "attempt_started",
            "call_requested",
            "attempt_ended",
            "sandbox_starting",
            "sandbox_running",
            "call_started",
            "call_ended",
            "attempt_started",
            "message_said",
            "attempt_ended",
            "thread_idle",
            "usage_recorded",
            "session_idle",
        ]
    );
    let second = &model.requests()[1];
    let messages = second["messages"].as_array().expect("a list");
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1]["content"][0]["type"], "tool_use");
    let result = &messages[2]["content"][0];
    assert_eq!(result["tool_use_id"], messages[1]["content"][0]["id"]);
    assert!(result["content"].to_string().contains("ran: echo hi"), "{result}");
    let call = engine.backend.started()[0];
    engine.backend.wait_acknowledged(call).await;
}

#[tokio::test]
async fn what_is_said_while_it_works_waits_and_then_gets_a_turn() {
    let model =
        FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("one"), Answer::Text("two")])
            .await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "first").await;
    let call = engine.backend.wait_started(1).await[0];
    let sent = engine.engine.sessions().send(DEFAULT_TENANT, session, vec![message("second")], None).await;
    assert!(matches!(&*sent.expect("it is accepted")[0].fact, Fact::InputQueued { .. }));
    engine.backend.release(call);
    let facts = engine.until_idle(session, 0).await;
    let last = facts.last().expect("there are facts").seq;
    engine.until_idle(session, last).await;
    let third = model.requests()[2].to_string();
    assert!(third.contains("second") && third.contains("one"), "{third}");
}

#[tokio::test]
async fn an_interrupt_ends_the_call_and_the_turn() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("what now")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    let inputs = vec![Input::Interrupt { thread: None }, message("never mind")];
    engine.engine.sessions().send(DEFAULT_TENANT, session, inputs, None).await.expect("it is accepted");
    engine.backend.wait_cancelled(call).await;
    let idle = engine.until_idle(session, 0).await;
    let last = idle.last().expect("there are facts").seq;
    engine.until_idle(session, last).await;
    let second = model.requests()[1].to_string();
    assert!(second.contains("interrupted by the user while it ran"), "{second}");
    assert!(second.contains("never mind"), "{second}");
}

#[tokio::test]
async fn a_script_is_a_model_too() {
    let engine = TestEngine::start(None).await;
    engine.script(
        "two",
        &script(&[
            "{text: looking, tools: [{name: bash, input: {command: ls}}]}",
            "{text: \"it says {{last_tool_result}}\"}",
        ]),
    );
    let session = engine.session("script/two").await;
    engine.say(session, "go").await;
    let facts = engine.until_idle(session, 0).await;
    let said: Vec<&str> = facts
        .iter()
        .filter_map(|stored| match &*stored.fact {
            Fact::MessageSaid { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(said.len(), 2);
    assert!(said[1].contains("ran: ls"), "{said:?}");
}

#[tokio::test]
async fn other_tenants_see_nothing() {
    let engine = TestEngine::start(None).await;
    let session = engine.session("script/demo").await;
    let stranger = tenure_core::id::TenantId::from_bits(2);
    let sessions = engine.engine.sessions();
    assert!(matches!(sessions.get(stranger, session).await, Err(Error::NotFound { .. })));
    let sent = sessions.send(stranger, session, vec![message("x")], None).await;
    assert!(matches!(sent, Err(Error::NotFound { .. })));
    assert!(matches!(sessions.delete(stranger, session).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_session_that_works_is_not_deleted_and_a_deleted_one_is_gone() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"}))]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    engine.backend.wait_started(1).await;
    let sessions = engine.engine.sessions();
    assert!(matches!(sessions.delete(DEFAULT_TENANT, session).await, Err(Error::Refused(_))));
    sessions.send(DEFAULT_TENANT, session, vec![Input::Interrupt { thread: None }], None).await.expect("accepted");
    sessions.delete(DEFAULT_TENANT, session).await.expect("it is idle");
    assert!(matches!(sessions.get(DEFAULT_TENANT, session).await, Err(Error::NotFound { .. })));
    assert_eq!(engine.backend.alive_count(), 0);
    assert!(!engine.backend.has_files(session));
    assert_eq!(engine.store.purges().await.expect("the store works"), []);
}

#[tokio::test]
async fn a_full_queue_is_refused_and_loses_nothing() {
    let model = FakeModel::start([Answer::Hang]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let many = (0..1000).map(|number| message(&number.to_string())).collect();
    let sessions = engine.engine.sessions();
    sessions.send(DEFAULT_TENANT, session, many, None).await.expect("there is room");
    let refused = sessions.send(DEFAULT_TENANT, session, vec![message("one more")], None).await;
    assert!(matches!(refused, Err(Error::Refused(tenure_core::decide::Refusal::QueueFull))));
    let view = sessions.get(DEFAULT_TENANT, session).await.expect("it is there");
    assert_eq!(view.summary.queued.len(), 1000);
    assert_ne!(view.summary.stop, StopReason::RetriesExhausted);
}

#[tokio::test]
async fn a_session_that_never_sleeps_is_kept_now_and_then() {
    let config = Config { awake_linger: Duration::from_secs(3600), ..Config::default() };
    let engine = TestEngine::with_config(None, config).await;
    engine.script("one", &script(&["{text: done}"]));
    let session = engine.session("script/one").await;
    let mut last = 0;
    while last < 2_100 {
        engine.say(session, "go").await;
        last = engine.until_idle(session, last).await.last().expect("there are facts").seq;
        if last > 1_100 && engine.store.load_state(session).await.expect("the store works").is_some() {
            break;
        }
    }
    let kept = engine.store.load_state(session).await.expect("the store works").expect("it is kept by then");
    assert!(kept.seq >= 1_000 && kept.seq <= last);
}
