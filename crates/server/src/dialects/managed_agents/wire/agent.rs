//! Agents.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use tenure_core::agent::{ASK, BUILTIN_TOOLS};
use tenure_core::id::AgentId;
use tenure_core::session::Metadata;

use super::super::ingest::tools::NOT_YET;
use super::{EmptyList, Id, Null, Time};

/// A whole agent.
#[derive(Debug, Serialize, JsonSchema)]
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
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SessionAgent")]
pub(crate) struct AgentCore<'a> {
    pub(crate) id: Id<AgentId>,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "agent"))]
    pub(crate) kind: &'static str,
    pub(crate) version: u32,
    pub(crate) name: &'a str,
    pub(crate) description: Option<&'a str>,
    pub(crate) model: Model<'a>,
    pub(crate) system: Option<&'a str>,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) mcp_servers: EmptyList,
    pub(crate) skills: EmptyList,
    pub(crate) multiagent: Null,
    #[schemars(schema_with = "identity")]
    pub(crate) execution_identity: Identity,
}

/// A model and its settings.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ModelConfig")]
pub(crate) struct Model<'a> {
    pub(crate) id: &'a str,
    /// Null where the model's own default isn't known.
    #[schemars(schema_with = "effort")]
    pub(crate) effort: Option<Tagged>,
    #[schemars(extend("enum" = ["standard", "fast"]))]
    pub(crate) speed: &'static str,
    pub(crate) inference_geo: Option<&'a str>,
    /// Ours: how freely it chooses its words, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    /// Ours: the most tokens of one reply, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u32>,
}

/// An object that is its type alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Tagged {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

impl Tagged {
    /// The schema of such an object whose type is one of these.
    pub(crate) fn schema(types: &[&str]) -> Schema {
        json_schema!({"type": "object", "properties": {"type": {"enum": types}}, "required": ["type"]})
    }
}

fn effort(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [Tagged::schema(EFFORTS), {"type": "null"}]})
}

fn identity(_: &mut SchemaGenerator) -> Schema {
    Tagged::schema(&["service_account"])
}

fn all_or_none(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [Tagged::schema(&["all", "none"]), {"type": "null"}]})
}

fn policy(_: &mut SchemaGenerator) -> Schema {
    Tagged::schema(&["always_allow", "always_ask"])
}

/// What a client's own tool takes: always an object.
fn input_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {"type": {"const": "object"}},
        "required": ["type"],
        "additionalProperties": true,
        "description": "A JSON Schema.",
    })
}

/// The names of tools of the toolset, those included that can only be switched off.
fn builtin_tools() -> Vec<&'static str> {
    BUILTIN_TOOLS.iter().chain(NOT_YET).copied().collect()
}

/// The peer's tools, and ours.
fn configs(generator: &mut SchemaGenerator) -> Schema {
    let mut ask = ToolConfig::json_schema(generator).to_value();
    for name in ["name", "type"] {
        ask["properties"][name] = json!({"const": ASK});
    }
    ask["description"] = "Ours: what holds for the tool that asks a person.".into();
    json_schema!({"type": "array", "items": {"anyOf": [generator.subschema_for::<ToolConfig<'_>>(), ask]}})
}

/// How hard a model may be told to think.
pub(crate) const EFFORTS: &[&str] = &["low", "medium", "high", "xhigh", "max"];

/// On whose behalf an agent runs.
pub(crate) type Identity = Tagged;

/// Whether a person is asked.
pub(crate) type Policy = Tagged;

/// One entry of an agent's tools.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type")]
pub(crate) enum Tool<'a> {
    #[serde(rename = "agent_toolset_20260401")]
    Toolset {
        default_config: ToolDefaults,
        #[schemars(schema_with = "configs")]
        configs: Vec<ToolConfig<'a>>,
    },
    #[serde(rename = "custom")]
    Custom {
        name: &'a str,
        description: &'a str,
        #[schemars(schema_with = "input_schema")]
        input_schema: &'a Value,
    },
}

/// What holds for the tools that aren't named.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolDefaults {
    pub(crate) enabled: bool,
    #[schemars(schema_with = "policy")]
    pub(crate) permission_policy: Policy,
}

/// What holds for one tool.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolConfig<'a> {
    #[schemars(extend("enum" = builtin_tools()))]
    pub(crate) name: &'a str,
    /// The name again.
    #[serde(rename = "type")]
    #[schemars(extend("enum" = builtin_tools()))]
    pub(crate) kind: &'a str,
    pub(crate) enabled: bool,
    #[schemars(schema_with = "policy")]
    pub(crate) permission_policy: Policy,
    /// What only `web_fetch` has.
    #[serde(flatten)]
    pub(crate) web_fetch: Option<WebFetch<'a>>,
}

/// What holds for fetching pages. Null is not set.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WebFetchSettings")]
pub(crate) struct WebFetch<'a> {
    pub(crate) allowed_domains: Option<&'a [String]>,
    pub(crate) blocked_domains: Option<&'a [String]>,
    pub(crate) max_content_tokens: Option<u32>,
    pub(crate) url_sources: Option<UrlSources<'a>>,
}

/// Where in a conversation addresses that are fetched may come from. Null counts whole.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UrlSources<'a> {
    pub(crate) client_tool_results: Option<ToolFilter<'a>>,
    pub(crate) server_tool_results: Option<ToolFilter<'a>>,
    #[schemars(schema_with = "all_or_none")]
    pub(crate) user_input: Option<Tagged>,
}

/// Some of the tools.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToolFilter<'a> {
    All {},
    None {},
    Only { tools: Vec<ToolReference<'a>> },
    Except { tools: Vec<ToolReference<'a>> },
}

/// A tool by its name.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ToolReference<'a> {
    #[serde(rename = "type")]
    #[schemars(extend("const" = "tool_reference"))]
    pub(crate) kind: &'static str,
    pub(crate) name: &'a str,
}
