//! Agents.

use tenure_core::agent::{Agent, Permission, ToolConfig, ToolFilter, ToolPolicy, WebFetchSettings};
use tenure_core::model::{Effort, ModelConfig, Speed};
use tenure_core::resource::AgentRecord;

use super::super::wire::{self, EmptyList, Id, Null, Tagged, Time};

/// A whole agent.
pub(crate) fn agent(record: &AgentRecord) -> wire::Agent<'_> {
    wire::Agent {
        core: agent_core(&record.agent, &record.agent.tools),
        metadata: &record.metadata,
        created_at: Time(record.created_at),
        updated_at: Time(record.updated_at),
        archived_at: record.archived_at.map(Time),
        slug: &record.slug,
    }
}

/// An agent as a session shows it, with these tools.
pub(crate) fn agent_core<'a>(agent: &'a Agent, tools: &'a [ToolConfig]) -> wire::AgentCore<'a> {
    wire::AgentCore {
        id: Id(agent.id),
        kind: "agent",
        version: agent.version,
        name: &agent.name,
        description: agent.description.as_deref(),
        model: model(&agent.model),
        system: agent.system.as_deref(),
        tools: tools.iter().map(tool).collect(),
        mcp_servers: EmptyList,
        skills: EmptyList,
        multiagent: Null,
        execution_identity: Tagged { kind: "service_account" },
    }
}

fn model(config: &ModelConfig) -> wire::Model<'_> {
    // What the peer calls "resolved to the per-model default". Of other models the default isn't known, so null is true.
    let own_default = config.id.starts_with("claude-").then_some("high");
    let effort = config.effort.map(|effort| match effort {
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Xhigh => "xhigh",
        Effort::Max => "max",
    });
    wire::Model {
        id: &config.id,
        effort: effort.or(own_default).map(|kind| Tagged { kind }),
        speed: match config.speed {
            Speed::Standard => "standard",
            Speed::Fast => "fast",
        },
        inference_geo: config.inference_geo.as_deref(),
        temperature: config.temperature,
        max_tokens: config.max_tokens,
    }
}

fn tool(tool: &ToolConfig) -> wire::Tool<'_> {
    match tool {
        ToolConfig::Builtin { default, configs } => wire::Tool::Toolset {
            default_config: wire::ToolDefaults { enabled: default.enabled, permission_policy: policy(*default) },
            configs: configs
                .iter()
                .map(|config| wire::ToolConfig {
                    name: &config.name,
                    kind: &config.name,
                    enabled: config.policy.enabled,
                    permission_policy: policy(config.policy),
                    web_fetch: (config.name == "web_fetch").then(|| web_fetch(config.web_fetch.as_ref())),
                })
                .collect(),
        },
        ToolConfig::Custom { name, description, input_schema } => {
            wire::Tool::Custom { name, description, input_schema }
        }
    }
}

/// Everything is shown, what isn't set as null.
fn web_fetch(settings: Option<&WebFetchSettings>) -> wire::WebFetch<'_> {
    let sources = settings.and_then(|settings| settings.url_sources.as_ref());
    wire::WebFetch {
        allowed_domains: settings.and_then(|settings| settings.allowed_domains.as_deref()),
        blocked_domains: settings.and_then(|settings| settings.blocked_domains.as_deref()),
        max_content_tokens: settings.and_then(|settings| settings.max_content_tokens),
        url_sources: sources.map(|sources| wire::UrlSources {
            client_tool_results: sources.client_tool_results.as_ref().map(filter),
            server_tool_results: sources.server_tool_results.as_ref().map(filter),
            user_input: sources.user_input.map(|all| Tagged { kind: if all { "all" } else { "none" } }),
        }),
    }
}

fn filter(filter: &ToolFilter) -> wire::ToolFilter<'_> {
    match filter {
        ToolFilter::All => wire::ToolFilter::All {},
        ToolFilter::None => wire::ToolFilter::None {},
        ToolFilter::Only { tools } => wire::ToolFilter::Only { tools: references(tools) },
        ToolFilter::Except { tools } => wire::ToolFilter::Except { tools: references(tools) },
    }
}

fn references(tools: &[String]) -> Vec<wire::ToolReference<'_>> {
    tools.iter().map(|name| wire::ToolReference { kind: "tool_reference", name }).collect()
}

fn policy(policy: ToolPolicy) -> wire::Policy {
    Tagged {
        kind: match policy.permission {
            Permission::AlwaysAllow => "always_allow",
            Permission::AlwaysAsk => "always_ask",
        },
    }
}
