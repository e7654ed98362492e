//! What a person sees. Data goes to standard output, talk to standard error; nothing a server sends reaches a terminal
//! with escape sequences in it.

pub(crate) mod out;
pub(crate) mod say;

mod plain;
mod raw;
mod sizes;
mod table;
mod times;

pub(crate) use plain::{Plain, plain};
pub(crate) use raw::{Raw, size};
pub(crate) use sizes::bytes;
pub(crate) use table::Table;
pub(crate) use times::{ago, duration, stamp};
