//! Environments.

use serde::Serialize;
use tenure_core::id::EnvironmentId;
use tenure_core::session::Metadata;

use super::agent::Tagged;
use super::{Id, Nothing, Time};

/// An environment.
#[derive(Debug, Serialize)]
pub(crate) struct Environment<'a> {
    pub(crate) id: Id<EnvironmentId>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) config: Config,
    pub(crate) metadata: &'a Metadata,
    pub(crate) scope: &'static str,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) archived_at: Option<Time>,
}

/// How its sandboxes are made.
#[derive(Debug, Serialize)]
pub(crate) struct Config {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) networking: Tagged,
    pub(crate) packages: Packages,
    /// Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limits: Option<Limits>,
}

/// Packages, none so far.
#[derive(Debug, Serialize)]
pub(crate) struct Packages {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) apt: Nothing,
    pub(crate) cargo: Nothing,
    pub(crate) gem: Nothing,
    pub(crate) go: Nothing,
    pub(crate) npm: Nothing,
    pub(crate) pip: Nothing,
}

/// Limits of a sandbox; those that are null are the operator's defaults.
#[derive(Debug, Serialize)]
pub(crate) struct Limits {
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_millis: Option<u32>,
    pub(crate) pids: Option<u32>,
}
