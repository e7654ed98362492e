use std::sync::Arc;

use tenure_core::id::{AgentId, EnvironmentId, SessionId};
use tenure_core::phase::{Fold, Phase};
use tenure_core::session::{Lifecycle, Outcome};
use tenure_core::time::Timestamp;
use tenure_store::{Order, SessionQuery, Start, Store, TimeRange};

use crate::fixture::{Log, OTHER_TENANT, TENANT};

/// Stores a session for each, after it was changed.
async fn store_all(store: &Arc<dyn Store>, logs: impl IntoIterator<Item = Log>) {
    for mut log in logs {
        store.append(log.create()).await.unwrap();
    }
}

async fn listed(store: &Arc<dyn Store>, query: SessionQuery) -> Vec<u128> {
    store.sessions(query).await.unwrap().rows.iter().map(|row| row.summary.session.bits()).collect()
}

pub(super) async fn pages_both_ways_through_equal_times(store: Arc<dyn Store>) {
    // Ids rise where times are equal: 10 at 1, then 20 to 24 at 2, then 30 at 3.
    store_all(
        &store,
        [(30, 3), (22, 2), (20, 2), (24, 2), (10, 1), (21, 2), (23, 2)].map(|(id, at)| Log::created_at(id, at)),
    )
    .await;
    let oldest_first = vec![10, 20, 21, 22, 23, 24, 30];
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut expected = oldest_first.clone();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        for limit in 1..=8 {
            let query = |start| SessionQuery { order, start, ..SessionQuery::newest(TENANT, limit) };
            let (mut start, mut pages) = (None, Vec::new());
            loop {
                let page = store.sessions(query(start)).await.unwrap();
                pages.push(page.rows.iter().map(|row| row.summary.session.bits()).collect::<Vec<_>>());
                assert_eq!(page.prev.is_some(), pages.len() > 1);
                let Some(next) = page.next else { break };
                start = Some(Start::After(next));
            }
            assert_eq!(pages.concat(), expected, "{order:?} by {limit}");

            // Back from the last page: the same rows, also when the first page is short.
            let last = store.sessions(query(start)).await.unwrap();
            let mut back = last.rows.iter().map(|row| row.summary.session.bits()).collect::<Vec<_>>();
            let mut prev = last.prev;
            while let Some(bound) = prev {
                let page = store.sessions(query(Some(Start::Before(bound)))).await.unwrap();
                assert!(page.next.is_some());
                let rows = page.rows.iter().map(|row| row.summary.session.bits());
                back.splice(0..0, rows.collect::<Vec<_>>());
                prev = page.prev;
            }
            assert_eq!(back, expected, "{order:?} by {limit}, backwards");
        }
    }
}

pub(super) async fn filters(store: Arc<dyn Store>) {
    let mut logs: Vec<Log> = (1..=5).map(|id| Log::created_at(id, 10 * id as i64)).collect();
    logs[0].row.agent = AgentId::from_bits(11);
    logs[1].row.agent_version = 2;
    logs[2].row.environment = EnvironmentId::from_bits(12);
    logs[3].row.fold = Fold::Working;
    logs[4].row.tenant = OTHER_TENANT;
    store_all(&store, logs).await;
    let all = || SessionQuery { order: Order::OldestFirst, ..SessionQuery::newest(TENANT, 100) };
    assert_eq!(listed(&store, all()).await, [1, 2, 3, 4]);
    assert_eq!(listed(&store, SessionQuery::newest(OTHER_TENANT, 100)).await, [5]);
    assert_eq!(listed(&store, SessionQuery { agent: Some(AgentId::from_bits(11)), ..all() }).await, [1]);
    assert_eq!(listed(&store, SessionQuery { agent_version: Some(2), ..all() }).await, [2]);
    assert_eq!(listed(&store, SessionQuery { environment: Some(EnvironmentId::from_bits(12)), ..all() }).await, [3]);
    assert_eq!(listed(&store, SessionQuery { phases: Some(vec![Phase::Working, Phase::Failed]), ..all() }).await, [4]);
    assert_eq!(listed(&store, SessionQuery { phases: Some(vec![]), ..all() }).await, [0u128; 0]);
    let at = |micros| Some(Timestamp::from_micros(micros));
    for (created, expected) in [
        (TimeRange { gt: at(20), ..TimeRange::default() }, &[3, 4][..]),
        (TimeRange { gte: at(20), lt: at(40), ..TimeRange::default() }, &[2, 3]),
        (TimeRange { lte: at(20), ..TimeRange::default() }, &[1, 2]),
    ] {
        assert_eq!(listed(&store, SessionQuery { created, ..all() }).await, expected);
    }

    let id = SessionId::from_bits(5);
    assert_eq!(store.session(Some(TENANT), id).await.unwrap(), None);
    assert!(store.session(Some(OTHER_TENANT), id).await.unwrap().is_some());
    assert!(store.session(None, id).await.unwrap().is_some());
}

