//! Limits of what sandboxes have on the disk, held by looking: how much room the file system has is looked at often, which
//! costs nothing, and what a sandbox has written is counted when it may have become too much.

mod count;
mod watch;
mod watcher;

pub(crate) use count::Count;
pub(crate) use watch::Found;
pub(crate) use watcher::{Heard, Subject, Watcher};
