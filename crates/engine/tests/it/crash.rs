//! The server dies at awkward moments and starts again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tenure_core::command::{CallResult, FinishCall, Send};
use tenure_core::content::Block;
use tenure_core::fact::{AttemptEnding, CallEnding, Fact, StoredFact};
use tenure_core::id::ItemId;
use tenure_core::phase::Phase;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Answer as Allowed, Input, StopReason};
use tenure_testkit::{Answer, FakeModel, TestEngine};

fn calls_ended(facts: &[StoredFact]) -> Vec<CallEnding> {
    let endings = facts.iter().filter_map(|stored| match &*stored.fact {
        Fact::CallEnded { ending, .. } => Some(*ending),
        _ => None,
    });
    endings.collect()
}

#[tokio::test]
async fn in_the_middle_of_a_call() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    engine.crash_and_restart().await;
    engine.backend.release(call);
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(engine.backend.started(), [call], "the call ran once");
    assert_eq!(calls_ended(&facts), [CallEnding::Finished]);
    assert!(facts.iter().map(|stored| stored.seq).eq(1..=facts.len() as u64), "gapless");
}

#[tokio::test]
async fn in_the_middle_of_a_call_whose_sandbox_dies_too() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    engine.backend.kill(session);
    engine.crash_and_restart().await;
    engine.backend.release(call);
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(engine.backend.started(), [call], "the call is not run again behind the model's back");
    assert_eq!(calls_ended(&facts).len(), 1, "and is reported once");
}

