//! Environments.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use tenure_core::id::EnvironmentId;
use tenure_core::session::Metadata;

use super::agent::Tagged;
use super::{EmptyList, Id, Time};

/// An environment.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Environment<'a> {
    pub(crate) id: Id<EnvironmentId>,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "environment"))]
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) config: Config<'a>,
    pub(crate) metadata: &'a Metadata,
    #[schemars(extend("const" = "organization"))]
    pub(crate) scope: &'static str,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) archived_at: Option<Time>,
}

fn networking(_: &mut SchemaGenerator) -> Schema {
    Tagged::schema(&["unrestricted"])
}

/// How its sandboxes are made.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EnvironmentConfig")]
pub(crate) struct Config<'a> {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "cloud"))]
    pub(crate) kind: &'static str,
    #[schemars(schema_with = "networking")]
    pub(crate) networking: Tagged,
    pub(crate) packages: Packages<'a>,
    /// Ours: what its sandboxes may use, where that isn't the operator's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
    /// Ours: what the root file systems of its sandboxes are made from, where that isn't the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Root<'a>>,
}

/// What a root file system is made from.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(rename = "EnvironmentRoot")]
pub(crate) enum Root<'a> {
    /// A directory of the host that holds a whole system.
    Directory { path: &'a str },
    /// An image of a registry, with all that may be left out of its name.
    Image { reference: String },
    /// An image in the OCI image layout on the host.
    Archive { path: &'a str },
}

/// What is installed, as it was given.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Packages<'a> {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "packages"))]
    pub(crate) kind: &'static str,
    pub(crate) apt: &'a [String],
    pub(crate) cargo: EmptyList,
    pub(crate) gem: &'a [String],
    pub(crate) go: EmptyList,
    pub(crate) npm: &'a [String],
    pub(crate) pip: &'a [String],
}

/// Limits of a sandbox; those that are null are the operator's defaults.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Limits {
    /// Memory of all processes and of files in memory.
    pub(crate) memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    pub(crate) cpu_millis: Option<u32>,
    /// Processes and threads.
    pub(crate) pids: Option<u32>,
    /// Bytes on the disk of what the session writes.
    pub(crate) disk_bytes: Option<u64>,
    /// Files and directories on the disk.
    pub(crate) inodes: Option<u64>,
    /// Files that one process has open.
    pub(crate) open_files: Option<u32>,
    /// The longest a call may take.
    pub(crate) call_ms: Option<u64>,
    /// How much of what a command prints is kept.
    pub(crate) output_bytes: Option<u64>,
}
