//! `docs/facts.md`: every kind of fact, from the code that defines, prints and acts on it.

mod page;
mod source;
mod table;

pub(crate) use page::{PATH, page};
