//! Tenure's own additions on `/v1`. None of them changes what a peer's field or route means; in the route table each is
//! marked as ours. Errors are in the same envelope.

pub(crate) mod clone;
pub(crate) mod ends;
pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod keys;
pub(crate) mod limits;
pub(crate) mod models;
pub(crate) mod point;
pub(crate) mod queue;
pub(crate) mod resolve;
pub(crate) mod rewind;
pub(crate) mod snapshots;
pub(crate) mod tenure;
pub(crate) mod workspace;
