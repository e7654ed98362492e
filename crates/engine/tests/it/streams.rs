//! Streams: resumable from any cursor, with previews of what is just being said.

use futures_util::StreamExt;
use tenure_core::fact::Fact;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_engine::{Error, Live, Preview, StreamFrom};
use tenure_testkit::{TestEngine, script};

#[tokio::test]
async fn every_cursor_gives_the_rest_once() {
    let engine = TestEngine::start(None).await;
    engine.script("one", &script(&["{text: hello}"]));
    let session = engine.session("script/one").await;
    engine.say(session, "go").await;
    let all = engine.until_idle(session, 0).await;
    for after in 0..all.len() as u64 {
        let rest = engine.until_idle(session, after).await;
        assert_eq!(rest, all[after as usize..]);
    }
}

#[tokio::test]
async fn a_cursor_beyond_the_log_is_refused() {
    let engine = TestEngine::start(None).await;
    let session = engine.session("script/demo").await;
    let beyond = engine.engine.sessions().stream(DEFAULT_TENANT, session, StreamFrom::After(99)).await;
    assert!(matches!(beyond, Err(Error::Invalid { field, .. }) if field == "after"));
}

#[tokio::test]
async fn previews_add_up_to_what_is_said() {
    let engine = TestEngine::start(None).await;
    engine.script("long", &script(&["{thinking: let me see, text: a rather long text that comes in pieces}"]));
    let session = engine.session("script/long").await;
    let mut stream =
        engine.engine.sessions().stream(DEFAULT_TENANT, session, StreamFrom::Now).await.expect("it can be followed");
    engine.say(session, "go").await;
    let (mut previewed, mut started) = (std::collections::HashMap::new(), Vec::new());
    while let Some(live) = stream.next().await {
        match live.expect("the store works") {
            Live::Preview(Preview::Started { item, .. }) => started.push(item),
            Live::Preview(Preview::Delta { item, text, .. }) => {
                assert!(started.contains(&item), "a piece comes after its beginning");
                previewed.entry(item).or_insert_with(String::new).push_str(&text);
            }
            Live::Fact(stored) => match &*stored.fact {
                Fact::MessageSaid { item, text, .. } => assert_eq!(previewed.get(item), Some(text)),
                Fact::SessionIdle { .. } => return,
                _ => {}
            },
            Live::Deleted => break,
        }
    }
    panic!("the stream ended early");
}

#[tokio::test]
async fn a_deleted_session_ends_its_streams() {
    let engine = TestEngine::start(None).await;
    let session = engine.session("script/demo").await;
    let mut stream = engine
        .engine
        .sessions()
        .stream(DEFAULT_TENANT, session, StreamFrom::After(0))
        .await
        .expect("it can be followed");
    assert!(matches!(stream.next().await, Some(Ok(Live::Fact(_)))));
    engine.engine.sessions().delete(DEFAULT_TENANT, session).await.expect("it is idle");
    assert!(matches!(stream.next().await, Some(Ok(Live::Deleted))));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn who_comes_late_gets_the_log_first_and_then_what_is_being_said() {
    let engine = TestEngine::start(None).await;
    engine.script("slow", &script(&["{text: a first part and then a pause, delay_ms: 300}"]));
    let session = engine.session("script/slow").await;
    let sessions = engine.engine.sessions();
    let mut early = sessions.stream(DEFAULT_TENANT, session, StreamFrom::Now).await.expect("it can be followed");
    engine.say(session, "go").await;
    while let Some(live) = early.next().await {
        if matches!(live, Ok(Live::Preview(Preview::Delta { .. }))) {
            break;
        }
    }
    let mut late = sessions.stream(DEFAULT_TENANT, session, StreamFrom::After(0)).await.expect("it can be followed");
    let mut previewed = false;
    while let Some(live) = late.next().await {
        match live.expect("the store works") {
            Live::Preview(_) => previewed = true,
            Live::Fact(stored) => match &*stored.fact {
                Fact::AttemptStarted { .. } => assert!(!previewed, "the log comes first"),
                Fact::SessionIdle { .. } => return,
                _ => {}
            },
            Live::Deleted => break,
        }
    }
    panic!("the stream ended early");
}
