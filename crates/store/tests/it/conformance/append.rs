use std::sync::Arc;

use tenure_core::id::SessionId;
use tenure_core::phase::{Fold, Phase};
use tenure_core::time::Timestamp;
use tenure_store::{
    AppendError, CachedState, FactQuery, FeedKind, IdempotencyRecord, Order, ResourceError, Store, TimeRange,
};

use crate::fixture::{Log, TENANT, answer};

pub(super) async fn facts_read_back_in_order(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    let mut written = Vec::new();
    for append in [log.create(), log.say(3), log.say(1)] {
        written.extend(append.facts.clone());
        store.append(append).await.unwrap();
    }
    assert_eq!(store.read_facts(log.id(), 0, 100).await.unwrap(), written);
    assert_eq!(store.read_facts(log.id(), 2, 2).await.unwrap(), written[2..4]);
    assert_eq!(store.read_facts(log.id(), 5, 2).await.unwrap(), []);
    assert_eq!(store.read_facts(log.id(), u64::MAX, usize::MAX).await.unwrap(), []);
    assert_eq!(
        store.read_facts_at(log.id(), vec![5, 2, 2, 9, 0]).await.unwrap(),
        [written[1].clone(), written[4].clone()]
    );
    assert_eq!(store.head(log.id()).await.unwrap(), Some(5));
    assert_eq!(store.head(SessionId::from_bits(99)).await.unwrap(), None);
    let row = store.session(Some(TENANT), log.id()).await.unwrap().unwrap();
    assert_eq!(row.summary, log.row);
}

pub(super) async fn the_wrong_place_is_a_conflict(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut behind = log.clone();
    store.append(log.say(2)).await.unwrap();
    assert!(matches!(store.append(behind.say(1)).await, Err(AppendError::Conflict { actual: 3 })));
    assert!(matches!(store.append(Log::new(1).create()).await, Err(AppendError::Conflict { actual: 3 })));
    log.row.seq += 1;
    assert!(matches!(store.append(log.say(1)).await, Err(AppendError::Conflict { actual: 3 })));
    assert_eq!(store.read_facts(log.id(), 0, 100).await.unwrap().len(), 3);
}

pub(super) async fn of_two_at_once_one_succeeds(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    for _ in 0..50 {
        let (mut one, mut other) = (log.clone(), log.clone());
        let (one, other) = (one.say(2), other.say(2));
        let (first, second) = futures_util::join!(store.append(one), store.append(other));
        let winners = [&first, &second].iter().filter(|result| result.is_ok()).count();
        assert_eq!(winners, 1, "{first:?} {second:?}");
        drop(log.say(2));
    }
    let seqs: Vec<_> = store.read_facts(log.id(), 0, 1000).await.unwrap().iter().map(|stored| stored.seq).collect();
    assert_eq!(seqs, (1..=101).collect::<Vec<_>>());
}

pub(super) async fn an_unsound_append_stores_nothing(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let sound = log.clone().say(2);
    let mut gap = sound.clone();
    gap.facts[1].seq = 4;
    let mut backwards = sound.clone();
    backwards.facts[1].at = Timestamp::from_micros(0);
    let mut before_the_log = sound.clone();
    for stored in &mut before_the_log.facts {
        stored.at = Timestamp::from_micros(999);
    }
    let mut stranger = sound.clone();
    stranger.facts[0].session = SessionId::from_bits(2);
    let mut other_row = sound.clone();
    other_row.summary.seq = 2;
    let mut empty = sound.clone();
    empty.facts.clear();
    let mut undefined = Log::new(3).create();
    undefined.definition = None;
    for (name, append) in [
        ("gap", gap),
        ("backwards", backwards),
        ("before the log", before_the_log),
        ("stranger", stranger),
        ("other row", other_row),
        ("empty", empty),
        ("undefined", undefined),
    ] {
        let refused = store.append(append).await;
        assert!(matches!(refused, Err(AppendError::Invalid(_))), "{name}: {refused:?}");
    }
    assert_eq!(store.head(log.id()).await.unwrap(), Some(1));
    assert_eq!(store.session_ids(None, 10).await.unwrap(), [log.id()]);
    store.append(sound).await.unwrap();
}

pub(super) async fn an_append_to_nothing_is_gone(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    drop(log.create());
    assert!(matches!(store.append(log.say(1)).await, Err(AppendError::Gone)));
}

