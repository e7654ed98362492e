//! Lists page by page, in either order and either direction.

use std::cmp::Reverse;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::During as _;
use super::append::blob;
use super::facts::integer;
use crate::error::Error;
use crate::page::{Order, Page, Position, Start, TimeRange};

/// A list ordered by its table's columns `created_at` and `id`.
pub(super) struct List {
    /// What is selected from where, without conditions.
    pub(super) select: String,
    /// The table whose columns order the list, with a dot after it, or nothing.
    pub(super) table: &'static str,
    /// When what is listed was created.
    pub(super) created: TimeRange,
    /// Further conditions with question marks.
    pub(super) conditions: String,
    /// What they stand for.
    pub(super) values: Vec<Value>,
}

/// Reads one page of several lists as if they were one; `read` reads a row. Each list is read in the order of its own
/// index, so that a page costs what it holds times their number, however long they are.
pub(super) fn page<T>(
    lists: &[List],
    db: &Connection,
    order: Order,
    start: Option<Start>,
    limit: usize,
    read: impl Fn(&Row<'_>) -> Result<(Position, T), Error>,
) -> Result<Page<T>, Error> {
    let (bound, away, backwards) = match start {
        None => (None, order, false),
        Some(Start::After(bound)) => (Some(bound), order, false),
        Some(Start::Before(bound)) => (Some(bound), reversed(order), true),
    };
    let mut rows = Vec::new();
    for list in lists {
        rows.extend(list.read(db, away, bound, limit.saturating_add(1), &read)?);
    }
    if lists.len() > 1 {
        match away {
            Order::OldestFirst => rows.sort_by_key(|(at, _)| *at),
            Order::NewestFirst => rows.sort_by_key(|(at, _)| Reverse(*at)),
        }
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    // What lies on the other side of the bound needs a look of its own.
    let mut beyond = None;
    if let Some((nearest, _)) = rows.first()
        && bound.is_some()
    {
        for list in lists {
            if list.any(db, reversed(away), *nearest)? {
                beyond = Some(*nearest);
                break;
            }
        }
    }
    let farthest = rows.last().map(|(at, _)| *at).filter(|_| more);
    let mut rows: Vec<T> = rows.into_iter().map(|(_, row)| row).collect();
    let (prev, next) = if backwards { (farthest, beyond) } else { (beyond, farthest) };
    if backwards {
        rows.reverse();
    }
    Ok(Page { rows, prev, next })
}

impl List {
    fn read<T>(
        &self,
        db: &Connection,
        order: Order,
        bound: Option<Position>,
        limit: usize,
        read: impl Fn(&Row<'_>) -> Result<(Position, T), Error>,
    ) -> Result<Vec<(Position, T)>, Error> {
        let operation = "reading a list";
        let (sql, values) = self.sql(order, bound, limit);
        let mut select = db.prepare_cached(&sql).during(operation)?;
        let mut rows = select.query(params_from_iter(values)).during(operation)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().during(operation)? {
            found.push(read(row)?);
        }
        Ok(found)
    }

    /// Whether anything lies that way from a position.
    fn any(&self, db: &Connection, order: Order, bound: Position) -> Result<bool, Error> {
        let (sql, values) = self.sql(order, Some(bound), 1);
        let mut select = db.prepare_cached(&sql).during("reading a list")?;
        select.exists(params_from_iter(values)).during("reading a list")
    }

    fn sql(&self, order: Order, bound: Option<Position>, limit: usize) -> (String, Vec<Value>) {
        let Self { select, table, conditions, .. } = self;
        let mut sql = format!("{select} WHERE {conditions}");
        let mut values = self.values.clone();
        // The position is the nearer bound on its side. SQLite takes either, and with the other passes over everything
        // between the two; a plus keeps it from that.
        let TimeRange { gt, gte, lt, lte } = self.created;
        let (from, to) = (TimeRange { gt, gte, lt: None, lte: None }, TimeRange { gt: None, gte: None, lt, lte });
        for (range, toward) in [(from, Order::OldestFirst), (to, Order::NewestFirst)] {
            let plus = if bound.is_some() && order == toward { "+" } else { "" };
            range_conditions(&format!("{plus}{table}created_at"), range, &mut sql, &mut values);
        }
        let direction = sql_order(order);
        let beyond = match order {
            Order::OldestFirst => '>',
            Order::NewestFirst => '<',
        };
        if let Some(bound) = bound {
            sql.push_str(&format!(" AND ({table}created_at, {table}id) {beyond} (?, ?)"));
            values.push(Value::Integer(bound.created_at.as_micros()));
            values.push(Value::Blob(blob(bound.id).to_vec()));
        }
        sql.push_str(&format!(" ORDER BY {table}created_at {direction}, {table}id {direction} LIMIT ?"));
        values.push(integer(limit as u64));
        (sql, values)
    }
}

/// SQL's word for an order.
pub(super) fn sql_order(order: Order) -> &'static str {
    match order {
        Order::OldestFirst => "ASC",
        Order::NewestFirst => "DESC",
    }
}

/// Adds the conditions of a range of times.
pub(super) fn range_conditions(column: &str, range: TimeRange, conditions: &mut String, values: &mut Vec<Value>) {
    let TimeRange { gt, gte, lt, lte } = range;
    for (comparison, bound) in [(">", gt), (">=", gte), ("<", lt), ("<=", lte)] {
        if let Some(bound) = bound {
            conditions.push_str(&format!(" AND {column} {comparison} ?"));
            values.push(Value::Integer(bound.as_micros()));
        }
    }
}

fn reversed(order: Order) -> Order {
    match order {
        Order::OldestFirst => Order::NewestFirst,
        Order::NewestFirst => Order::OldestFirst,
    }
}
