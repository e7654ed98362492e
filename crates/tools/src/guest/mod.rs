//! The part of the tools that runs inside a sandbox: plain functions over a file system.
//!
//! A tool sends its input as an *op*; the sandbox forks a child that runs [`perform`] and writes the answer to its
//! standard output. The child may not start threads, run programs or load libraries, and it sees nothing but the
//! sandbox's own root.
//!
//! **Which paths.** The file tools may read and write any path the sandbox's user may, not only `/workspace`. The peers
//! confine their file tools because they can run beside a person's own files; here the whole root belongs to the
//! session, `bash` reaches all of it anyway, and isolation is the sandbox's work. A second, weaker wall would only make
//! `read /tmp/build.log` fail where `cat` succeeds.
//!
//! **Hostile files.** Whatever is in the sandbox may have been made to harm its reader: only regular files are opened,
//! and never in a way that can block; sizes, walks and outputs are capped; walks follow no symbolic links. What slips
//! through meets the sandbox's limits of time and memory, in a process of its own.
//!
//! Invariant: nothing here reads the clock for anything but giving up in time, and nothing trusts what a file says of
//! itself.

mod answer;
mod file;
mod files;
mod ignored;
mod keep;
mod walk;
mod workspace;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub(crate) use answer::{Answer, Body};
pub use files::{perform_files, unpack_here};

pub(crate) use file::{Content, Unopened, create, open_regular, read_whole, replace};
pub(crate) use keep::{KEEP_OUTPUT, OUTPUTS};
pub(crate) use walk::{Stopped, Walk};
pub(crate) use workspace::{Workspace, reason};

use crate::builtin::FILE_TOOLS;
use crate::input::Input;

/// Where relative paths start, and where a session's own files live.
pub const WORKSPACE: &str = "/workspace";

/// Runs the op `name` with `workspace` in the place of [`WORKSPACE`], and gives its exit code: 0, or 1 when the answer
/// is an error for the model, or 70 when the op itself is at fault.
///
/// The sandbox always passes [`WORKSPACE`]; another directory is for tests.
pub fn perform(name: &str, workspace: &Path, input: &[u8], out: &mut dyn Write) -> i32 {
    // A panic must not unwind into the sandbox's forking process.
    let answer = catch_unwind(AssertUnwindSafe(|| answer_to(name, workspace, input)));
    let answer = answer.unwrap_or_else(|_| Answer::Broken(format!("the op `{name}` panicked")));
    answer.write(out)
}

fn answer_to(name: &str, workspace: &Path, input: &[u8]) -> Answer {
    if name == KEEP_OUTPUT {
        return keep::keep(workspace, input);
    }
    let Some(tool) = FILE_TOOLS.iter().find(|tool| tool.name == name) else {
        return Answer::Broken(format!("no op is named `{name}`"));
    };
    let order: Order = match serde_json::from_slice(input) {
        Ok(order) => order,
        Err(error) => return Answer::Broken(format!("the order for `{name}` isn't one: {error}")),
    };
    let place = Workspace::new(workspace, &order);
    match Input::check(name, tool.fields, order.input).and_then(|input| (tool.guest)(&place, &input)) {
        Ok(body) => Answer::Done(body),
        Err(message) => Answer::Refused(message),
    }
}

/// What a tool sends into the sandbox.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Order {
    /// The tool's input.
    pub(crate) input: serde_json::Value,
    /// When to stop looking and give what was found.
    pub(crate) give_up_after_ms: u64,
    /// How much text may come back.
    pub(crate) output_cap_bytes: usize,
}
