//! Models that fail: tried again, given up on, never stuck.

use std::time::Duration;

use tenure_core::fact::{AfterError, Fact};
use tenure_core::phase::Phase;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::StopReason;
use tenure_testkit::{Answer, FakeModel, TestEngine};

fn rescheduled(fact: &Fact) -> bool {
    matches!(fact, Fact::SessionRescheduled { .. })
}

async fn recovers_from(answer: Answer) {
    let model = FakeModel::start([answer.clone(), answer, Answer::Text("at last")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let mut after = 0;
    for _ in 0..2 {
        let facts = engine.until(session, after, rescheduled).await;
        after = facts.last().expect("there are facts").seq;
        let view = engine.engine.sessions().get(DEFAULT_TENANT, session).await.expect("it is there");
        assert_eq!(view.phase(), Phase::Rescheduling);
        engine.clock.advance(Duration::from_secs(60));
    }
    let facts = engine.until_idle(session, after).await;
    assert!(facts.iter().any(|stored| matches!(&*stored.fact, Fact::MessageSaid { text, .. } if text == "at last")));
    assert_eq!(model.requests()[0], model.requests()[2], "the same request is made again");
}

#[tokio::test]
async fn overloaded() {
    let body = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    recovers_from(Answer::Status(529, vec![], body)).await;
}

#[tokio::test]
async fn cut_in_the_middle() {
    recovers_from(Answer::Cut).await;
}

#[tokio::test]
async fn garbage() {
    recovers_from(Answer::Garbage).await;
}

#[tokio::test]
async fn the_providers_wish_to_wait_is_heeded() {
    let model = FakeModel::start([Answer::Status(429, vec![("retry-after", "40")], "{}"), Answer::Text("ok")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::ThreadRescheduled { .. })).await;
    let stored = facts.last().expect("there are facts");
    let Fact::ThreadRescheduled { until, .. } = &*stored.fact else { unreachable!("it was waited for") };
    assert_eq!(until.since(stored.at), Duration::from_secs(40));
    engine.clock.advance(Duration::from_secs(40));
    engine.until_idle(session, stored.seq).await;
}

#[tokio::test]
async fn retries_run_out_and_the_session_goes_on_with_the_next_message() {
    let fail = Answer::Status(503, vec![], "{}");
    let mut answers = vec![fail; 6];
    answers.push(Answer::Text("better now"));
    let model = FakeModel::start(answers).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let mut after = 0;
    for _ in 0..5 {
        after = engine.until(session, after, rescheduled).await.last().expect("there are facts").seq;
        engine.clock.advance(Duration::from_secs(60));
    }
    let facts = engine.until_idle(session, after).await;
    let stop = facts.iter().find_map(|stored| match &*stored.fact {
        Fact::SessionIdle { stop, .. } => Some(stop.clone()),
        _ => None,
    });
    assert_eq!(stop, Some(StopReason::RetriesExhausted));
    let given_up = |stored: &&tenure_core::fact::StoredFact| {
        matches!(&*stored.fact, Fact::ErrorRaised { next: AfterError::TurnOver, .. })
    };
    assert_eq!(facts.iter().filter(given_up).count(), 1);
    engine.say(session, "again").await;
    engine.until_idle(session, facts.last().expect("there are facts").seq).await;
    assert_eq!(model.requests().len(), 7);
}

#[tokio::test]
async fn a_rejected_key_is_not_tried_again() {
    let model = FakeModel::start([Answer::Status(401, vec![], "{}")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let facts = engine.until_idle(session, 0).await;
    assert!(!facts.iter().any(|stored| rescheduled(&stored.fact)));
    assert_eq!(model.requests().len(), 1);
}
