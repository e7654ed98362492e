//! Where sessions and resources are kept: one port, [`Store`], and its implementations.
//!
//! [`memory::MemoryStore`] keeps everything in memory and is the readable definition of the port;
//! [`sqlite::SqliteStore`] is what a server runs on. One conformance suite (`tests/it`) defines the behaviour of both.
//!
//! Invariant: it takes no decisions. It knows neither what a fact means for a session nor any front door; SQL is written
//! nowhere else.
#![warn(missing_docs)]

mod append;
mod blobs;
mod check;
mod error;
mod facts;
mod failpoint;
mod feed;
mod fork;
pub mod formats;
mod idempotency;
pub mod memory;
mod page;
mod resources;
mod seal;
mod sessions;
mod settings;
pub mod sqlite;
mod tails;

use std::fmt;

pub use append::{Append, AppendError};
pub use blobs::{Blobs, Hashing};
pub use check::{Checked, Disagreement, Finding, Part, Replay};
pub use error::Error;
pub use facts::{CachedState, FactQuery, FactStore, Tail};
pub use feed::{FeedEntry, FeedKind};
pub use fork::Fork;
pub use idempotency::{IdempotencyRecord, NewAnswer};
pub use page::{Order, Page, Position, Start, TimeRange};
pub use resources::{ResourceError, ResourceQuery, Resources};
pub use seal::{InvalidMasterKey, MasterKey};
pub use sessions::{SessionQuery, SessionRow, SessionRows};
pub use settings::Settings;

/// Everything a server stores. Held as `Arc<dyn Store>`.
pub trait Store: FactStore + SessionRows + Resources + Blobs + Settings + Send + Sync + fmt::Debug {}

impl<S: FactStore + SessionRows + Resources + Blobs + Settings + Send + Sync + fmt::Debug> Store for S {}
