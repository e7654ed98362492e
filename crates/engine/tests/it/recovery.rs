//! Recoveries that fail again and again, and mistakes of ours.

use std::time::Duration;

use serde_json::json;
use tenure_core::command::Send;
use tenure_core::fact::{AfterError, AttemptEnding, CallEnding, Fact, Problem, StoredFact};
use tenure_core::id::{AttemptId, ItemId, SessionId, ThreadId};
use tenure_core::model::TokenUsage;
use tenure_core::phase::Phase;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Purpose, StopReason};
use tenure_engine::Error;
use tenure_testkit::{Answer, FakeModel, TestEngine, message};

/// Deaths in a row after which a turn is over.
const TOO_OFTEN: usize = 10;

fn counted(facts: &[StoredFact]) -> Vec<u32> {
    let counts = facts.iter().filter_map(|stored| match &*stored.fact {
        Fact::SessionRecovered { fruitless } => Some(*fruitless),
        _ => None,
    });
    counts.collect()
}

fn last(facts: &[StoredFact]) -> u64 {
    facts.last().expect("there are facts").seq
}

async fn phase(engine: &TestEngine, session: SessionId) -> Phase {
    engine.engine.sessions().get(DEFAULT_TENANT, session).await.expect("it is there").phase()
}

#[tokio::test]
async fn a_session_that_the_server_dies_of_waits_and_then_ends_its_turn() {
    let mut answers = vec![Answer::Hang; TOO_OFTEN];
    answers.push(Answer::Text("at last"));
    let model = FakeModel::start(answers).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let mut seen = 0;
    for death in 1..=TOO_OFTEN {
        // Whatever the model does to the server, it does when it is asked.
        model.wait_asked(death).await;
        engine.crash_and_restart().await;
        let facts = engine.until(session, seen, |fact| matches!(fact, Fact::SessionRecovered { .. })).await;
        seen = last(&facts);
        if (3..TOO_OFTEN).contains(&death) {
            seen = last(&engine.until(session, seen, |fact| matches!(fact, Fact::SessionRescheduled { .. })).await);
            assert_eq!(phase(&engine, session).await, Phase::Rescheduling, "after {death} deaths");
            assert_eq!(model.requests().len(), death, "it isn't asked before its time");
            engine.clock.advance(Duration::from_secs(60));
        }
    }
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(counted(&facts), (1..=TOO_OFTEN as u32).collect::<Vec<_>>());
    assert!(matches!(&*facts[facts.len() - 1].fact, Fact::SessionIdle { stop: StopReason::RetriesExhausted, .. }));
    let told = |stored: &&StoredFact| {
        let over = AfterError::TurnOver;
        matches!(&*stored.fact, Fact::ErrorRaised { problem: Problem::ServerDied { times: 10 }, next, .. } if *next == over)
    };
    assert_eq!(facts.iter().filter(told).count(), 1);
    engine.say(session, "and now?").await;
    engine.until(session, last(&facts), |fact| matches!(fact, Fact::MessageSaid { .. })).await;
    engine.crash_and_restart().await;
}

#[tokio::test]
async fn a_session_whose_call_the_server_dies_of_ends_its_turn_too() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    let mut seen = 0;
    for death in 1..=TOO_OFTEN {
        engine.crash_and_restart().await;
        seen = last(&engine.until(session, seen, |fact| matches!(fact, Fact::SessionRecovered { .. })).await);
        if (3..TOO_OFTEN).contains(&death) {
            seen = last(&engine.until(session, seen, |fact| matches!(fact, Fact::SessionRescheduled { .. })).await);
            engine.clock.advance(Duration::from_secs(60));
            seen = last(&engine.until(session, seen, |fact| matches!(fact, Fact::ThreadRunning { .. })).await);
        }
    }
    let facts = engine.until_idle(session, 0).await;
    let endings = facts.iter().filter(
        |stored| matches!(&*stored.fact, Fact::CallEnded { call: ended, ending: CallEnding::Lost, .. } if *ended == call),
    );
    assert_eq!(endings.count(), 1);
    assert_eq!(engine.backend.started(), [call], "however often it was taken up, it ran once");
    engine.say(session, "and now?").await;
    engine.until(session, last(&facts), |fact| matches!(fact, Fact::MessageSaid { .. })).await;
}