pub(super) async fn labels(store: Arc<dyn Store>) {
    let mut logs: Vec<Log> = (1..=8).map(|id| Log::created_at(id, 10 * (id as i64 / 2))).collect();
    for log in &mut logs {
        let id = log.row.session.bits();
        let wanted = [("even", id % 2 == 0), ("third", id % 3 == 0), ("all", true), ("Even", id == 1)];
        log.row.labels = wanted.into_iter().filter(|(_, wanted)| *wanted).map(|(label, _)| label.to_owned()).collect();
    }
    logs[3].row.fold = Fold::Working;
    logs[5].row.agent = AgentId::from_bits(11);
    logs[6].row.tenant = OTHER_TENANT;
    for log in &mut logs {
        store.append(log.create()).await.unwrap();
    }
    let (mut eighth, mut sixth) = (logs.remove(7), logs.remove(5));
    let all = |labels: &[&str]| {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        SessionQuery { order: Order::OldestFirst, labels, ..SessionQuery::newest(TENANT, 100) }
    };
    for (labels, expected) in [
        (&["even"][..], &[2, 4, 6, 8][..]),
        (&["Even"], &[1]),
        (&["third"], &[3, 6]),
        (&["even", "third"], &[6]),
        (&["third", "all", "even"], &[6]),
        (&["all"], &[1, 2, 3, 4, 5, 6, 8]),
        (&["eve"], &[]),
        (&["even", "odd"], &[]),
    ] {
        assert_eq!(listed(&store, all(labels)).await, expected, "{labels:?}");
    }
    assert_eq!(listed(&store, SessionQuery { phases: Some(vec![Phase::Working]), ..all(&["even"]) }).await, [4]);
    assert_eq!(listed(&store, SessionQuery { phases: Some(vec![]), ..all(&["even"]) }).await, [0u128; 0]);
    assert_eq!(listed(&store, SessionQuery { agent: Some(AgentId::from_bits(11)), ..all(&["all"]) }).await, [6]);
    let created = TimeRange { gt: Some(Timestamp::from_micros(10)), ..TimeRange::default() };
    assert_eq!(listed(&store, SessionQuery { created, ..all(&["even"]) }).await, [4, 6, 8]);

    // Page by page, there and back.
    let page = |start| SessionQuery { start, limit: 3, ..all(&["all"]) };
    let first = store.sessions(page(None)).await.unwrap();
    let second = store.sessions(page(first.next.map(Start::After))).await.unwrap();
    let ids = |rows: &[tenure_store::SessionRow]| -> Vec<u128> {
        rows.iter().map(|row| row.summary.session.bits()).collect()
    };
    assert_eq!((ids(&first.rows), ids(&second.rows)), (vec![1, 2, 3], vec![4, 5, 6]));
    let back = store.sessions(page(second.prev.map(Start::Before))).await.unwrap();
    assert_eq!((ids(&back.rows), back.prev), (vec![1, 2, 3], None));

    // They follow the row, and go with it.
    sixth.row.labels = ["even".to_owned(), "new".to_owned()].into();
    store.append(sixth.say(1)).await.unwrap();
    assert_eq!(listed(&store, all(&["new"])).await, [6]);
    assert_eq!(listed(&store, all(&["third"])).await, [3]);
    assert!(store.session(None, sixth.id()).await.unwrap().unwrap().summary.labels.contains("new"));
    eighth.row.labels.clear();
    store.append(eighth.say(1)).await.unwrap();
    assert_eq!(listed(&store, all(&["even"])).await, [2, 4, 6]);
    assert!(store.delete_session(sixth.id()).await.unwrap());
    assert_eq!(listed(&store, all(&["even"])).await, [2, 4]);
    assert_eq!(listed(&store, all(&["new"])).await, [0u128; 0]);
}

