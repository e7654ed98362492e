//! What a supervisor does in idle moments: layers that nothing needs go, deep stacks are made flatter. All that takes long is
//! done by workers, one at a time.

mod adopt;
mod scan;
mod schedule;
mod task;
mod worker;

pub(crate) use scan::{MOST_LAYERS, needless_layers};
pub(crate) use schedule::Upkeep;
pub(crate) use worker::{WORKER, play};
