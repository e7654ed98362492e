//! Ours: commands of a person or a program in a session's sandbox, beside its conversation.
//!
//! A command is no part of the log, and doesn't touch the agent's shell. It is a visit: a stopped session stays stopped, and
//! its sandbox is open while the command runs.

mod order;
mod run;
mod socket;
mod wire;

pub(crate) use run::{describe_run, run};
pub(crate) use socket::{connect, describe_connect};
