//! What happened, page by page: one row per item, at the fact that processed it, queued input at the end.

use tenure_core::fact::StoredFact;
use tenure_core::past::skipped;
use tenure_core::summary::Summary;
use tenure_store::{FactQuery, Order, Store, TimeRange};

use crate::error::Error;

/// Which facts to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Only these kinds.
    pub kinds: Option<Vec<&'static str>>,
    /// Only those that happened then. Queued input hasn't happened: any bound leaves it out.
    pub at: TimeRange,
    /// Which end comes first.
    pub order: Order,
    /// Where the page begins; `None` at the first end.
    pub start: Option<EventPosition>,
    /// Whether what a rewind went back on is listed too.
    pub rewound: bool,
    /// The most rows, at least 1.
    pub limit: usize,
}

/// A place in the list of events: the page after it begins right behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventPosition {
    /// At this fact of the log; going backwards, 0 is no place.
    Log(u64),
    /// At the queued input whose fact is this.
    Queue(u64),
}

/// A page of events.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The facts, in the order asked for.
    pub facts: Vec<StoredFact>,
    /// Where the next page begins, if there is one.
    pub next: Option<EventPosition>,
}

/// The kind that is listed apart.
const QUEUED: &str = "input_queued";

pub(super) async fn page(store: &dyn Store, summary: &Summary, query: EventQuery) -> Result<EventPage, Error> {
    let mut left = query.limit.max(1) + 1;
    let mut facts: Vec<(EventPosition, StoredFact)> = Vec::new();
    let sections = match query.order {
        Order::OldestFirst => [Section::Log, Section::Queue],
        Order::NewestFirst => [Section::Queue, Section::Log],
    };
    for section in sections {
        let Some(from) = section.begin(&query) else { continue };
        let more = match section {
            Section::Log => log(store, summary, &query, from, left).await?,
            Section::Queue => queue(store, summary, &query, from, left).await?,
        };
        left -= more.len();
        facts.extend(more);
        if left == 0 {
            break;
        }
    }
    let more_follow = left == 0;
    if more_follow {
        facts.pop();
    }
    let next = facts.last().map(|(position, _)| *position).filter(|_| more_follow);
    Ok(EventPage { facts: facts.into_iter().map(|(_, stored)| stored).collect(), next })
}

#[derive(Debug, Clone, Copy)]
enum Section {
    Log,
    Queue,
}

impl Section {
    /// Where this section's part of the page begins: `Some(None)` at its own beginning, `None` if the page is past it.
    #[expect(clippy::option_option, reason = "no part at all, and a part from the beginning, are different answers")]
    fn begin(self, query: &EventQuery) -> Option<Option<u64>> {
        match (self, query.start, query.order) {
            (_, None, _) => Some(None),
            (Self::Log, Some(EventPosition::Log(seq)), _) | (Self::Queue, Some(EventPosition::Queue(seq)), _) => {
                Some(Some(seq))
            }
            (Self::Queue, Some(EventPosition::Log(_)), Order::OldestFirst)
            | (Self::Log, Some(EventPosition::Queue(_)), Order::NewestFirst) => Some(None),
            (Self::Queue, Some(EventPosition::Log(_)), Order::NewestFirst)
            | (Self::Log, Some(EventPosition::Queue(_)), Order::OldestFirst) => None,
        }
    }
}

async fn log(
    store: &dyn Store,
    summary: &Summary,
    query: &EventQuery,
    from: Option<u64>,
    limit: usize,
) -> Result<Vec<(EventPosition, StoredFact)>, Error> {
    let (after, before) = match query.order {
        Order::OldestFirst => (from.unwrap_or(0), None),
        Order::NewestFirst => (0, from),
    };
    let facts = store
        .query_facts(FactQuery {
            session: summary.session,
            after,
            before,
            only: query.kinds.clone(),
            except: vec![QUEUED],
            skip: if query.rewound { Vec::new() } else { skipped(&summary.rewinds, summary.seq) },
            at: query.at,
            order: query.order,
            limit,
        })
        .await?;
    Ok(facts.into_iter().map(|stored| (EventPosition::Log(stored.seq), stored)).collect())
}

async fn queue(
    store: &dyn Store,
    summary: &Summary,
    query: &EventQuery,
    from: Option<u64>,
    limit: usize,
) -> Result<Vec<(EventPosition, StoredFact)>, Error> {
    let wanted = query.kinds.as_ref().is_none_or(|kinds| kinds.contains(&QUEUED)) && query.at == TimeRange::default();
    if !wanted {
        return Ok(Vec::new());
    }
    let mut seqs: Vec<u64> = summary.queued.clone();
    match query.order {
        Order::OldestFirst => seqs.retain(|seq| from.is_none_or(|from| *seq > from)),
        Order::NewestFirst => {
            seqs.reverse();
            seqs.retain(|seq| from.is_none_or(|from| *seq < from));
        }
    }
    seqs.truncate(limit);
    let mut facts = store.read_facts_at(summary.session, seqs).await?;
    if query.order == Order::NewestFirst {
        facts.reverse();
    }
    Ok(facts.into_iter().map(|stored| (EventPosition::Queue(stored.seq), stored)).collect())
}
