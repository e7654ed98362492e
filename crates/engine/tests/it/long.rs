//! Conversations that outgrow their model's window.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use tenure_core::fact::{AfterError, AttemptEnding, Fact, Problem, StoredFact};
use tenure_core::id::SessionId;
use tenure_core::model::FailureKind;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{ContextPolicy, Input, StopReason};
use tenure_engine::{Config, Live, ModelEntry, ModelTable, Preview, StreamFrom};
use tenure_store::FactStore;
use tenure_store::memory::MemoryStore;
use tenure_testkit::{Answer, FakeModel, TestEngine};

/// What a window of 20,000 tokens leaves for a request: half is kept for the reply, and four fifths of the rest are used.
const LIMIT: u64 = 8_000;

const TURNS: usize = 2_000;

fn config() -> Config {
    let entry = ModelEntry { context_window: Some(20_000), price: None };
    let models = ModelTable::default().with("claude-test", entry);
    Config { models, awake_linger: Duration::ZERO, ..Config::default() }
}

/// Whether a request asks for a summary.
fn asks_for_summary(request: &Value) -> bool {
    last_text(request).is_some_and(|text| text.contains("Write a summary"))
}

fn last_text(request: &Value) -> Option<&str> {
    request["messages"].as_array()?.last()?["content"].as_array()?.last()?["text"].as_str()
}

fn bytes(request: &Value) -> usize {
    request.to_string().len()
}

fn counted(text: impl Into<String>, request: &Value) -> Option<Answer> {
    Some(Answer::Counted { text: text.into(), input_tokens: bytes(request) as u64 / 4, stop: "end_turn" })
}

fn endings(facts: &[StoredFact]) -> Vec<AttemptEnding> {
    let endings = facts.iter().filter_map(|stored| match &*stored.fact {
        Fact::AttemptEnded { ending, .. } => Some(*ending),
        _ => None,
    });
    endings.collect()
}

fn compacted(facts: &[StoredFact]) -> Vec<Option<&str>> {
    let summaries = facts.iter().filter_map(|stored| match &*stored.fact {
        Fact::ConversationCompacted { summary, .. } => Some(summary.as_deref()),
        _ => None,
    });
    summaries.collect()
}

/// Says this and waits for the turn's end.
async fn turn(engine: &TestEngine, session: SessionId, text: &str, after: u64) -> Vec<StoredFact> {
    engine.say(session, text).await;
    engine.until_idle(session, after).await
}

fn seq(facts: &[StoredFact]) -> u64 {
    facts.last().expect("a turn has facts").seq
}

#[tokio::test]
async fn two_thousand_turns_cost_no_more_each_than_the_first_hundred() {
    let model = FakeModel::answering(|request| {
        if asks_for_summary(request) {
            return counted(
                format!("Of {} bytes, this is the summary. {}", bytes(request), "And so on. ".repeat(20)),
                request,
            );
        }
        let asked = last_text(request).and_then(|text| text.split_whitespace().nth(1)).unwrap_or("?");
        counted(format!("answer {asked} {}", "this and that ".repeat(20)), request)
    })
    .await;
    let store = MemoryStore::new();
    let engine = TestEngine::on_store(Arc::new(store.clone()), Some(&model.url), config()).await;
    let session = engine.session("claude-test").await;
    let (mut read, mut after, mut compactions) = (store.facts_read(), 1, 0);
    let (mut rows, mut kept) = (Vec::new(), Vec::new());
    for number in 0..TURNS {
        let facts = turn(&engine, session, &format!("question {number} {}", "of this kind ".repeat(20)), after).await;
        after = seq(&facts);
        compactions += compacted(&facts).len();
        rows.push(store.facts_read() - read);
        read = store.facts_read();
        kept.push(store.load_state(session).await.expect("it can be read").map_or(0, |kept| kept.blob.len()));
    }
    let requests = model.requests();
    assert_eq!(requests.len(), TURNS + compactions, "one request a turn, and one a summary");
    assert!((20..200).contains(&compactions), "{compactions} compactions");
    let sent: Vec<usize> = requests.iter().map(bytes).collect();
    // A turn goes over the limit before it is noticed; a token is four bytes.
    let most = LIMIT as usize * 4 + 4_000;
    assert!(sent.iter().all(|sent| *sent < most), "{:?} bytes were sent", sent.iter().max());
    let most = |counts: &[u64]| counts.iter().copied().max().unwrap_or(0);
    // A session that sleeps after every turn wakes on its kept state and the facts since: fewer than make it worth keeping
    // anew, and those of a turn, each time that it wakes within a turn.
    let (early, late) = (most(&rows[..100]), most(&rows[TURNS - 100..]));
    assert!(early > 0 && late < 400, "{late} rows read in one of the last turns, {early} in one of the first");
    let most = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or(0);
    // It is kept every ten turns or so, the conversation then being anything between just summed up and about to be: a hundred
    // turns may have missed the longest.
    let (early, late) = (most(&kept[..TURNS / 4]), most(&kept[TURNS - TURNS / 4..]));
    assert!(early > 0 && late <= early + early / 4, "{late} bytes are kept late, {early} early");

    let facts = store.read_facts(session, 0, usize::MAX).await.expect("it can be read");
    let said = facts.iter().filter(|stored| matches!(&*stored.fact, Fact::MessageSaid { .. })).count();
    assert_eq!(said, TURNS, "all that was said stays in the log, and no summary is among it");
    let last = requests.last().expect("there are requests").to_string();
    let summary = compacted(&facts).pop().flatten().expect("there is a summary").to_owned();
    assert!(last.contains(summary.trim()), "the newest summary is sent");
    for number in [TURNS - 1, TURNS - 2, TURNS - 3] {
        assert!(last.contains(&format!("question {number} ")), "the newest messages are sent");
    }
    assert!(!last.contains("question 100 "), "and older ones aren't");
}

