//! What a session is and does, as pure functions: no IO, no async, no clock, no randomness.
#![warn(missing_docs)]

pub mod agent;
pub mod amount;
pub mod command;
mod compaction;
pub mod content;
pub mod context;
pub mod decide;
pub mod effect;
mod evolve;
pub mod fact;
pub mod files;
pub mod fork;
pub mod id;
pub mod lifetime;
pub mod model;
pub mod packages;
pub mod past;
pub mod phase;
pub mod price;
pub mod question;
pub mod resource;
pub mod root;
pub mod session;
pub mod shown_urls;
pub mod state;
pub mod summary;
pub mod time;
mod tokens;
pub mod transcript;