#[tokio::test]
async fn in_the_middle_of_a_reply() {
    let model = FakeModel::start([Answer::Hang, Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    model.wait_asked(1).await;
    engine.crash_and_restart().await;
    let facts = engine.until_idle(session, 0).await;
    let endings: Vec<AttemptEnding> = facts
        .iter()
        .filter_map(|stored| match &*stored.fact {
            Fact::AttemptEnded { ending, .. } => Some(*ending),
            _ => None,
        })
        .collect();
    assert_eq!(endings, [AttemptEnding::Lost, AttemptEnding::Replied]);
    let lost = facts.iter().find_map(|stored| match &*stored.fact {
        Fact::AttemptEnded { ending: AttemptEnding::Lost, usage, .. } => Some(usage.input),
        _ => None,
    });
    assert!(lost.is_some_and(|tokens| tokens > 0), "what it took is estimated");
    assert_eq!(model.requests()[0], model.requests()[1]);
}

#[tokio::test]
async fn while_waiting_to_ask_again() {
    let model = FakeModel::start([Answer::Status(529, vec![], "{}"), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let facts = engine.until(session, 0, |fact| matches!(fact, Fact::SessionRescheduled { .. })).await;
    engine.crash_and_restart().await;
    engine.clock.advance(Duration::from_secs(60));
    engine.until_idle(session, facts.last().expect("there are facts").seq).await;
    assert_eq!(model.requests().len(), 2);
}

#[tokio::test]
async fn after_a_cancel_that_the_sandbox_never_heard_of() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    engine.crash().await;
    let interrupt = Send { inputs: vec![(ItemId::from_bits(0xf), Input::Interrupt { thread: None })] };
    let facts = engine.commit(session, interrupt).await;
    assert_eq!(calls_ended(&facts), [CallEnding::Cancelled]);
    engine.restart().await;
    engine.backend.wait_cancelled(call).await;
    let last = facts.last().expect("there are facts").seq;
    engine.until(session, last, |fact| matches!(fact, Fact::CallSettled { call: over } if *over == call)).await;
    assert_eq!(engine.backend.started(), [call], "nothing is run for it");
    // From then on nobody tries again.
    engine.crash_and_restart().await;
    engine.say(session, "and now?").await;
    engine.until(session, last, |fact| matches!(fact, Fact::MessageSaid { .. })).await;
}

#[tokio::test]
async fn after_a_cancel_while_the_session_waited_to_be_taken_up() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    let mut last = 0;
    for _ in 0..3 {
        engine.crash_and_restart().await;
        let facts = engine.until(session, last, |fact| matches!(fact, Fact::SessionRecovered { .. })).await;
        last = facts.last().expect("there are facts").seq;
    }
    engine.until(session, last, |fact| matches!(fact, Fact::SessionRescheduled { .. })).await;
    let sessions = engine.engine.sessions();
    sessions.send(DEFAULT_TENANT, session, vec![Input::Interrupt { thread: None }], None).await.expect("accepted");
    engine.backend.wait_cancelled(call).await;
    engine.until(session, last, |fact| matches!(fact, Fact::CallSettled { .. })).await;
    // Stopped right after: the sandbox is not made anew for a cancel that comes late.
    sessions.hold(DEFAULT_TENANT, session, None).await.expect("it can be stopped");
    engine.until(session, last, |fact| matches!(fact, Fact::SandboxAbsent { .. })).await;
    assert_eq!(engine.backend.opened(), 1);
    assert_eq!(engine.backend.alive_count(), 0);
}

#[tokio::test]
async fn between_a_results_commit_and_its_acknowledgement() {
    let model = FakeModel::start([Answer::Call("bash", json!({"command": "wait"})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    engine.crash().await;
    let result = CallResult::Finished { content: vec![Block::text("ok")], is_error: false };
    engine.commit(session, FinishCall { call, result }).await;
    engine.restart().await;
    engine.backend.wait_acknowledged(call).await;
    engine.until_idle(session, 0).await;
    assert_eq!(engine.backend.started(), [call]);
}

#[tokio::test]
async fn several_times_while_a_person_is_asked() {
    let ask = json!({"command": "ls"});
    let model = FakeModel::start([Answer::Call("bash", ask), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session_for(engine.asking_agent("claude-test").await, None).await;
    engine.say(session, "go").await;
    let facts = engine.until_idle(session, 0).await;
    let last = facts.last().expect("there are facts");
    let Fact::SessionIdle { stop: StopReason::RequiresAction { calls }, .. } = &*last.fact else {
        panic!("it waits: {last:?}")
    };
    for _ in 0..4 {
        engine.crash_and_restart().await;
        let view = engine.engine.sessions().get(DEFAULT_TENANT, session).await.expect("it is there");
        assert_eq!((view.phase(), view.summary.seq), (Phase::Waiting, last.seq), "nothing has happened to it");
    }
    let allow = Input::Confirmation { call: calls[0], answer: Allowed::Allow };
    engine.engine.sessions().send(DEFAULT_TENANT, session, vec![allow], None).await.expect("it still waits");
    engine.until_idle(session, last.seq).await;
    assert_eq!(engine.backend.started(), calls[..]);
}

#[tokio::test]
async fn at_many_moments_and_nothing_is_lost_or_doubled() {
    let steps = 6;
    let mut answers: Vec<Answer> =
        (0..steps).map(|step| Answer::Call("bash", json!({"command": format!("step {step}")}))).collect();
    answers.push(Answer::Text("done"));
    let model = FakeModel::start(answers).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    // Each crash comes right after a later fact than the one before, whatever the engine is doing by then.
    for wanted in (3..40).step_by(4) {
        let mut seen = 0;
        let counted = std::cell::RefCell::new(&mut seen);
        let idle = |fact: &Fact| matches!(fact, Fact::SessionIdle { .. });
        let reached = |fact: &Fact| {
            if matches!(fact, Fact::SessionRescheduled { .. }) {
                // It died too often without progress, and waits.
                engine.clock.advance(Duration::from_secs(60));
            }
            **counted.borrow_mut() += 1;
            idle(fact) || **counted.borrow() >= wanted
        };
        let facts = engine.until(session, 0, reached).await;
        if facts.last().is_some_and(|stored| idle(&stored.fact)) {
            break;
        }
        engine.crash_and_restart().await;
    }
    let facts = engine
        .until(session, 0, |fact| {
            if matches!(fact, Fact::SessionRescheduled { .. }) {
                engine.clock.advance(Duration::from_secs(60));
            }
            matches!(fact, Fact::SessionIdle { .. })
        })
        .await;
    let mut runs: BTreeMap<_, usize> = BTreeMap::new();
    for call in engine.backend.started() {
        *runs.entry(call).or_default() += 1;
    }
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
    assert_eq!(calls_ended(&facts).len(), runs.len());
}

#[tokio::test]
async fn while_a_long_output_is_written_to_its_file() {
    let command = format!("echo wait {}", "x".repeat(150_000));
    let model = FakeModel::start([Answer::Call("bash", json!({"command": command})), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "go").await;
    let call = engine.backend.wait_started(1).await[0];
    engine.backend.release(call);
    let writer = engine.backend.wait_started(2).await[1];
    engine.crash_and_restart().await;
    // The next server may clear the writing away, and writes anew; whoever writes comes to an end from now on.
    let backend = engine.backend.clone();
    let ends = tokio::spawn(async move {
        for count in 2.. {
            backend.wait_started(count).await.into_iter().for_each(|started| backend.release(started));
        }
    });
    let facts = engine.until_idle(session, 0).await;
    ends.abort();
    let results: Vec<&str> = facts.iter().flat_map(|stored| stored.fact.content()).filter_map(Block::as_text).collect();
    let result = results.iter().find(|text| text.starts_with("ran: echo wait")).expect("it has its result");
    let path = format!("All of it is in /workspace/.tenure/outputs/{}.txt (1 lines)", call.prefixed());
    assert!(result.contains(&path) && result.len() < 21_000, "{}", result.len());
    assert_eq!(calls_ended(&facts), [CallEnding::Finished]);
    let ran = engine.backend.started().into_iter().filter(|started| *started == call).count();
    assert_eq!(ran, 1, "the command ran once; only its file was written again");
    engine.backend.wait_acknowledged(writer).await;
}
