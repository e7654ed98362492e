//! A check knows what a session's row and kept state have to be.

use std::path::Path;
use std::sync::Arc;

use tenure_core::fact::Fact;
use tenure_core::id::ItemId;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{Keep, Outcome};
use tenure_core::state::State;
use tenure_engine::{Config, Replayer};
use tenure_store::sqlite::{CheckOptions, SqliteOptions, SqliteStore, check, repair};
use tenure_store::{Append, CachedState, Checked, Finding, Part, SessionRows as _, Store};
use tenure_testkit::TestEngine;

fn open(dir: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(SqliteOptions { dir: dir.to_owned(), master_key: None }).expect("opened"))
}

fn findings(dir: &Path) -> (Checked, Vec<Finding>) {
    let options = CheckOptions { dir: dir.to_owned(), master_key: None, unchanging: false, stop: Arc::default() };
    let mut found = Vec::new();
    let checked = check(&options, &mut Replayer::default(), &mut |finding| found.push(finding)).expect("checked");
    (checked, found)
}

/// Sessions that are new, were archived, have worked for long.
async fn sessions(dir: &Path) -> TestEngine {
    let store: Arc<dyn Store> = open(dir);
    let engine = TestEngine::on_store(store, None, Config::default()).await;
    engine.script("talk", "- steps:\n    - text: I hear you.\n");
    engine.session("script/talk").await;
    for rounds in [1, 30] {
        let session = engine.session("script/talk").await;
        let mut seen = 0;
        for _ in 0..rounds {
            engine.say(session, "hello").await;
            seen = engine.until_idle(session, seen).await.last().expect("facts").seq;
        }
        if rounds == 1 {
            let (outcome, keep) = (Outcome::Archived, Keep::Everything);
            engine.engine.sessions().end(DEFAULT_TENANT, session, outcome, keep, None).await.expect("archived");
        }
    }
    engine
}

#[tokio::test]
async fn what_an_engine_leaves_is_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = sessions(dir.path()).await;
    let (checked, found) = findings(dir.path());
    assert_eq!(found, []);
    assert_eq!(checked.sessions, 3);
    drop(engine);
}

#[tokio::test]
async fn a_row_or_kept_state_that_is_not_of_its_log_is_named_and_repaired() {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = sessions(dir.path()).await;
    let store = Arc::clone(&engine.store);
    let ids = store.session_ids(None, 10).await.expect("read");
    drop(engine);

    // A sound state is no finding; one of another session is.
    let mut states = Vec::new();
    for id in &ids {
        let facts = store.read_facts(*id, 0, usize::MAX).await.expect("read");
        states.push(State::replay(&facts).expect("a session"));
    }
    let keep = |state: &State| CachedState {
        seq: state.seq,
        format: 5,
        blob: serde_json::to_vec(state).expect("it is plain data"),
    };
    store.save_state(ids[0], keep(&states[0])).await.expect("kept");
    assert_eq!(findings(dir.path()).1, []);
    let wrong = State { title: Some("another".to_owned()), ..states[0].clone() };
    store.save_state(ids[0], keep(&wrong)).await.expect("kept");
    store.save_state(ids[1], CachedState { seq: states[1].seq + 5, ..keep(&states[1]) }).await.expect("kept");

    // A row that says what the log doesn't.
    let last = store.read_facts(ids[2], states[2].seq - 1, 1).await.expect("read").remove(0);
    let title = Some(Some("as the log says".to_owned()));
    let item = ItemId::from_bits(77);
    let said =
        Fact::SessionUpdated { item, title, metadata: None, labels: None, tools: None, budget: None, limits: None };
    let fact = tenure_core::fact::StoredFact { seq: last.seq + 1, fact: Arc::new(said), ..last };
    let mut summary = states[2].summary();
    (summary.seq, summary.title) = (fact.seq, Some("as the row says".to_owned()));
    let (session, expected_seq) = (ids[2], last.seq);
    let append =
        Append { session, expected_seq, facts: vec![fact], summary, definition: None, feed: Vec::new(), answer: None };
    store.append(append).await.expect("stored");
    drop(store);

    let (_, found) = findings(dir.path());
    let named: Vec<_> = found.iter().map(|finding| (finding.part, finding.session)).collect();
    assert!(named.contains(&(Part::State, Some(ids[0]))), "{found:#?}");
    assert!(named.contains(&(Part::State, Some(ids[1]))), "{found:#?}");
    let row = found.iter().find(|finding| finding.part == Part::Row && finding.session == Some(ids[2]));
    assert!(row.is_some_and(|row| row.what.contains("`title`") && !row.what.contains("as the")), "{found:#?}");
    assert!(found.iter().all(|finding| finding.repairable), "{found:#?}");

    assert_eq!(repair(dir.path(), &ids, &mut Replayer::default()).expect("repaired"), 3);
    assert_eq!(findings(dir.path()).1, []);
    let store = open(dir.path());
    let row = store.session(None, ids[2]).await.expect("read").expect("there");
    assert_eq!(row.summary.title.as_deref(), Some("as the log says"));
}
