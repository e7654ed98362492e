//! The resources a tenant owns besides sessions, as they are stored.

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, Limits};
use crate::id::{EnvironmentId, KeyId, TenantId};
use crate::packages::Packages;
use crate::root::Root;
use crate::session::Metadata;
use crate::time::Timestamp;

/// The tenant that exists from the first start, and that the root keys belong to.
pub const DEFAULT_TENANT: TenantId = TenantId::from_bits(1);

/// An agent at one version, with what isn't part of the version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// Who owns it.
    pub tenant: TenantId,
    /// The definition at this version.
    pub agent: Agent,
    /// A name of lower-case letters, digits and hyphens, unique among the tenant's agents: what a command line takes.
    pub slug: String,
    /// Names and values of the client's.
    #[serde(default)]
    pub metadata: Metadata,
    /// When version 1 was made.
    pub created_at: Timestamp,
    /// When this version was made, or the agent was archived.
    pub updated_at: Timestamp,
    /// When it was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
}

/// An environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentRecord {
    /// Which.
    pub id: EnvironmentId,
    /// Who owns it.
    pub tenant: TenantId,
    /// Its name, unique among the tenant's.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Limits its creator set.
    #[serde(default)]
    pub limits: Limits,
    /// What its creator had the root file systems made from.
    #[serde(default, skip_serializing_if = "Root::is_host")]
    pub root: Root,
    /// What its creator had installed in them.
    #[serde(default, skip_serializing_if = "Packages::is_empty")]
    pub packages: Packages,
    /// Names and values of the client's.
    #[serde(default)]
    pub metadata: Metadata,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
}

/// An API key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public handle.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// A label for people.
    pub name: String,
    /// SHA-256 of the secret, 64 lower-case hex digits. The secret is 256 random bits, so a plain hash is enough.
    pub hash: String,
    /// The first characters of the secret, to tell keys apart.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}
