use std::sync::Arc;

use tenure_core::time::Timestamp;
use tenure_store::{AppendError, CachedState, FeedKind, SessionQuery, Store};

use crate::fixture::{Log, TENANT, answer};

pub(super) async fn nothing_is_left(store: Arc<dyn Store>) {
    let (mut log, mut other) = (Log::new(1), Log::new(2));
    for (log, key) in [(&mut log, "one"), (&mut other, "two")] {
        log.row.wake_at = Some(Timestamp::from_micros(1));
        log.row.unsettled = true;
        let mut create = log.create();
        create.feed = vec![FeedKind::Created];
        create.answer = Some(answer(key, 0, 100));
        store.append(create).await.unwrap();
        store.save_state(log.id(), CachedState { seq: 1, format: 1, blob: vec![1] }).await.unwrap();
    }
    assert!(store.delete_session(log.id()).await.unwrap());
    assert!(!store.delete_session(log.id()).await.unwrap());

    assert_eq!(store.head(log.id()).await.unwrap(), None);
    assert_eq!(store.read_facts(log.id(), 0, 10).await.unwrap(), []);
    assert_eq!(store.session(None, log.id()).await.unwrap(), None);
    assert_eq!(store.load_state(log.id()).await.unwrap(), None);
    assert_eq!(store.answer(TENANT, "one".to_owned(), Timestamp::from_micros(0)).await.unwrap(), None);
    assert_eq!(store.due(Timestamp::from_micros(9), 10).await.unwrap(), [other.id()]);
    assert_eq!(store.unsettled(None, 10).await.unwrap(), [other.id()]);
    assert_eq!(store.session_ids(None, 10).await.unwrap(), [other.id()]);
    let feed = store.feed(TENANT, 0, 10).await.unwrap();
    assert_eq!(feed.iter().map(|entry| entry.session).collect::<Vec<_>>(), [other.id()]);
    let listed = store.sessions(SessionQuery::newest(TENANT, 10)).await.unwrap().rows;
    assert_eq!(listed.iter().map(|row| row.summary.session).collect::<Vec<_>>(), [other.id()]);

    assert_eq!(store.purges().await.unwrap(), [log.id()]);
    store.purge_done(log.id()).await.unwrap();
    assert_eq!(store.purges().await.unwrap(), []);
}

pub(super) async fn a_deleted_session_takes_nothing_more(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    store.delete_session(log.id()).await.unwrap();
    assert!(matches!(store.append(log.say(1)).await, Err(AppendError::Gone)));
    assert!(matches!(store.append(Log::new(1).create()).await, Err(AppendError::Gone)));
    assert_eq!(store.session_ids(None, 10).await.unwrap(), []);
}

pub(super) async fn feed_positions_are_not_given_again(store: Arc<dyn Store>) {
    let mut positions = Vec::new();
    for session in 1..4 {
        let mut log = Log::new(session);
        let mut create = log.create();
        create.feed = vec![FeedKind::Created];
        store.append(create).await.unwrap();
        positions.extend(store.feed(TENANT, 0, 10).await.unwrap().iter().map(|entry| entry.position));
        store.delete_session(log.id()).await.unwrap();
    }
    assert_eq!(positions.len(), 3);
    assert!(positions.is_sorted_by(|one, next| one < next), "{positions:?}");
}
