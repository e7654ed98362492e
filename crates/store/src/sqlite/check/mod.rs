//! Checking a store, without changing it.

mod blobs;
mod references;
mod repair;
mod resources;
mod sessions;
mod whole;

pub use repair::repair;
pub use whole::{CheckOptions, check};
