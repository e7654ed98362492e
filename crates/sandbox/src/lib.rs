//! Where a session's tools run: isolated processes with their own files, limits and record of calls.
//!
//! The port is [`Backend`] and [`Sandbox`]; [`Native`] implements it with nothing but this binary and the kernel. Three
//! processes of the same executable work together (see [`dispatch()`]): a *supervisor* that outlives the server, and in
//! each sandbox a *keeper*, which is PID 1 and writes the [call journal](journal), and an *executor*, which forks the
//! tools.
//!
//! Invariant: it knows no session log, no HTTP and no model.
#![warn(missing_docs)]

mod error;
mod image;
mod machine;
mod order;
mod pipes;
mod port;
mod process;
mod progress;
mod removal;
mod report;
mod spec;

mod failpoint;
mod fences;

pub mod dispatch;
pub mod journal;
mod wire;

mod guest;
mod supervisor;
mod told;

pub mod native;

pub use dispatch::{Op, dispatch};
pub use error::Error;
pub use guest::kept_head_bytes;
pub use image::{Fetched, Image, ImageLayer, Images, Packing};
pub use native::{Native, NativeConfig};
pub use order::{CallEnd, Exit, Limit, Order, Reached, Work};
pub use port::{Backend, BoxFuture, LostReason, Opened, Sandbox, Taken};
pub use process::{Control, Launch, Output, Process, ProcessSide, TerminalSize};
pub use progress::Progress;
pub use report::{Check, Leftover, Outcome, Report};
pub use spec::{Applied, Limits, Network, Spec, Usage};

/// The most sandboxes of one directory that there can be at once.
pub const MOST_SANDBOXES: usize = 4_095;
