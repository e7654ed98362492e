//! The tools a model can call.
//!
//! The port is [`Tool`]; [`registry`] lists the built-in ones. `bash` is a line for the sandbox's persistent shell; the
//! others are functions of this binary that the sandbox runs inside ([`guest_ops`]). [`ask`] runs nowhere.
//!
//! Invariant: a tool sees a workspace handle, a cancellation token, an output sink and limits; never a session, a store
//! or HTTP.
#![warn(missing_docs)]

mod tool;

mod registry;

mod builtin;
mod call;
mod input;
mod spill;
mod terminal;
mod web_fetch;

pub mod files;
pub mod guest;

pub use builtin::ask;
pub use web_fetch::{FetchLimits, Lookup, Opened, SystemLookup, WebFetch, WebFetchConfig};

pub use registry::{guest_ops, registry};
pub use tool::{HostedCtx, HostedTool, Tool, ToolContent, ToolCtx, ToolError, ToolLimits, ToolResult};
