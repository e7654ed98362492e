//! There is only so much room for requests to models and for sandboxes: sessions wait in a line that can be seen.

use serde_json::json;
use tenure_core::content::Block;
use tenure_core::fact::Fact;
use tenure_core::id::SessionId;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Absent, Delivery, Input};
use tenure_engine::Config;
use tenure_testkit::{Answer, FakeModel, TestEngine};

async fn interrupt(engine: &TestEngine, session: SessionId) {
    let sent =
        engine.engine.sessions().send(DEFAULT_TENANT, session, vec![Input::Interrupt { thread: None }], None).await;
    sent.expect("it can be interrupted");
}

#[tokio::test]
async fn requests_to_models_wait_in_a_line() {
    let model = FakeModel::start([Answer::Hang]).await;
    let config = Config { max_model_requests: 1, ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let agent = engine.agent("claude-test").await;
    let mut sessions = Vec::new();
    for number in 0..5 {
        let session = engine.session_for(agent.clone(), None).await;
        engine.say(session, &format!("message {number}")).await;
        engine.clock.advance(std::time::Duration::from_secs(1));
        sessions.push(session);
    }
    model.wait_asked(1).await;
    let room = engine.engine.stats().model_requests;
    assert_eq!((room.in_use, room.limit, room.waiting), (1, 1, 4));
    assert_eq!(room.oldest_wait.map(|wait| wait.as_secs()), Some(4));

    // Those that don't wait any more are passed over.
    let handle = engine.engine.sessions();
    interrupt(&engine, sessions[1]).await;
    handle.hold(DEFAULT_TENANT, sessions[2], None).await.expect("it can be stopped");
    interrupt(&engine, sessions[3]).await;
    handle.delete(DEFAULT_TENANT, sessions[3]).await.expect("it is idle");
    assert_eq!(model.requests().len(), 1, "nobody else was let in");
    interrupt(&engine, sessions[0]).await;
    model.wait_asked(2).await;
    assert!(model.requests()[1].to_string().contains("message 4"));
    let room = engine.engine.stats().model_requests;
    assert_eq!((room.in_use, room.waiting, room.oldest_wait), (1, 0, None));
}

#[tokio::test]
async fn a_session_that_is_flooded_makes_another_wait_for_one_request_at_most() {
    let model = FakeModel::start([Answer::Text("done")]).await;
    let config = Config { max_model_requests: 1, ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let agent = engine.agent("claude-test").await;
    let (flooded, quiet) = (engine.session_for(agent.clone(), None).await, engine.session_for(agent, None).await);
    for number in 0..200 {
        engine.say(flooded, &format!("flood {number}")).await;
    }
    engine.say(quiet, "quiet").await;
    let asked_before = model.requests().len();
    engine.until_idle(quiet, 0).await;
    let requests = model.requests();
    let place = requests.iter().position(|request| request.to_string().contains("quiet")).expect("it was asked");
    assert!(place <= asked_before + 2, "request {place}, when {asked_before} had been made");
}

/// Three sessions that want the one sandbox there is room for: the first has it, and the others came 5 s apart.
async fn three_in_line(engine: &TestEngine) -> Vec<SessionId> {
    let agent = engine.agent("claude-test").await;
    let mut sessions = Vec::new();
    for number in 0..3 {
        let session = engine.session_for(agent.clone(), None).await;
        engine.say(session, "go").await;
        if number > 0 {
            let queued = |fact: &Fact| matches!(fact, Fact::SandboxAbsent { why: Absent::Queued, .. });
            engine.until(session, 0, queued).await;
            engine.clock.advance(std::time::Duration::from_secs(5));
        } else {
            engine.backend.wait_started(1).await;
        }
        sessions.push(session);
    }
    sessions
}

#[tokio::test]
async fn who_waits_for_a_sandbox_is_seen_until_it_does_not_any_more() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"}))]).await;
    let config = Config { max_sandboxes: 1, ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let sessions = three_in_line(&engine).await;
    let room = engine.engine.stats().sandbox_room;
    assert_eq!((room.in_use, room.limit, room.waiting), (1, 1, 2));
    assert_eq!(room.oldest_wait.map(|wait| wait.as_secs()), Some(10));
    let handle = engine.engine.sessions();
    handle.hold(DEFAULT_TENANT, sessions[1], None).await.expect("it can be stopped");
    let room = engine.engine.stats().sandbox_room;
    assert_eq!((room.waiting, room.oldest_wait.map(|wait| wait.as_secs())), (1, Some(5)));
    handle.hold(DEFAULT_TENANT, sessions[0], None).await.expect("so can this");
    engine.until(sessions[2], 0, |fact| matches!(fact, Fact::CallStarted { .. })).await;
    let room = engine.engine.stats().sandbox_room;
    assert_eq!((room.in_use, room.waiting), (1, 0));
}

#[tokio::test]
async fn who_is_interrupted_or_steered_while_it_waits_for_a_sandbox_leaves_the_line() {
    let call = || Answer::Call("bash", json!({"command": "wait"}));
    let model = FakeModel::start([call(), call(), call(), Answer::Text("as you wish")]).await;
    let engine = TestEngine::with_config(Some(&model.url), Config { max_sandboxes: 1, ..Config::default() }).await;
    let sessions = three_in_line(&engine).await;
    assert_eq!(engine.engine.stats().sandbox_room.waiting, 2);
    interrupt(&engine, sessions[1]).await;
    assert_eq!(engine.engine.stats().sandbox_room.waiting, 1);
    let steering = Input::Message { content: vec![Block::text("rather not")], delivery: Delivery::Steer };
    let sent = engine.engine.sessions().send(DEFAULT_TENANT, sessions[2], vec![steering], None).await;
    sent.expect("it can be steered");
    assert_eq!(engine.engine.stats().sandbox_room.waiting, 0);
    engine.until_idle(sessions[2], 0).await;
}
