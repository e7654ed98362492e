//! What runs inside a sandbox: the keeper (PID 1), the executor under the limits, and the tools it forks.
//!
//! After the root is changed nothing of ours is executed or loaded again: the keeper and the executor are copies of the
//! supervisor's memory, so a hostile root filesystem has nothing to replace.

pub(crate) mod build;
pub(crate) mod events;
pub(crate) mod executor;
pub(crate) mod landlock;
pub(crate) mod privileges;
pub(crate) mod probe;
pub(crate) mod process_tree;
pub(crate) mod seccomp;
pub(crate) mod setup;
pub(crate) mod signals;

mod attended;
mod bash;
mod bpf_list;
mod call;
mod keeper;
pub(crate) mod mounts;
mod output;
mod proc;
mod process;
mod quiet;
mod recorder;
mod server_link;
mod shell;
mod shell_state;
mod tool;

pub(crate) use executor::USUAL_OPEN_FILES;
pub use output::kept_head_bytes;
