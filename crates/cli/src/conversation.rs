//! Talking with a session: what is said to it, what it says, and what it asks.

mod ask;
mod follow;
mod human;
mod lines;
mod machine;
mod question;
mod talk;
mod tool_line;

pub(crate) use talk::{Manner, Talk, converse};
