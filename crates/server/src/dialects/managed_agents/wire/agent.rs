//! Agents.

use serde::Serialize;
use serde_json::Value;
use tenure_core::id::AgentId;
use tenure_core::session::Metadata;

use super::{Id, Nothing, Time};

/// A whole agent.
#[derive(Debug, Serialize)]
pub(crate) struct Agent<'a> {
    #[serde(flatten)]
    pub(crate) core: AgentCore<'a>,
    pub(crate) metadata: &'a Metadata,
    pub(crate) created_at: Time,
    pub(crate) updated_at: Time,
    pub(crate) archived_at: Option<Time>,
    /// Ours: the short name that the command line takes.
    pub(crate) slug: &'a str,
}

/// What a session shows of its agent.
#[derive(Debug, Serialize)]
pub(crate) struct AgentCore<'a> {
    pub(crate) id: Id<AgentId>,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    pub(crate) name: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) model: Model<'a>,
    pub(crate) system: Option<&'a str>,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) mcp_servers: Nothing,
    pub(crate) skills: Nothing,
    pub(crate) multiagent: Nothing,
    pub(crate) execution_identity: Identity,
}

/// A model and its settings.
#[derive(Debug, Serialize)]
pub(crate) struct Model<'a> {
    pub(crate) id: &'a str,
    pub(crate) effort: Option<Tagged>,
    pub(crate) speed: &'static str,
    pub(crate) inference_geo: Option<&'a str>,
    /// Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// Ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
}

/// An object that is its type alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Tagged {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

/// On whose behalf an agent runs.
pub(crate) type Identity = Tagged;

/// Whether a person is asked.
pub(crate) type Policy = Tagged;

/// One entry of an agent's tools.
#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Tool<'a> {
    #[serde(rename = "agent_toolset_20260401")]
    Toolset { default_config: ToolDefaults, configs: Vec<ToolConfig<'a>> },
    #[serde(rename = "custom")]
    Custom { name: &'a str, description: &'a str, input_schema: &'a Value },
}

/// What holds for the tools that aren't named.
#[derive(Debug, Serialize)]
pub(crate) struct ToolDefaults {
    pub(crate) enabled: bool,
    pub(crate) permission_policy: Policy,
}

/// What holds for one tool.
#[derive(Debug, Serialize)]
pub(crate) struct ToolConfig<'a> {
    pub(crate) name: &'a str,
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    pub(crate) enabled: bool,
    pub(crate) permission_policy: Policy,
}