/// A model that answers whatever is asked, and finds requests of more than so many bytes too long.
async fn narrow(most: usize) -> FakeModel {
    FakeModel::answering(move |request| {
        let too_long = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#;
        if bytes(request) > most {
            return Some(Answer::Status(400, vec![("content-type", "application/json")], too_long));
        }
        let text = if asks_for_summary(request) { "in short" } else { "an answer" };
        Some(Answer::Counted { text: text.to_owned(), input_tokens: 0, stop: "end_turn" })
    })
    .await
}

#[tokio::test]
async fn a_provider_that_finds_it_too_long_is_asked_again_with_less() {
    let model = narrow(60_000).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let mut after = 1;
    let mut all = Vec::new();
    for number in 0..12 {
        let facts = turn(&engine, session, &format!("question {number} {}", "word ".repeat(1_500)), after).await;
        after = seq(&facts);
        all.extend(facts);
    }
    let endings = endings(&all);
    assert!(endings.contains(&AttemptEnding::TooLong), "{endings:?}");
    let idle = all.iter().filter(|stored| matches!(&*stored.fact, Fact::SessionIdle { stop: StopReason::EndTurn, .. }));
    assert_eq!(idle.count(), 12, "every turn comes to its end");
    assert!(!all.iter().any(|stored| matches!(&*stored.fact, Fact::ErrorRaised { .. })), "and nobody is troubled");
    let last = model.requests().pop().expect("there are requests").to_string();
    assert!(last.contains("question 11 ") && last.contains("left out"), "{last}");
}

#[tokio::test]
async fn what_is_too_long_alone_is_told_as_the_provider_says_it_and_the_session_lives() {
    let model = narrow(20_000).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let facts = turn(&engine, session, &"word ".repeat(10_000), 1).await;
    let told = facts.iter().any(|stored| {
        matches!(
            &*stored.fact,
            Fact::ErrorRaised {
                problem: Problem::Model { failure: FailureKind::TooLong, message },
                next: AfterError::TurnOver,
                ..
            } if message.contains("prompt is too long")
        )
    });
    assert!(told, "{facts:?}");
    assert!(matches!(&*facts[facts.len() - 1].fact, Fact::SessionIdle { stop: StopReason::RetriesExhausted, .. }));
    let facts = turn(&engine, session, "and now?", seq(&facts)).await;
    let last = &*facts[facts.len() - 1].fact;
    assert!(
        matches!(last, Fact::SessionIdle { stop: StopReason::RetriesExhausted, .. }),
        "it is still there: {last:?}"
    );
    assert!(model.requests().len() < 10, "{} requests", model.requests().len());
}

/// An engine whose second turn begins with a summary, with the first turn done.
async fn about_to_sum_up(model: &FakeModel) -> (TestEngine, SessionId, u64) {
    let context = ContextPolicy { window: 1_000, ..ContextPolicy::default() };
    let models = ModelTable::default().with("claude-test", ModelEntry { context_window: Some(1_000), price: None });
    let engine = TestEngine::with_config(Some(&model.url), Config { context, models, ..config() }).await;
    let session = engine.session("claude-test").await;
    let facts = turn(&engine, session, &"a long question ".repeat(100), 1).await;
    (engine, session, seq(&facts))
}

