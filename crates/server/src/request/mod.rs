//! Reading a request: its body, its query, its page cursor, its idempotency key.

mod asked;
mod body;
mod cursor;
mod fields;
mod query;
mod streamed;

pub(crate) mod idempotency;

pub(crate) use asked::{Asked, Caller, answer, answer_to, name_ignored};
pub(crate) use body::BodyLimit;
pub(crate) use cursor::{Cursor, EventCursor, ListCursor};
pub(crate) use fields::{Fields, Given, Ignored, describe};
pub(crate) use idempotency::{Repeats, Unmarked};
pub(crate) use query::Query;
pub(crate) use streamed::Streamed;