pub(super) async fn queries_select_and_order(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    for append in [log.create(), log.say(1), log.append([tenure_core::fact::Fact::SessionHeld {}]), log.say(2)] {
        store.append(append).await.unwrap();
    }
    let seqs = async |query: FactQuery| -> Vec<u64> {
        store.query_facts(query).await.unwrap().iter().map(|stored| stored.seq).collect()
    };
    let all = || FactQuery::all(log.id(), 100);
    assert_eq!(seqs(all()).await, [1, 2, 3, 4, 5]);
    assert_eq!(seqs(FactQuery { order: Order::NewestFirst, limit: 2, ..all() }).await, [5, 4]);
    assert_eq!(seqs(FactQuery { after: 1, before: Some(5), ..all() }).await, [2, 3, 4]);
    assert_eq!(seqs(FactQuery { only: Some(vec!["message_said"]), ..all() }).await, [2, 4, 5]);
    assert_eq!(seqs(FactQuery { only: Some(vec![]), ..all() }).await, [0u64; 0]);
    assert_eq!(seqs(FactQuery { except: vec!["session_created", "session_held"], ..all() }).await, [2, 4, 5]);
    let only = Some(vec!["message_said", "session_held"]);
    let query = FactQuery { only, except: vec!["message_said"], order: Order::NewestFirst, ..all() };
    assert_eq!(seqs(query).await, [3]);
    let at = TimeRange {
        gt: Some(Timestamp::from_micros(1_001)),
        lte: Some(Timestamp::from_micros(1_003)),
        ..TimeRange::default()
    };
    assert_eq!(seqs(FactQuery { at, ..all() }).await, [2, 3]);
    assert_eq!(seqs(FactQuery::all(SessionId::from_bits(9), 10)).await, [0u64; 0]);
}

pub(super) async fn everything_is_written_together_or_not_at_all(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    let mut create = log.create();
    create.feed = vec![FeedKind::Created];
    create.answer = Some(answer("create", 0, 100));
    store.append(create).await.unwrap();

    // Another session whose answer's key is taken: neither row nor facts nor feed.
    let mut other = Log::new(2);
    let mut refused = other.create();
    refused.feed = vec![FeedKind::Created];
    refused.answer = Some(answer("create", 50, 100));
    match store.append(refused).await {
        Err(AppendError::KeyTaken(kept)) => assert_eq!(*kept, answer("create", 0, 100)),
        unexpected => panic!("{unexpected:?}"),
    }
    assert_eq!(store.session(None, other.id()).await.unwrap(), None);
    assert_eq!(store.head(other.id()).await.unwrap(), None);

    // One that takes the other's place is kept instead.
    let mut third = Log::new(3);
    let mut replacing = third.create();
    replacing.answer = Some(IdempotencyRecord { replaces: true, ..answer("create", 60, 90) });
    store.append(replacing).await.unwrap();
    let kept = store.answer(TENANT, "create".to_owned(), Timestamp::from_micros(70)).await.unwrap();
    assert_eq!(kept, Some(answer("create", 60, 90)));

    // A conflict: neither row nor feed nor answer.
    let before = log.row.clone();
    let mut behind = log.clone();
    behind.row.seq = 0;
    behind.row.fold = Fold::Working;
    let mut refused = behind.create();
    refused.feed = vec![FeedKind::PhaseChanged { phase: Phase::Working }];
    refused.answer = Some(answer("again", 0, 100));
    assert!(matches!(store.append(refused).await, Err(AppendError::Conflict { .. })));
    assert_eq!(store.session(None, log.id()).await.unwrap().unwrap().summary, before);
    assert_eq!(store.answer(TENANT, "again".to_owned(), Timestamp::from_micros(1)).await.unwrap(), None);

    log.row.fold = Fold::Working;
    let mut working = log.say(2);
    working.feed = vec![FeedKind::PhaseChanged { phase: Phase::Working }];
    store.append(working).await.unwrap();
    let feed = store.feed(TENANT, 0, 10).await.unwrap();
    assert_eq!(
        feed.iter().map(|entry| (entry.session, entry.seq, entry.kind)).collect::<Vec<_>>(),
        [(log.id(), 1, FeedKind::Created), (log.id(), 3, FeedKind::PhaseChanged { phase: Phase::Working }),]
    );
    assert_eq!(feed[1].at, log.row.updated_at);
    assert_eq!(store.feed(TENANT, feed[0].position, 10).await.unwrap(), feed[1..]);
    assert_eq!(store.feed(crate::fixture::OTHER_TENANT, 0, 10).await.unwrap(), []);
}

