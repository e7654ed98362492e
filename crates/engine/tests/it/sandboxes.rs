//! Sandboxes that can't be made, die, wait for room, and are stopped.

use std::time::Duration;

use serde_json::json;
use tenure_core::fact::{CallEnding, Fact};
use tenure_core::id::SessionId;
use tenure_core::phase::Phase;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Absent, StopReason};
use tenure_engine::{Config, Error, Wanted};
use tenure_testkit::{Answer, FakeModel, TestEngine, script};

#[tokio::test]
async fn without_isolation_nothing_runs_and_the_turn_ends() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "ls"})), Answer::Text("now it works")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    engine.backend.refuse(Some("user namespaces are disabled"));
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(engine.backend.started(), []);
    let last = facts.last().expect("there are facts");
    assert!(matches!(&*last.fact, Fact::SessionIdle { stop: StopReason::RetriesExhausted, .. }));
    engine.backend.refuse(None);
    engine.say(session, "again").await;
    engine.until_idle(session, last.seq).await;
    assert!(model.requests()[1].to_string().contains("user namespaces are disabled"));
}

#[tokio::test]
async fn a_visit_that_a_dead_engine_left_is_closed_by_the_next() {
    let linger = Duration::from_millis(10);
    let mut engine = TestEngine::with_config(None, Config { visit_linger: linger, ..Config::default() }).await;
    engine.script("idle", &script(&["text: yes"]));
    let session = engine.session("script/idle").await;
    let visit = engine.engine.sessions().visit(DEFAULT_TENANT, session, Wanted::Look).await.expect("it is opened");
    engine.crash().await;
    drop(visit);
    assert_eq!(engine.backend.alive_count(), 1, "nobody was there to close it");
    engine.restart().await;
    engine.backend.wait_ended(session).await;
    assert!(engine.backend.has_files(session));
    // What somebody uses by then stays open until they leave.
    let visit = engine.engine.sessions().visit(DEFAULT_TENANT, session, Wanted::Look).await.expect("it is opened");
    engine.crash().await;
    engine.restart().await;
    let again = engine.engine.sessions().visit(DEFAULT_TENANT, session, Wanted::Look).await.expect("it is opened");
    drop(visit);
    assert_eq!(engine.backend.alive_count(), 1);
    drop(again);
    engine.backend.wait_ended(session).await;
    let log = engine.store.read_facts(session, 0, usize::MAX).await.expect("the store works");
    assert!(log.iter().all(|stored| !stored.fact.kind().starts_with("sandbox")), "{log:?}");
}

/// Two sessions whose model calls a tool once, and room for one sandbox. Left to itself, one that was visited stays until the test is
/// over.
async fn with_room_for_one() -> (FakeModel, TestEngine, [SessionId; 2]) {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "ls"})), Answer::Text("done")]).await;
    let config = Config { max_sandboxes: 1, visit_linger: Duration::from_secs(3600), ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let agent = engine.agent("claude-test").await;
    let sessions = [engine.session_for(agent.clone(), None).await, engine.session_for(agent, None).await];
    (model, engine, sessions)
}

#[tokio::test]
async fn a_sandbox_that_is_left_open_for_visits_makes_room_for_who_needs_it() {
    let (_model, engine, [first, second]) = with_room_for_one().await;
    let sessions = engine.engine.sessions();
    let visit = |session| sessions.visit(DEFAULT_TENANT, session, Wanted::Look);
    let looking = visit(first).await.expect("it is opened");
    let refused = visit(second).await.expect_err("somebody is in the only one");
    assert!(matches!(refused, Error::NoRoom { most: 1 }), "{refused}");
    drop(looking);
    // For another visitor,
    let looking = visit(second).await.expect("the first makes room");
    assert_eq!((engine.backend.opened(), engine.backend.alive_count()), (2, 1));
    // for a session that waits already,
    engine.say(first, "go").await;
    engine.until(first, 0, |fact| matches!(fact, Fact::SandboxAbsent { why: Absent::Queued, .. })).await;
    drop(looking);
    engine.until_idle(first, 0).await;
    assert_eq!(engine.backend.started().len(), 1);
    // but not one that its session keeps.
    let refused = visit(second).await.expect_err("the first is the session's");
    assert!(matches!(refused, Error::NoRoom { .. }), "{refused}");
}

#[tokio::test]
async fn a_session_gets_the_room_of_a_sandbox_that_is_left_open_for_visits() {
    let (_model, engine, [visited, working]) = with_room_for_one().await;
    let sessions = engine.engine.sessions();
    drop(sessions.visit(DEFAULT_TENANT, visited, Wanted::Look).await.expect("it is opened"));
    engine.say(working, "go").await;
    engine.until_idle(working, 0).await;
    assert_eq!(engine.backend.started().len(), 1);
    assert_eq!(engine.backend.alive_count(), 1);
}

