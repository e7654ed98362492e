use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_store::{Error, Store, Tail};

use crate::fixture::Log;

/// Reads on until the fact at `last` was told.
async fn up_to(last: u64, tail: &mut BoxStream<'static, Result<Tail, Error>>) -> Vec<StoredFact> {
    let mut told: Vec<StoredFact> = Vec::new();
    while told.last().is_none_or(|stored| stored.seq < last) {
        match tail.next().await.unwrap().unwrap() {
            Tail::Facts(facts) => told.extend(facts.iter().cloned()),
            Tail::Deleted => panic!("deleted"),
        }
    }
    told
}

fn seqs(facts: &[StoredFact]) -> Vec<u64> {
    facts.iter().map(|stored| stored.seq).collect()
}

pub(super) async fn from_any_place(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    for _ in 0..3 {
        // More than one page of the log.
        store.append(log.say(200)).await.unwrap();
    }
    let last = log.row.seq;
    for after in [0, 1, 255, 256, 257, 599, 600] {
        let mut tail = store.tail(log.id(), after);
        assert_eq!(seqs(&up_to(last, &mut tail).await), (after + 1..=last).collect::<Vec<_>>(), "after {after}");
    }
    // From the end, and then live.
    let mut tail = store.tail(log.id(), last);
    store.append(log.say(2)).await.unwrap();
    let told = up_to(last + 2, &mut tail).await;
    assert_eq!(told, store.read_facts(log.id(), last, 10).await.unwrap());
}

pub(super) async fn live_without_a_seam(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let session = log.id();
    let last = 1 + 3 * 200;
    let writing = Arc::clone(&store);
    let writer = tokio::spawn(async move {
        for _ in 0..200 {
            writing.append(log.say(3)).await.unwrap();
        }
    });
    // Followers come from many places while facts are being written, each after the one before has had its first facts.
    let mut followers = Vec::new();
    for after in [0, 1, 2, 3, 50, 100, 299, 300, 301] {
        let mut tail = store.tail(session, after);
        followers.push(tokio::spawn(async move { (after, seqs(&up_to(last, &mut tail).await)) }));
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    for follower in followers {
        let (after, told) = follower.await.unwrap();
        assert_eq!(told, (after + 1..=last).collect::<Vec<_>>(), "after {after}");
    }
}

pub(super) async fn a_slow_follower_loses_nothing(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut tail = store.tail(log.id(), 0);
    assert_eq!(seqs(&up_to(1, &mut tail).await), [1]);
    // Far more batches than are kept for it.
    for _ in 0..500 {
        store.append(log.say(1)).await.unwrap();
    }
    let last = log.row.seq;
    assert_eq!(seqs(&up_to(last, &mut tail).await), (2..=last).collect::<Vec<_>>());
    store.append(log.say(1)).await.unwrap();
    assert_eq!(seqs(&up_to(last + 1, &mut tail).await), [last + 1]);
}

pub(super) async fn many_followers_share_facts(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut tails: Vec<_> = (0..1000).map(|_| store.tail(log.id(), 1)).collect();
    // Each stands at the log's end only when it has looked; so each is told of one fact first.
    store.append(log.say(1)).await.unwrap();
    for tail in &mut tails {
        assert_eq!(seqs(&up_to(2, tail).await), [2]);
    }
    store.append(log.say(1)).await.unwrap();
    let mut shared: Vec<Arc<[StoredFact]>> = Vec::new();
    for tail in &mut tails {
        match tail.next().await.unwrap().unwrap() {
            Tail::Facts(facts) => shared.push(facts),
            Tail::Deleted => panic!("deleted"),
        }
    }
    assert_eq!(seqs(&shared[0]), [3]);
    assert!(shared.iter().all(|facts| Arc::ptr_eq(facts, &shared[0])));
}

pub(super) async fn it_ends_with_the_session(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut live = store.tail(log.id(), 0);
    assert_eq!(seqs(&up_to(1, &mut live).await), [1]);
    let mut unread = store.tail(log.id(), 0);
    store.delete_session(log.id()).await.unwrap();
    for tail in [&mut live, &mut unread] {
        assert_eq!(tail.next().await.unwrap().unwrap(), Tail::Deleted);
        assert!(tail.next().await.is_none());
    }
}

pub(super) async fn of_an_unknown_session(store: Arc<dyn Store>) {
    let mut tail = store.tail(SessionId::from_bits(9), 0);
    assert_eq!(tail.next().await.unwrap().unwrap(), Tail::Deleted);
    assert!(tail.next().await.is_none());
}
