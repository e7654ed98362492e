//! What is said of files.

use schemars::JsonSchema;
use serde::Serialize;
use tenure_core::time::Timestamp;
use tenure_engine::files::{Entry, Kind};

use crate::dialects::managed_agents::project;

/// A file, a directory or something else with a name.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceEntry {
    /// Its whole path.
    path: String,
    /// Whether the path isn't UTF-8, and so is written with `\x` and two hex digits for each byte that isn't, and `\\` for a backslash.
    escaped: bool,
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["file", "directory", "symlink", "other"]))]
    kind: &'static str,
    /// The bytes of a file; 0 for anything else.
    size: u64,
    /// The permissions, in octal.
    #[schemars(extend("pattern" = "^[0-7]{4}$"))]
    mode: String,
    /// When its content changed last.
    #[schemars(extend("format" = "date-time"))]
    modified_at: String,
    /// Where a symbolic link leads, as it is written in it (escaped like the path if it isn't UTF-8).
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

/// A page of a directory.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspacePage {
    pub(super) data: Vec<WorkspaceEntry>,
    /// The cursor of the next page; null at the end.
    pub(super) next_page: Option<String>,
}

/// A file that was written.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceWritten {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "workspace_written"))]
    pub(super) kind: &'static str,
    /// Whether it was not there before.
    pub(super) created: bool,
    pub(super) file: WorkspaceEntry,
}

/// Something that was done to files.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceChanged {
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["workspace_removed", "workspace_moved"]))]
    pub(super) kind: &'static str,
    /// The path it has, or had.
    pub(super) path: String,
}

pub(super) fn entry(entry: Entry) -> WorkspaceEntry {
    let kind = match entry.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    };
    WorkspaceEntry {
        path: entry.name.path,
        escaped: entry.name.escaped,
        kind,
        size: entry.size,
        mode: format!("{:04o}", entry.mode),
        modified_at: project::time(modified(entry.modified_ns)),
        target: entry.target.map(|target| target.path),
    }
}

/// A file may say that it is of any time; what is before 1970 is shown as that.
fn modified(nanoseconds: i64) -> Timestamp {
    Timestamp::from_micros(nanoseconds.max(0) / 1_000)
}
