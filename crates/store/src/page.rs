//! Lists that are read page by page, in both directions.

use tenure_core::time::Timestamp;

/// Which end of a list comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the oldest to the newest.
    OldestFirst,
    /// From the newest to the oldest.
    NewestFirst,
}

/// Bounds on a time; absent ones don't bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeRange {
    /// Later than.
    pub gt: Option<Timestamp>,
    /// Not earlier than.
    pub gte: Option<Timestamp>,
    /// Earlier than.
    pub lt: Option<Timestamp>,
    /// Not later than.
    pub lte: Option<Timestamp>,
}

impl TimeRange {
    /// Whether a time is within.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.gt.is_none_or(|bound| at > bound)
            && self.gte.is_none_or(|bound| at >= bound)
            && self.lt.is_none_or(|bound| at < bound)
            && self.lte.is_none_or(|bound| at <= bound)
    }
}

/// A row's place in a list: lists are ordered by creation, rows created at the same time by the bits of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// When the row was created.
    pub created_at: Timestamp,
    /// The bits of its id.
    pub id: u128,
}

/// Where a page begins or ends, in the order of the list. The row at the position itself is left out and need not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The page right after it.
    After(Position),
    /// The page right before it.
    Before(Position),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Its rows, in the order of the list whichever way it was reached.
    pub rows: Vec<T>,
    /// There are rows before: ask for those with [`Start::Before`] this.
    pub prev: Option<Position>,
    /// There are rows after: ask for those with [`Start::After`] this.
    pub next: Option<Position>,
}

/// The page of a list that is in memory.
pub(crate) fn page_of<T>(mut list: Vec<(Position, T)>, order: Order, start: Option<Start>, limit: usize) -> Page<T> {
    match order {
        Order::OldestFirst => list.sort_by_key(|(at, _)| *at),
        Order::NewestFirst => list.sort_by_key(|(at, _)| std::cmp::Reverse(*at)),
    }
    let passed = |at: Position, bound: Position, inclusive: bool| match order {
        Order::OldestFirst => at < bound || (inclusive && at == bound),
        Order::NewestFirst => at > bound || (inclusive && at == bound),
    };
    let total = list.len();
    let (from, to) = match start {
        None => (0, limit.min(total)),
        Some(Start::After(bound)) => {
            let from = list.partition_point(|(at, _)| passed(*at, bound, true));
            (from, from.saturating_add(limit).min(total))
        }
        Some(Start::Before(bound)) => {
            let to = list.partition_point(|(at, _)| passed(*at, bound, false));
            (to.saturating_sub(limit), to)
        }
    };
    let first = list.get(from).map(|(at, _)| *at).filter(|_| from < to && from > 0);
    let last = to.checked_sub(1).and_then(|at| list.get(at)).map(|(at, _)| *at).filter(|_| from < to && to < total);
    let rows = list.into_iter().skip(from).take(to - from).map(|(_, row)| row).collect();
    Page { rows, prev: first, next: last }
}
