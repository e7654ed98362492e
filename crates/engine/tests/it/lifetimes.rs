//! What happens by itself, by the clock.

use std::time::Duration;

use tenure_core::fact::Fact;
use tenure_core::phase::Phase;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{IdleRule, IdleThen, Keep, Lifetimes, Outcome};
use tenure_core::time::Timestamp;
use tenure_testkit::{TestEngine, script};

const TOOL: &str = "{tools: [{name: bash, input: {command: ls}}]}";

#[tokio::test]
async fn an_unused_sandbox_stops_and_the_next_call_starts_another() {
    let engine = TestEngine::start(None).await;
    engine.script("tool", &script(&[TOOL, "{text: done}"]));
    let session = engine.session("script/tool").await;
    engine.say(session, "go").await;
    let idle = engine.until_idle(session, 0).await;
    engine.clock.advance(Duration::from_secs(3600));
    let last = idle.last().expect("there are facts").seq;
    let stopped = engine.until(session, last, |fact| matches!(fact, Fact::SandboxAbsent { .. })).await;
    assert_eq!(engine.backend.alive_count(), 0);
    assert!(engine.backend.has_files(session));
    let view = engine.engine.sessions().get(DEFAULT_TENANT, session).await.expect("it is there");
    assert_eq!(view.phase(), Phase::IdleStopped);
    engine.say(session, "again").await;
    engine.until_idle(session, stopped.last().expect("there are facts").seq).await;
    assert_eq!(engine.backend.opened(), 2);
}

#[tokio::test]
async fn an_idle_session_times_out_and_loses_its_files() {
    let engine = TestEngine::start(None).await;
    engine.script("tool", &script(&[TOOL, "{text: done}"]));
    let then = IdleThen::End { outcome: Outcome::TimedOut, keep: Keep::Log };
    let lifetimes =
        Lifetimes { idle: Some(IdleRule { after: Duration::from_secs(1740), then }), ..Lifetimes::default() };
    let session = engine.session_for(engine.agent("script/tool").await, Some(lifetimes)).await;
    engine.say(session, "go").await;
    let idle = engine.until_idle(session, 0).await;
    engine.clock.advance(Duration::from_secs(1740));
    let last = idle.last().expect("there are facts").seq;
    engine.until(session, last, |fact| matches!(fact, Fact::SessionEnded { outcome: Outcome::TimedOut, .. })).await;
    assert!(!engine.backend.has_files(session));
}

#[tokio::test]
async fn deadlines_survive_a_restart() {
    let mut engine = TestEngine::start(None).await;
    let then = IdleThen::End { outcome: Outcome::Completed, keep: Keep::Everything };
    let lifetimes =
        Lifetimes { idle: Some(IdleRule { after: Duration::from_secs(600), then }), ..Lifetimes::default() };
    let session = engine.session_for(engine.agent("script/demo").await, Some(lifetimes)).await;
    engine.clock.advance(Duration::from_secs(599));
    engine.crash_and_restart().await;
    engine.clock.advance(Duration::from_secs(1));
    engine.until(session, 0, |fact| matches!(fact, Fact::SessionEnded { .. })).await;
}

#[tokio::test]
async fn a_session_can_end_with_its_agents_turn() {
    let engine = TestEngine::start(None).await;
    engine.script("one", &script(&["{text: done}"]));
    let lifetimes = Lifetimes { end_when_agent_exits: true, ..Lifetimes::default() };
    let session = engine.session_for(engine.agent("script/one").await, Some(lifetimes)).await;
    engine.say(session, "go").await;
    engine.until(session, 0, |fact| matches!(fact, Fact::SessionEnded { outcome: Outcome::Completed, .. })).await;
}

#[tokio::test]
async fn reads_show_what_is_due() {
    let engine = TestEngine::start(None).await;
    let then = IdleThen::End { outcome: Outcome::Completed, keep: Keep::Everything };
    let lifetimes =
        Lifetimes { idle: Some(IdleRule { after: Duration::from_secs(600), then }), ..Lifetimes::default() };
    let session = engine.session_for(engine.agent("script/demo").await, Some(lifetimes)).await;
    engine.clock.advance(Duration::from_secs(601));
    let view = engine.engine.sessions().get(DEFAULT_TENANT, session).await.expect("it is there");
    assert_eq!(view.phase(), Phase::Completed);
}

#[tokio::test]
async fn deadlines_that_passed_while_nothing_ran_are_all_kept() {
    let mut engine = TestEngine::start(None).await;
    let then = IdleThen::End { outcome: Outcome::TimedOut, keep: Keep::Everything };
    let lifetimes =
        Lifetimes { idle: Some(IdleRule { after: Duration::from_secs(600), then }), ..Lifetimes::default() };
    let agent = engine.agent("script/demo").await;
    // More than are told at once.
    let mut sessions = Vec::new();
    for _ in 0..250 {
        sessions.push(engine.session_for(agent.clone(), Some(lifetimes)).await);
    }
    engine.crash().await;
    engine.clock.advance(Duration::from_secs(100_000));
    engine.restart().await;
    let view = engine.engine.sessions().get(DEFAULT_TENANT, sessions[249]).await.expect("it is there");
    assert_eq!(view.phase(), Phase::TimedOut, "at once, whether it has been told yet or not");
    for session in sessions {
        let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SessionEnded { .. })).await;
        let ends = facts.iter().filter(|stored| matches!(&*stored.fact, Fact::SessionClosing { .. }));
        assert_eq!(ends.count(), 1);
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_loses_no_deadline_and_no_order() {
    let mut engine = TestEngine::start(None).await;
    engine.script("tool", &script(&[TOOL, "{text: done}"]));
    let session = engine.session("script/tool").await;
    engine.say(session, "go").await;
    let idle = engine.until_idle(session, 0).await;
    let was = engine.clock.now();
    engine.clock.set(Timestamp::from_micros(was.as_micros() - 7_200_000_000));
    engine.say(session, "again").await;
    let facts = engine.until_idle(session, idle.last().expect("there are facts").seq).await;
    assert!(facts.iter().all(|stored| stored.at >= was), "no fact is older than the one before");
    engine.crash_and_restart().await;
    engine.clock.set(was.after(Duration::from_secs(3600)));
    engine.until(session, 0, |fact| matches!(fact, Fact::SandboxAbsent { .. })).await;
}
