//! `manifest.json`: what a backup says of itself.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of a backup's form. It grows when an older `tenure restore` could not put a backup back any more.
///
/// Version 2 added sealed layers.
pub(super) const FORMAT: u32 = 2;

/// Its name in a backup.
pub(super) const NAME: &str = "manifest.json";

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The version of the backup's form.
    pub(crate) format: u32,
    /// The version of Tenure that made it.
    pub(crate) tenure: String,
    /// When it was begun.
    pub(crate) made_at: Timestamp,
    /// The generation of the data in it.
    pub(crate) generation: u64,
    /// The version of the database's tables.
    pub(crate) schema: u32,
    /// How many sessions.
    pub(crate) sessions: u64,
    /// How many facts.
    pub(crate) facts: u64,
    /// How many blobs.
    pub(crate) blobs: u64,
    /// How many sessions have files.
    pub(crate) sessions_with_files: u64,
    /// How many sealed layers the files of sessions and their snapshots need; each is there once.
    #[serde(default)]
    pub(crate) layers: u64,
    /// How many files of sessions changed while they were read: in the backup they are as they were at one moment or the
    /// other, or in between.
    pub(crate) changed_files: u64,
    /// How many files the list has, the manifest among them.
    pub(crate) files: u64,
    /// Their bytes, without the manifest's.
    pub(crate) bytes: u64,
    /// Whether the key that seals secrets is in it. Without, it must be given to the server that is restored.
    pub(crate) master_key: bool,
    /// Blobs that were missing or damaged when it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing_blobs: Vec<String>,
    /// How many other things were damaged when it was made.
    #[serde(default)]
    pub(crate) damaged: u64,
}
