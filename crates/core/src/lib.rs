//! What a session is and does, as pure functions: no IO, no async, no clock, no randomness.
#![warn(missing_docs)]

pub mod agent;
pub mod content;
pub mod fact;
pub mod id;
pub mod model;
pub mod phase;
pub mod resource;
pub mod session;
pub mod summary;
pub mod time;
