use std::sync::Arc;

use tenure_core::fact::Fact;
use tenure_core::fact::StoredFact;
use tenure_core::fork::{ForkKind, ForkedFrom};
use tenure_core::id::SessionId;
use tenure_core::past::Skipped;
use tenure_core::time::Timestamp;
use tenure_store::{AppendError, CachedState, FactQuery, FeedKind, Fork, SessionQuery, Store};

use crate::fixture::{Log, TENANT, answer, definition};

const FOREVER: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);

/// The fork of a log at one of its places.
pub(crate) fn fork(of: &Log, at: u64, id: u128) -> (Fork, Log) {
    let mut child = Log::new(id);
    (child.row.seq, child.row.updated_at) = (at, of.row.updated_at);
    let from = ForkedFrom { session: of.id(), at, what: ForkKind::Fork, snapshot: None };
    let fact = Fact::SessionForked { from, name: None, earlier: Vec::new(), title: None };
    let mut append = child.append([fact]);
    append.definition = Some(definition());
    (Fork { from: of.id(), append }, child)
}

/// What a session's log says, whoever it is of.
async fn said(store: &Arc<dyn Store>, session: SessionId) -> Vec<StoredFact> {
    let facts = store.read_facts(session, 0, usize::MAX).await.unwrap();
    assert!(facts.iter().all(|stored| stored.session == session));
    facts.into_iter().map(|stored| StoredFact { session: SessionId::from_bits(0), ..stored }).collect()
}

pub(super) async fn a_fork_begins_with_the_others_facts(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    let mut create = log.create();
    create.answer = Some(answer("key", 0, 100));
    create.feed = vec![FeedKind::Created];
    store.append(create).await.unwrap();
    let big = [log.message(&"ä".repeat(40_000)), log.message("small")];
    store.append(log.append(big)).await.unwrap();
    // More than is copied at once.
    store.append(log.say(5_000)).await.unwrap();
    store.save_state(log.id(), CachedState { seq: 1, format: 1, blob: vec![1] }).await.unwrap();

    let (mut first, mut child) = fork(&log, 4_500, 2);
    first.append.feed = vec![FeedKind::Created];
    first.append.answer = Some(answer("fork", 0, 100));
    let own = first.append.facts.clone();
    store.fork(first).await.unwrap();

    let (mine, theirs) = (said(&store, child.id()).await, said(&store, log.id()).await);
    assert_eq!((mine.len(), &mine[..4_500]), (4_501, &theirs[..4_500]));
    assert_eq!(mine[4_500].fact, own[0].fact);
    assert_eq!(theirs.len() as u64, log.row.seq, "the other is as it was");
    let row = store.session(Some(TENANT), child.id()).await.unwrap().unwrap();
    assert_eq!((row.summary, row.definition), (child.row.clone(), definition()));
    assert_eq!(store.head(child.id()).await.unwrap(), Some(4_501));
    assert_eq!(store.load_state(child.id()).await.unwrap(), None);
    assert!(store.answer(TENANT, "fork".to_owned(), Timestamp::from_micros(0)).await.unwrap().is_some());
    let fed: Vec<_> = store.feed(TENANT, 0, 10).await.unwrap().into_iter().map(|entry| entry.session).collect();
    assert_eq!(fed, [log.id(), child.id()]);

    // Each goes on by itself, and the blobs that both name stay as long as one of them is there.
    store.append(child.say(3)).await.unwrap();
    store.append(log.say(1)).await.unwrap();
    assert_eq!(
        (store.head(child.id()).await.unwrap(), store.head(log.id()).await.unwrap()),
        (Some(4_504), Some(5_004))
    );
    assert!(store.delete_session(log.id()).await.unwrap());
    store.sweep_blobs(FOREVER).await.unwrap();
    assert_eq!(said(&store, child.id()).await[..4_500], theirs[..4_500]);
    assert_eq!(store.sweep_forks().await.unwrap(), 0, "nothing was left");
}

pub(super) async fn a_fork_of_a_fork(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    store.append(log.say(5)).await.unwrap();
    let (first, child) = fork(&log, 4, 2);
    store.fork(first).await.unwrap();
    let (second, grandchild) = fork(&child, 5, 3);
    store.fork(second).await.unwrap();
    assert_eq!(said(&store, grandchild.id()).await[..5], said(&store, child.id()).await[..5]);
    let rows = store.sessions(SessionQuery::newest(TENANT, 10)).await.unwrap().rows;
    assert_eq!(rows.len(), 3);
}

pub(super) async fn a_fork_that_cannot_be_leaves_nothing(store: Arc<dyn Store>) {
    let (mut log, mut deleted, strange) = (Log::new(1), Log::new(2), Log::new(9));
    store.append(log.create()).await.unwrap();
    store.append(log.say(3)).await.unwrap();
    store.append(deleted.create()).await.unwrap();
    store.append(deleted.say(3)).await.unwrap();
    store.delete_session(deleted.id()).await.unwrap();
    for (of, at) in [(&strange, 2), (&deleted, 2), (&log, 5)] {
        assert!(matches!(store.fork(fork(of, at, 3).0).await, Err(AppendError::Gone)), "{at} of {}", of.id());
    }
    assert!(matches!(store.fork(fork(&log, 2, 2).0).await, Err(AppendError::Gone)), "as a deleted session");
    assert!(matches!(store.fork(fork(&log, 2, 1).0).await, Err(AppendError::Conflict { actual: 4 })), "as one that is");
    let mut early = fork(&log, 4, 3).0;
    early.append.facts[0].at = Timestamp::from_micros(1);
    assert!(matches!(store.fork(early).await, Err(AppendError::Invalid(_))), "before what it follows");
    let mut undefined = fork(&log, 4, 3).0;
    undefined.append.definition = None;
    assert!(matches!(store.fork(undefined).await, Err(AppendError::Invalid(_))));
    let mut keyed = fork(&log, 4, 3).0;
    keyed.append.answer = Some(answer("key", 0, 100));
    store.keep_answer(answer("key", 0, 100), None).await.unwrap();
    assert!(matches!(store.fork(keyed).await, Err(AppendError::KeyTaken(_))));
    assert_eq!(store.session_ids(None, 10).await.unwrap(), [log.id()]);
    assert_eq!(said(&store, SessionId::from_bits(3)).await, []);
    store.fork(fork(&log, 4, 3).0).await.unwrap();
    assert_eq!(store.session_ids(None, 10).await.unwrap(), [log.id(), SessionId::from_bits(3)]);
}

pub(super) async fn queries_leave_out_what_is_skipped(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    store.append(log.say(9)).await.unwrap();
    let skip = vec![Skipped { after: 2, until: 4 }, Skipped { after: 8, until: 9 }];
    let found = store.query_facts(FactQuery { skip, ..FactQuery::all(log.id(), 5) }).await.unwrap();
    assert_eq!(found.iter().map(|stored| stored.seq).collect::<Vec<_>>(), [1, 2, 5, 6, 7]);
}
