//! What happens by itself, by the clock.

use std::time::Duration;

use tenure_core::fact::Fact;
use tenure_core::phase::Phase;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{IdleRule, IdleThen, Keep, Lifetimes, Outcome};
use tenure_core::time::Timestamp;
use tenure_engine::Wanted;
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
async fn a_session_is_not_idle_while_somebody_uses_its_sandbox() {
    let engine = TestEngine::start(None).await;
    engine.script("tool", &script(&[TOOL, "{text: done}"]));
    let then = IdleThen::End { outcome: Outcome::TimedOut, keep: Keep::Log };
    let after = Duration::from_secs(1740);
    let lifetimes = Lifetimes { idle: Some(IdleRule { after, then }), ..Lifetimes::default() };
    let session = engine.session_for(engine.agent("script/tool").await, Some(lifetimes)).await;
    let sessions = engine.engine.sessions();
    engine.say(session, "go").await;
    engine.until_idle(session, 0).await;
    let visit = sessions.visit(DEFAULT_TENANT, session, Wanted::Change).await.expect("it is opened");
    let mut last = sessions.get(DEFAULT_TENANT, session).await.expect("it is there").summary.seq;
    for _ in 0..2 {
        // The clock would have run out, and is begun anew.
        engine.clock.advance(after);
        let view = sessions.get(DEFAULT_TENANT, session).await.expect("it is there");
        assert_eq!(view.phase(), Phase::Idle);
        let facts = engine.until(session, last, |fact| matches!(fact, Fact::FilesChanged {})).await;
        last = facts.last().expect("there are facts").seq;
    }
    // Half of it later they leave, from when on it runs whole.
    engine.clock.advance(after / 2);
    drop(visit);
    let facts = engine.until(session, last, |fact| matches!(fact, Fact::FilesChanged {})).await;
    last = facts.last().expect("there are facts").seq;
    engine.clock.advance(after - Duration::from_secs(1));
    let looking = sessions.visit(DEFAULT_TENANT, session, Wanted::Look).await.expect("it is open");
    engine.clock.advance(Duration::from_secs(1));
    let facts = engine.until(session, last, |fact| matches!(fact, Fact::SessionEnded { .. })).await;
    assert!(!facts.iter().any(|stored| matches!(&*stored.fact, Fact::FilesChanged {})), "who looks does nothing");
    drop(looking);
}

#[tokio::test]
async fn a_short_use_of_the_sandbox_begins_the_idle_clock_anew() {
    let mut engine = TestEngine::start(None).await;
    let then = IdleThen::End { outcome: Outcome::Completed, keep: Keep::Everything };
    let after = Duration::from_secs(600);
    let lifetimes = Lifetimes { idle: Some(IdleRule { after, then }), ..Lifetimes::default() };
    let session = engine.session_for(engine.agent("script/demo").await, Some(lifetimes)).await;
    let sessions = engine.engine.sessions().clone();
    engine.clock.advance(after - Duration::from_secs(1));
    // Each is a use; the log tells of the first, since the others come within a sixtieth of the clock.
    for _ in 0..3 {
        drop(sessions.visit(DEFAULT_TENANT, session, Wanted::Change).await.expect("it is opened"));
        engine.clock.advance(Duration::from_secs(1));
    }
    engine.crash_and_restart().await;
    engine.clock.advance(after - Duration::from_secs(4));
    let view = engine.engine.sessions().get(DEFAULT_TENANT, session).await.expect("it is there");
    assert_eq!(view.phase(), Phase::Idle, "the clock outlives the server");
    engine.clock.advance(Duration::from_secs(4));
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SessionEnded { .. })).await;
    assert_eq!(facts.iter().filter(|stored| matches!(&*stored.fact, Fact::FilesChanged {})).count(), 1);
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
