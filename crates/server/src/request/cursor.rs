//! Page cursors: opaque to clients, and carrying the order they belong to.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tenure_core::time::Timestamp;
use tenure_engine::{Order, Position, Start, TimeRange};

use crate::problem::Problem;

/// A place in some list that a `page_…` text names.
pub(crate) trait Cursor: Sized {
    fn order(&self) -> Order;
    fn write(&self) -> String;
    fn read(text: &str) -> Option<Self>;

    /// The text for a client.
    fn print(&self) -> String {
        format!("page_{}", URL_SAFE_NO_PAD.encode(self.write()))
    }

    /// Reads the parameter `page` of a list in this order.
    fn parse(given: &str, order: Order) -> Result<Self, Problem> {
        let decoded = given.strip_prefix("page_").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let cursor = decoded.and_then(|bytes| Self::read(std::str::from_utf8(&bytes).ok()?));
        let cursor = cursor.ok_or_else(|| {
            Problem::invalid("page", "expected a cursor that an earlier page of this list gave; begin without one")
        })?;
        if cursor.order() != order {
            return Err(Problem::invalid(
                "page",
                format!("this cursor is of a list in the other order; send `order={}`", word(cursor.order())),
            ));
        }
        Ok(cursor)
    }
}

/// A place in a list of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListCursor {
    pub(crate) order: Order,
    /// Tells what else the list was filtered by, if its pages hang together only with the same filter; else 0.
    pub(crate) bound_to: u32,
    pub(crate) start: Start,
}

impl ListCursor {
    /// A cursor outside the time range that is asked for leads nowhere, which would look like the list's end.
    pub(crate) fn within(self, range: &TimeRange, field: &str) -> Result<Self, Problem> {
        let (Start::After(position) | Start::Before(position)) = self.start;
        if range.contains(position.created_at) {
            return Ok(self);
        }
        Err(Problem::invalid("page", format!("this cursor lies outside of `{field}`; begin without one")))
    }
}

impl Cursor for ListCursor {
    fn order(&self) -> Order {
        self.order
    }

    fn write(&self) -> String {
        let (way, Position { created_at, id }) = match self.start {
            Start::After(position) => ("after", position),
            Start::Before(position) => ("before", position),
        };
        let bound_to = if self.bound_to == 0 { String::new() } else { format!(" {:x}", self.bound_to) };
        format!("list {} {way} {} {id:x}{bound_to}", word(self.order), created_at.as_micros())
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ').skip_while(|word| *word == "list");
        let order = read_order(words.next()?)?;
        let way = words.next()?;
        let created_at = Timestamp::from_micros(words.next()?.parse().ok()?);
        let position = Position { created_at, id: u128::from_str_radix(words.next()?, 16).ok()? };
        let bound_to = words.next().map_or(Ok(0), |word| u32::from_str_radix(word, 16)).ok()?;
        let start = match way {
            "after" => Start::After(position),
            "before" => Start::Before(position),
            _ => return None,
        };
        (text.starts_with("list ") && words.next().is_none()).then_some(Self { order, bound_to, start })
    }
}

/// A place in a session's events, or in an agent's versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventCursor {
    pub(crate) order: Order,
    /// Whether the place is among those that are queued.
    pub(crate) queued: bool,
    pub(crate) after: u64,
}

impl Cursor for EventCursor {
    fn order(&self) -> Order {
        self.order
    }

    fn write(&self) -> String {
        let part = if self.queued { "queued" } else { "log" };
        format!("place {} {part} {}", word(self.order), self.after)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix("place ")?.split(' ');
        let order = read_order(words.next()?)?;
        let queued = match words.next()? {
            "queued" => true,
            "log" => false,
            _ => return None,
        };
        let after = words.next()?.parse().ok()?;
        words.next().is_none().then_some(Self { order, queued, after })
    }
}

/// The word for an order, as the parameter `order` has it.
pub(crate) fn word(order: Order) -> &'static str {
    match order {
        Order::OldestFirst => "asc",
        Order::NewestFirst => "desc",
    }
}

fn read_order(word: &str) -> Option<Order> {
    match word {
        "asc" => Some(Order::OldestFirst),
        "desc" => Some(Order::NewestFirst),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::time::Timestamp;
    use tenure_engine::{Order, Position, Start};

    use super::{Cursor as _, EventCursor, ListCursor};

    #[test]
    fn cursors_read_back_in_their_order_only() {
        let position = Position { created_at: Timestamp::from_micros(-7), id: u128::MAX };
        for start in [Start::After(position), Start::Before(position)] {
            for bound_to in [0, 7, u32::MAX] {
                let cursor = ListCursor { order: Order::NewestFirst, bound_to, start };
                assert_eq!(ListCursor::parse(&cursor.print(), Order::NewestFirst), Ok(cursor));
            }
            let cursor = ListCursor { order: Order::NewestFirst, bound_to: 0, start };
            assert_eq!(ListCursor::parse(&cursor.print(), Order::NewestFirst), Ok(cursor));
            assert!(ListCursor::parse(&cursor.print(), Order::OldestFirst).is_err());
            assert!(EventCursor::parse(&cursor.print(), Order::NewestFirst).is_err());
        }
        let cursor = EventCursor { order: Order::OldestFirst, queued: true, after: 12 };
        assert_eq!(EventCursor::parse(&cursor.print(), Order::OldestFirst), Ok(cursor));
        for garbage in ["", "page", "page_", "page_!", "sevt_1", "page_bGlzdA"] {
            assert!(ListCursor::parse(garbage, Order::OldestFirst).is_err(), "{garbage}");
        }
    }
}