pub(super) async fn an_archived_session_is_listed_on_request(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    assert_eq!(listed(&store, SessionQuery::newest(TENANT, 10)).await, [1]);
    log.row.lifecycle = Lifecycle::Ended { outcome: Outcome::Archived, at: Timestamp::from_micros(2_000) };
    store.append(log.say(1)).await.unwrap();
    assert_eq!(listed(&store, SessionQuery::newest(TENANT, 10)).await, [0u128; 0]);
    let query = SessionQuery { include_archived: true, ..SessionQuery::newest(TENANT, 10) };
    assert_eq!(listed(&store, query).await, [1]);
}

pub(super) async fn prefixes(store: Arc<dyn Store>) {
    let ids = [0xab00_u128 << 112, 0xab01_u128 << 112, 0xac00_u128 << 112, u128::MAX, 0];
    store_all(&store, ids.map(Log::new)).await;
    let mut foreign = Log::new(0xab02_u128 << 112);
    foreign.row.tenant = OTHER_TENANT;
    store_all(&store, [foreign]).await;
    let found = async |prefix: &str, limit| -> Vec<u128> {
        let found = store.sessions_by_prefix(TENANT, prefix.to_owned(), limit).await.unwrap();
        found.iter().map(|id| id.bits()).collect()
    };
    assert_eq!(found("ab", 10).await, ids[..2]);
    assert_eq!(found("AB", 1).await, ids[..1]);
    assert_eq!(found("ab01", 10).await, ids[1..2]);
    assert_eq!(found("f", 10).await, [u128::MAX]);
    assert_eq!(found(&"0".repeat(32), 10).await, [0]);
    assert_eq!(found("", 10).await.len(), 5);
    for none in ["ad", "x", "ab%", "+1", "-", "é", &"0".repeat(33)] {
        assert_eq!(found(none, 10).await, [0u128; 0], "{none}");
    }
}

pub(super) async fn pages_within_a_span_of_time(store: Arc<dyn Store>) {
    store_all(&store, (1..=20).map(|at| Log::created_at(at, at as i64))).await;
    let at = |micros| Some(Timestamp::from_micros(micros));
    let created = TimeRange { gt: at(3), lte: at(17), ..TimeRange::default() };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let mut expected: Vec<u128> = (4..=17).collect();
        if order == Order::NewestFirst {
            expected.reverse();
        }
        let query = |start| SessionQuery { created, order, start, ..SessionQuery::newest(TENANT, 4) };
        let (mut start, mut pages) = (None, Vec::new());
        loop {
            let page = store.sessions(query(start)).await.unwrap();
            assert_eq!(page.prev.is_some(), !pages.is_empty());
            pages.push(page.rows.iter().map(|row| row.summary.session.bits()).collect::<Vec<_>>());
            let Some(next) = page.next else { break };
            start = Some(Start::After(next));
        }
        assert_eq!(pages.concat(), expected, "{order:?}");
        let last = store.sessions(query(start)).await.unwrap().prev.expect("pages before");
        let before = store.sessions(query(Some(Start::Before(last)))).await.unwrap();
        let before: Vec<u128> = before.rows.iter().map(|row| row.summary.session.bits()).collect();
        assert_eq!(before, pages[pages.len() - 2], "{order:?}");
    }
}
