//! The engine: it owns every awake session, carries out what they want done, and gives front doors their handles.
//!
//! Invariant: it knows no HTTP. Every decision is `tenure_core`'s; what happens here is dull.
#![warn(missing_docs)]

mod engine;

mod agents;
mod environments;
mod keys;
mod metadata;
mod providers;
mod sessions;

mod view;

mod backoff;
mod clock;
mod cursor;
mod error;
mod failpoint;

mod definitions;
mod directory;
mod owner;

mod check;
mod forking;
mod housekeeping;
mod limits;
mod line;
mod live;
mod places;
mod recovery;
mod sandboxes;
mod timers;
mod traced;
mod visits;

mod counted;

pub use agents::{AgentChange, Agents, ModelChange, NewAgent};
pub use check::Replayer;
pub use clock::Clock;
pub use cursor::Cursor;
pub use engine::{Config, Engine, Parts, Room, Stats};
pub use environments::{EnvironmentChange, Environments, NewEnvironment};
pub use error::Error;
pub use keys::Keys;
pub use live::{Live, Preview, PreviewPart};
pub use metadata::merged;
pub use providers::{Provider, Providers};
pub use sessions::{
    AgentChoice, Comparison, EventPage, EventPosition, EventQuery, NewClone, NewFork, NewSession, Overrides, Point,
    SessionFilter, Sessions, Stage, StreamFrom, Wanted,
};
pub use tenure_models::{ListPrice, ModelEntry, ModelInfo, ModelTable, Models};
pub use tenure_sandbox::Error as SandboxError;
pub use tenure_sandbox::{Applied, Usage};
pub use tenure_sandbox::{Control, Exit, Launch, Output as Printed, Process, TerminalSize, Work};
pub use tenure_store::{IdempotencyRecord, Order, Page, Position, ResourceQuery, Start, TimeRange};
pub use tenure_tools::files;
pub use view::{Done, KeyOrigin, Keyed, Render, SessionView};
pub use visits::Visit;