#[tokio::test]
async fn a_call_that_waited_with_its_session_goes_on_and_its_result_is_progress() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Hang]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    for _ in 0..3 {
        engine.crash_and_restart().await;
        engine.until(session, 0, |fact| matches!(fact, Fact::SessionRecovered { .. })).await;
    }
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SessionRescheduled { .. })).await;
    engine.backend.release(call);
    engine.clock.advance(Duration::from_secs(60));
    engine.until(session, last(&facts), |fact| matches!(fact, Fact::CallEnded { .. })).await;
    model.wait_asked(2).await;
    engine.crash_and_restart().await;
    let facts = engine.until(session, last(&facts), |fact| matches!(fact, Fact::SessionRecovered { .. })).await;
    assert_eq!(counted(&facts), [1], "counting begins anew");
}

#[tokio::test]
async fn ends_that_were_asked_for_are_held_against_nobody() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "build it").await;
    let call = engine.backend.wait_started(1).await[0];
    for _ in 0..=TOO_OFTEN {
        engine.end_and_restart().await;
    }
    engine.backend.release(call);
    let facts = engine.until_idle(session, 0).await;
    assert!(counted(&facts).is_empty());
    assert_eq!(engine.backend.started(), [call]);
}

#[tokio::test]
async fn a_crash_after_a_clean_end_is_a_crash() {
    let model = FakeModel::start([Answer::Hang]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    model.wait_asked(1).await;
    engine.end_and_restart().await;
    model.wait_asked(2).await;
    engine.crash_and_restart().await;
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SessionRecovered { .. })).await;
    assert_eq!(counted(&facts), [1]);
}

/// A number that no session comes to, so that counting on is a mistake that shows.
fn out_of_count() -> Fact {
    let (item, attempt) = (ItemId::from_bits(0xbad), AttemptId::from_bits(0xbad));
    Fact::AttemptStarted { item, thread: ThreadId::from_bits(1), attempt, failures: u32::MAX, purpose: Purpose::Reply }
}

#[tokio::test]
async fn an_owner_that_breaks_off_takes_nobody_along_and_is_taken_up_again() {
    let model = FakeModel::start([Answer::Cut, Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let broken = engine.session("claude-test").await;
    engine.crash().await;
    let first = Send { inputs: vec![(ItemId::from_bits(0xf), message("go"))] };
    engine.commit(broken, first).await;
    engine.forge(broken, out_of_count()).await;
    engine.restart().await;
    // Its failure can't be decided on: the owner breaks off, is taken up again, and the second reply is sound.
    let facts = engine.until_idle(broken, 0).await;
    assert_eq!(counted(&facts), [1, 2], "once for the crash, once for the owner");
    let other = engine.session("claude-test").await;
    engine.say(other, "hello").await;
    engine.until_idle(other, 0).await;
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_an_internal_error_and_others_go_on() {
    let model = FakeModel::start([Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let broken = engine.session("claude-test").await;
    engine.crash().await;
    engine.commit(broken, Send { inputs: vec![(ItemId::from_bits(0xf), message("go"))] }).await;
    // More tokens than can be counted: a mistake whenever the log is read.
    for _ in 0..2 {
        engine.forge(broken, too_many_tokens()).await;
    }
    engine.restart().await;
    let sessions = engine.engine.sessions();
    for _ in 0..3 {
        let sent = sessions.send(DEFAULT_TENANT, broken, vec![message("are you there?")], None).await;
        assert!(matches!(sent, Err(Error::Internal(_))), "{sent:?}");
    }
    let other = engine.session("claude-test").await;
    engine.say(other, "hello").await;
    engine.until_idle(other, 0).await;
}

fn too_many_tokens() -> Fact {
    let (item, attempt) = (ItemId::from_bits(0xbad), AttemptId::from_bits(0xbad));
    let usage = TokenUsage { input: u64::MAX, ..TokenUsage::default() };
    let ending = AttemptEnding::Lost;
    Fact::AttemptEnded { item, thread: ThreadId::from_bits(1), attempt, start: item, ending, usage }
}
