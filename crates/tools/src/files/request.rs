//! What is asked of the op, and what it says.

use serde::{Deserialize, Serialize};

use super::{Detail, Name};

/// One thing to do. A body, where there is one, comes in pieces ([`super::frame`]) on standard input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Request {
    /// A page of a directory, in order of names; the entries follow, a line each.
    List { at: Name, recursive: bool, after: Option<Name>, limit: usize },
    /// A file, or a part of it; the bytes follow.
    Read { at: Name, span: Option<Span> },
    /// Makes a file hold what comes as the body, at once.
    Write { at: Name, parents: bool, mode: Option<u32> },
    /// Removes a file or directory.
    Remove { at: Name, recursive: bool },
    /// A directory as an archive; the bytes follow.
    Pack { at: Name, format: Format },
    /// Unpacks the archive that comes as the body into a directory.
    Unpack { at: Name, parents: bool },
    /// Answers what another op asks about a tree, line by line on standard input, to compare it with its own.
    Offer { at: Name },
    /// What differs from what another op offers; the differences follow, a line each, among questions to that one.
    Compare { at: Name, after: Option<Name>, limit: usize, detail: Detail },
    /// Gives a file or directory another name.
    Move { from: Name, to: Name, replace: bool, parents: bool },
}

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As it is.
    Tar,
    /// Packed with gzip.
    Gzip,
    /// Packed with zstd.
    Zstd,
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// From the first of these bytes to the second, both included, or to the end.
    From(u64, Option<u64>),
    /// So many bytes of the end.
    Last(u64),
}

/// What the op says first, on a line.
pub(crate) type Outcome = Result<Told, Refused>;

/// What it did, or is about to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    /// Entries follow.
    Entries,
    /// So many bytes follow.
    File(Slice),
    /// It was written; whether it is new.
    Written { created: bool, entry: Entry },
    /// It is so.
    Done,
}

/// The end of a list of entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// The list ends here; whether there is more to ask for.
    End { more: bool },
    /// One of them.
    Entry(Entry),
}

/// A file that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The file.
    pub entry: Entry,
    /// Changes whenever its content may have changed.
    pub tag: String,
    /// Where the part begins.
    pub start: u64,
    /// How long it is.
    pub length: u64,
}

/// A file, a directory or something else with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path.
    #[serde(flatten)]
    pub name: Name,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// How many bytes a file has; 0 for everything else.
    pub size: u64,
    /// The permission bits.
    pub mode: u32,
    /// When its content changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Name>,
}

/// What something with a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// It couldn't be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// By what one can do about it.
    pub why: Why,
    /// For a person.
    pub message: String,
}

/// What one can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Name something that is there.
    NotFound,
    /// Ask for something else.
    Invalid,
    /// Something is in the way: another kind of thing, or one that is there already.
    Conflict,
    /// The sandbox's user may not.
    Denied,
    /// Make room first.
    NoSpace,
    /// Ask for a part that is there.
    NoSuchPart,
}
