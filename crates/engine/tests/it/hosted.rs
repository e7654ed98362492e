//! Calls that the server itself runs.

use serde_json::{Value, json};
use tenure_core::agent::Place;
use tenure_core::fact::{AttemptEnding, CallEnding, Fact, Gate, StoredFact};
use tenure_core::id::{ItemId, SessionId};
use tenure_core::model::TokenUsage;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Activity, Input};
use tenure_core::state::State;
use tenure_testkit::{Answer, FakeModel, TestEngine};

fn fetch(url: &str) -> Answer {
    Answer::Call("web_fetch", json!({"url": url}))
}

fn endings(facts: &[StoredFact]) -> Vec<CallEnding> {
    let ending = |stored: &StoredFact| match &*stored.fact {
        Fact::CallEnded { ending, .. } => Some(*ending),
        _ => None,
    };
    facts.iter().filter_map(ending).collect()
}

/// The results that the model was last sent.
fn results(model: &FakeModel) -> String {
    let requests = model.requests();
    let last = requests.last().expect("it was asked");
    let messages = last["messages"].as_array().expect("a list");
    messages.last().map_or(Value::Null, |message| message["content"].clone()).to_string()
}

async fn interrupt(engine: &TestEngine, session: SessionId) {
    let sent = engine.engine.sessions().send(DEFAULT_TENANT, session, vec![Input::Interrupt { thread: None }], None);
    sent.await.expect("it can be interrupted");
}

#[tokio::test]
async fn they_need_no_sandbox() {
    let model = FakeModel::start([fetch("https://a.example/"), Answer::Text("done")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    engine.backend.refuse(Some("there is none today"));
    let session = engine.session("claude-test").await;
    engine.say(session, "look it up").await;
    let facts = engine.until_idle(session, 0).await;
    let kinds: Vec<&str> = facts.iter().map(|stored| stored.fact.kind()).collect();
    assert!(!kinds.iter().any(|kind| kind.starts_with("sandbox")), "{kinds:?}");
    assert_eq!(endings(&facts), [CallEnding::Finished]);
    assert!(results(&model).contains("fetched: https://a.example/"), "{}", results(&model));
}

#[tokio::test]
async fn they_take_their_turn_among_the_calls_of_a_reply() {
    let calls = [("web_fetch", json!({"url": "https://a.example/wait"})), ("bash", json!({"command": "echo hi"}))];
    let model = FakeModel::start([Answer::Calls(calls.to_vec()), Answer::Text("done")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "look it up").await;
    engine.hosted.wait_started(1).await;
    assert_eq!(engine.backend.opened(), 0, "nothing that comes after it is begun");
    engine.hosted.release();
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(endings(&facts), [CallEnding::Finished, CallEnding::Finished]);
    assert_eq!(engine.backend.started().len(), 1);
}

#[tokio::test]
async fn one_that_does_no_harm_is_run_again_after_a_crash() {
    let model = FakeModel::start([fetch("https://a.example/wait"), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "look it up").await;
    let call = engine.hosted.wait_started(1).await[0];
    engine.crash_and_restart().await;
    engine.hosted.wait_started(2).await;
    engine.hosted.release();
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(engine.hosted.started(), [call, call]);
    assert_eq!(endings(&facts), [CallEnding::Finished], "it has one result");
    assert_eq!(engine.backend.opened(), 0);
}

#[tokio::test]
async fn one_that_could_do_harm_is_reported_after_a_crash_and_not_run_again() {
    let model = FakeModel::start([Answer::Hang, Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "order it").await;
    model.wait_asked(1).await;
    engine.crash().await;
    // As if the model had called a tool that mustn't be run twice, and the server had died while it ran that.
    let log = engine.store.read_facts(session, 0, usize::MAX).await.expect("the store works");
    let state = State::replay(&log).expect("the session exists");
    let Activity::Asking { attempt } = state.thread.activity else { panic!("a request is in flight") };
    let (thread, call, place) = (state.thread.id, ItemId::from_bits(0xca11), Place::Server { idempotent: false });
    let (name, input, gate) = ("web_fetch".to_owned(), json!({"url": "https://a.example/"}), Gate::Allowed);
    engine.forge(session, Fact::CallRequested { item: call, thread, name, input, gate, place }).await;
    let (item, ending, usage) = (ItemId::from_bits(0xe0d), AttemptEnding::Replied, TokenUsage::default());
    let ended = Fact::AttemptEnded { item, thread, attempt: attempt.id, start: attempt.item, ending, usage };
    engine.forge(session, ended).await;
    engine.forge(session, Fact::CallStarted { call }).await;
    engine.restart().await;
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(endings(&facts), [CallEnding::Lost]);
    assert_eq!(engine.hosted.started(), []);
    assert!(results(&model).contains("outcome unknown"), "{}", results(&model));
}

#[tokio::test]
async fn an_interrupt_gives_one_up() {
    let model = FakeModel::start([fetch("https://a.example/wait"), Answer::Text("as you like")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "look it up").await;
    let call = engine.hosted.wait_started(1).await[0];
    interrupt(&engine, session).await;
    engine.hosted.wait_given_up(call).await;
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(endings(&facts), [CallEnding::Interrupted]);
    let last = facts.last().expect("there are facts").seq;
    engine.say(session, "never mind").await;
    engine.until_idle(session, last).await;
    assert_eq!(engine.hosted.started(), [call]);
}

#[tokio::test]
async fn one_that_its_server_ends_with_is_run_again_by_the_next() {
    let model = FakeModel::start([fetch("https://a.example/wait"), Answer::Text("done")]).await;
    let mut engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    engine.say(session, "look it up").await;
    let call = engine.hosted.wait_started(1).await[0];
    engine.end_and_restart().await;
    engine.hosted.release();
    let facts = engine.until_idle(session, 0).await;
    assert_eq!(engine.hosted.started(), [call, call]);
    assert_eq!(endings(&facts), [CallEnding::Finished]);
}