pub(super) async fn an_answer_is_kept_for_a_request_that_changed_nothing(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let find = async || store.answer(TENANT, "a".to_owned(), Timestamp::from_micros(1)).await.unwrap();
    store.keep_answer(answer("a", 0, 100), Some(log.id())).await.unwrap();
    assert_eq!(find().await, Some(answer("a", 0, 100)));
    match store.keep_answer(answer("a", 50, 150), None).await {
        Err(ResourceError::KeyTaken(kept)) => assert_eq!(*kept, answer("a", 0, 100)),
        unexpected => panic!("{unexpected:?}"),
    }
    assert!(store.delete_session(log.id()).await.unwrap());
    assert_eq!(find().await, None);
    store.keep_answer(answer("a", 0, 100), None).await.unwrap();
    assert_eq!(find().await, Some(answer("a", 0, 100)));
}

pub(super) async fn an_answer_is_kept_until_it_expires(store: Arc<dyn Store>) {
    let now = Timestamp::from_micros;
    let find = async |key: &str, at| store.answer(TENANT, key.to_owned(), now(at)).await.unwrap();
    let mut log = Log::new(1);
    let mut create = log.create();
    create.answer = Some(answer("a", 0, 100));
    store.append(create).await.unwrap();
    assert_eq!(find("a", 99).await, Some(answer("a", 0, 100)));
    assert_eq!(find("a", 100).await, None);
    assert_eq!(find("b", 0).await, None);
    assert_eq!(store.answer(crate::fixture::OTHER_TENANT, "a".to_owned(), now(0)).await.unwrap(), None);

    let mut again = log.say(1);
    again.answer = Some(answer("a", 100, 200));
    store.append(again).await.unwrap();
    assert_eq!(find("a", 150).await, Some(answer("a", 100, 200)));

    store.forget_answer(TENANT, "a".to_owned()).await.unwrap();
    assert_eq!(find("a", 150).await, None);

    for number in 0..3 {
        let mut append = log.say(1);
        append.answer = Some(answer(&format!("n{number}"), 0, 10 + number));
        store.append(append).await.unwrap();
    }
    assert_eq!(store.sweep_answers(now(11), 1).await.unwrap(), 1);
    assert_eq!(store.sweep_answers(now(11), 10).await.unwrap(), 1);
    assert_eq!(store.sweep_answers(now(11), 10).await.unwrap(), 0);
    assert_eq!(find("n2", 0).await, Some(answer("n2", 0, 12)));
}

pub(super) async fn a_state_is_kept_for_a_session_that_exists(store: Arc<dyn Store>) {
    let state = |seq, blob: &[u8]| CachedState { seq, format: 4, blob: blob.to_vec() };
    let mut log = Log::new(1);
    store.save_state(log.id(), state(1, b"early")).await.unwrap();
    assert_eq!(store.load_state(log.id()).await.unwrap(), None);
    store.append(log.create()).await.unwrap();
    assert_eq!(store.load_state(log.id()).await.unwrap(), None);
    for seq in 1..3 {
        store.save_state(log.id(), state(seq, b"state")).await.unwrap();
        assert_eq!(store.load_state(log.id()).await.unwrap(), Some(state(seq, b"state")));
    }
}

pub(super) async fn times_bound_queries(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    for messages in [2, 1, 3] {
        store.append(log.say(messages)).await.unwrap();
        log.row.updated_at = Timestamp::from_micros(log.row.updated_at.as_micros() + 1);
    }
    let all = store.read_facts(log.id(), 0, 100).await.unwrap();
    assert_eq!(all.len(), 7);
    let at = |micros| Some(Timestamp::from_micros(micros));
    for micros in 1_000..1_010 {
        let ranges = [
            TimeRange { gt: at(micros), ..TimeRange::default() },
            TimeRange { gte: at(micros), ..TimeRange::default() },
            TimeRange { lt: at(micros), ..TimeRange::default() },
            TimeRange { lte: at(micros), ..TimeRange::default() },
            TimeRange { gte: at(micros), lt: at(micros + 3), ..TimeRange::default() },
        ];
        for (range, (after, before)) in
            ranges.into_iter().flat_map(|range| [(0, None), (2, Some(6))].map(|b| (range, b)))
        {
            let query = FactQuery { at: range, after, before, ..FactQuery::all(log.id(), 100) };
            let found = store.query_facts(query).await.unwrap();
            let placed = |fact: &&tenure_core::fact::StoredFact| {
                fact.seq > after && before.is_none_or(|before| fact.seq < before)
            };
            let expected: Vec<_> = all.iter().filter(|fact| contains(range, fact.at)).filter(placed).cloned().collect();
            assert_eq!(found, expected, "{range:?} after {after} before {before:?}");
        }
    }
}

fn contains(range: TimeRange, at: Timestamp) -> bool {
    range.gt.is_none_or(|gt| at > gt)
        && range.gte.is_none_or(|gte| at >= gte)
        && range.lt.is_none_or(|lt| at < lt)
        && range.lte.is_none_or(|lte| at <= lte)
}