fn first() -> Answer {
    Answer::Counted { text: "a long answer ".repeat(100), input_tokens: 5_000, stop: "end_turn" }
}

#[tokio::test]
async fn the_server_dies_while_a_summary_is_made() {
    let model = FakeModel::start([first(), Answer::Hang, Answer::Text("in short"), Answer::Text("done")]).await;
    let (mut engine, session, after) = about_to_sum_up(&model).await;
    engine.say(session, "and now?").await;
    model.wait_asked(2).await;
    engine.crash_and_restart().await;
    let facts = engine.until_idle(session, after).await;
    assert_eq!(endings(&facts), [AttemptEnding::Lost, AttemptEnding::Replied, AttemptEnding::Replied]);
    assert_eq!(compacted(&facts), [Some("in short")]);
    let requests = model.requests();
    assert_eq!(requests[1], requests[2], "it is asked for anew");
    let last = requests[3].to_string();
    assert!(last.contains("in short") && last.contains("and now?") && !last.contains("a long question"), "{last}");
}

#[tokio::test]
async fn a_summary_is_interrupted_like_any_reply() {
    let model = FakeModel::start([first(), Answer::Hang, Answer::Text("in short"), Answer::Text("done")]).await;
    let (engine, session, after) = about_to_sum_up(&model).await;
    engine.say(session, "and now?").await;
    model.wait_asked(2).await;
    let interrupt = vec![Input::Interrupt { thread: None }];
    engine.engine.sessions().send(DEFAULT_TENANT, session, interrupt, None).await.expect("it is accepted");
    let facts = engine.until_idle(session, after).await;
    assert_eq!(endings(&facts), [AttemptEnding::Interrupted]);
    let facts = turn(&engine, session, "go on", seq(&facts)).await;
    assert_eq!(compacted(&facts), [Some("in short")]);
    assert!(model.requests()[3].to_string().contains("go on"));
}

#[tokio::test]
async fn a_summary_is_not_previewed() {
    let model = FakeModel::start([first(), Answer::Text("in short"), Answer::Text("done")]).await;
    let (engine, session, after) = about_to_sum_up(&model).await;
    let sessions = engine.engine.sessions();
    let mut stream =
        sessions.stream(DEFAULT_TENANT, session, StreamFrom::After(after)).await.expect("it can be followed");
    engine.say(session, "and now?").await;
    let (mut summed_up, mut previewed) = (false, String::new());
    while let Some(live) = stream.next().await {
        match live.expect("the store works") {
            Live::Preview(Preview::Delta { text, .. }) => previewed += &text,
            Live::Preview(Preview::Started { .. }) => {}
            Live::Fact(stored) => match &*stored.fact {
                Fact::ConversationCompacted { .. } => summed_up = true,
                Fact::SessionIdle { .. } => break,
                _ => {}
            },
            Live::Deleted => panic!("nobody deletes it"),
        }
    }
    assert!(summed_up);
    assert!(!previewed.contains("in short"), "{previewed}");
}

#[tokio::test]
async fn a_reply_that_is_cut_off_is_gone_on_with() {
    let cut = |text: &str| Answer::Counted { text: text.to_owned(), input_tokens: 10, stop: "max_tokens" };
    let model = FakeModel::start([cut("one, two, "), cut("three, fo"), Answer::Text("ur"), Answer::Text("so?")]).await;
    let engine = TestEngine::start(Some(&model.url)).await;
    let session = engine.session("claude-test").await;
    let facts = turn(&engine, session, "count", 1).await;
    assert_eq!(endings(&facts), [AttemptEnding::Cut, AttemptEnding::Cut, AttemptEnding::Replied]);
    turn(&engine, session, "thanks", seq(&facts)).await;
    let requests = model.requests();
    let texts = |request: &Value, at: usize| -> Vec<String> {
        let blocks = request["messages"][at]["content"].as_array().expect("a list");
        blocks.iter().map(|block| block["text"].as_str().expect("a text").to_owned()).collect()
    };
    assert_eq!(texts(&requests[2], 1), ["one, two, ", "three, fo"]);
    assert!(texts(&requests[2], 2)[0].contains("was cut off"), "{}", requests[2]);
    assert_eq!(texts(&requests[3], 1), ["one, two, ", "three, fo", "ur"], "later it is one reply");
    assert_eq!(texts(&requests[3], 2), ["thanks"]);
}