#[tokio::test]
async fn a_sandbox_that_dies_under_a_call() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("I see")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    engine.backend.wait_started(1).await;
    engine.backend.kill(session);
    let facts = engine.until_idle(session, 0).await;
    let endings =
        facts.iter().filter(|stored| matches!(&*stored.fact, Fact::CallEnded { ending: CallEnding::Lost, .. }));
    assert_eq!(endings.count(), 1);
    assert_eq!(engine.backend.started().len(), 1, "it is not run again");
    assert!(model.requests()[1].to_string().contains("outcome unknown"));
}

#[tokio::test]
async fn a_sandbox_waits_for_room() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"}))]).await;
    let config = Config { max_sandboxes: 1, ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let agent = engine.agent("claude-test").await;
    let first = engine.session_for(agent.clone(), None).await;
    engine.say(first, "go").await;
    engine.backend.wait_started(1).await;
    let second = engine.session_for(agent, None).await;
    engine.say(second, "go").await;
    let queued = |fact: &Fact| matches!(fact, Fact::SandboxAbsent { why: Absent::Queued, .. });
    engine.until(second, 0, queued).await;
    let sessions = engine.engine.sessions();
    let view = sessions.get(DEFAULT_TENANT, second).await.expect("it is there");
    assert_eq!(view.phase(), Phase::WorkQueued);
    sessions.hold(DEFAULT_TENANT, first, None).await.expect("it can be stopped");
    engine.backend.wait_started(2).await;
    let view = sessions.get(DEFAULT_TENANT, second).await.expect("it is there");
    assert_eq!(view.phase(), Phase::Working);
}

#[tokio::test]
async fn a_stopped_session_wakes_with_the_next_message() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("awake")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    engine.backend.wait_started(1).await;
    let sessions = engine.engine.sessions();
    // The call is cancelled and the sandbox stopped; whichever comes first ends it.
    sessions.hold(DEFAULT_TENANT, session, None).await.expect("it can be stopped");
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SandboxAbsent { why: Absent::Stopped, .. })).await;
    assert_eq!(engine.backend.alive_count(), 0);
    engine.say(session, "wake up").await;
    engine.until_idle(session, facts.last().expect("there are facts").seq).await;
}

#[tokio::test]
async fn room_that_nobody_wants_any_more_goes_to_the_next() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"}))]).await;
    let config = Config { max_sandboxes: 1, ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let agent = engine.agent("claude-test").await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let session = engine.session_for(agent.clone(), None).await;
        engine.say(session, "go").await;
        match sessions.len() {
            0 => drop(engine.backend.wait_started(1).await),
            _ => drop(
                engine.until(session, 0, |fact| matches!(fact, Fact::SandboxAbsent { why: Absent::Queued, .. })).await,
            ),
        }
        sessions.push(session);
    }
    let [first, stopped, deleted, last] = sessions[..] else { unreachable!("four were made") };
    let handle = engine.engine.sessions();
    handle.hold(DEFAULT_TENANT, stopped, None).await.expect("it can be stopped");
    handle.hold(DEFAULT_TENANT, deleted, None).await.expect("so can this");
    handle.delete(DEFAULT_TENANT, deleted).await.expect("it is idle");
    handle.hold(DEFAULT_TENANT, first, None).await.expect("and this");
    engine.until(last, 0, |fact| matches!(fact, Fact::CallStarted { .. })).await;
}

#[tokio::test]
async fn room_for_a_sandbox_that_cannot_be_made_goes_to_the_next() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"}))]).await;
    let config = Config { max_sandboxes: 1, ..Config::default() };
    let engine = TestEngine::with_config(Some(&model.url), config).await;
    let agent = engine.agent("claude-test").await;
    let first = engine.session_for(agent.clone(), None).await;
    engine.say(first, "go").await;
    engine.backend.wait_started(1).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let session = engine.session_for(agent.clone(), None).await;
        engine.say(session, "go").await;
        engine.until(session, 0, |fact| matches!(fact, Fact::SandboxAbsent { why: Absent::Queued, .. })).await;
        waiting.push(session);
    }
    engine.backend.refuse(Some("the disk is full"));
    engine.engine.sessions().hold(DEFAULT_TENANT, first, None).await.expect("it can be stopped");
    // Both are told, one after the other: the second waits for nothing.
    for session in waiting {
        engine.until_idle(session, 0).await;
    }
}
