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

/// A page of what differs between a session's files at two times.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceDiff {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "workspace_diff"))]
    pub(super) kind: &'static str,
    pub(super) from: WorkspaceStage,
    pub(super) to: WorkspaceStage,
    /// Each path at which they differ, in order of names; what is in a directory comes right after it.
    pub(super) data: Vec<WorkspaceDifference>,
    /// The cursor of the next page, which is to be asked for with the same `from` and `to`; null at the end.
    pub(super) next_page: Option<String>,
}

/// A session's files at some time.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceStage {
    /// What it began with, what a snapshot has, or what there is now.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = ["start", "snapshot", "now"]))]
    pub(super) kind: &'static str,
    /// The snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// The snapshot's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The place of the log the snapshot belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<u64>,
}

/// A path at which a session's files differ.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceDifference {
    /// The whole path.
    pub(super) path: String,
    /// As in `WorkspaceEntry`.
    pub(super) escaped: bool,
    /// `modified`: its content or where it leads, and perhaps its permissions. `mode_changed`: only these. `unreadable`: the
    /// sandbox's user may not read it, so it isn't known; nothing is said of what is in such a directory.
    #[schemars(extend("enum" = ["added", "removed", "modified", "type_changed", "mode_changed", "unreadable"]))]
    pub(super) change: &'static str,
    /// What was there; null: nothing.
    pub(super) before: Option<WorkspaceSide>,
    /// What is there; null: nothing.
    pub(super) after: Option<WorkspaceSide>,
    /// Of a file whose content was asked for: whether it is UTF-8 text without zeros on both sides, and of no more than a mebibyte.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["text", "binary", "too_large", "unreadable"]))]
    pub(super) content: Option<&'static str>,
    /// Lines of a text that weren't there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) added_lines: Option<u64>,
    /// Lines of a text that aren't there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) removed_lines: Option<u64>,
    /// The hunks of a unified diff. Not there where they weren't asked for, or are longer than 256 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) patch: Option<String>,
}

/// What has, or had, a name.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct WorkspaceSide {
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
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

pub(super) fn side(entry: Entry) -> WorkspaceSide {
    WorkspaceSide {
        kind: kind(entry.kind),
        size: entry.size,
        mode: format!("{:04o}", entry.mode),
        modified_at: project::time(modified(entry.modified_ns)),
        target: entry.target.map(|target| target.path),
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    }
}

pub(super) fn entry(entry: Entry) -> WorkspaceEntry {
    WorkspaceEntry {
        path: entry.name.path,
        escaped: entry.name.escaped,
        kind: kind(entry.kind),
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
