//! Agents and environments as a session pins them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{AgentId, EnvironmentId};
use crate::model::ModelConfig;
use crate::packages::Packages;
use crate::root::{Basis, Root};

/// The tools of the built-in toolset that this build runs. `tools` has one implementation for each.
pub const BUILTIN_TOOLS: &[&str] = &["bash", "read", "write", "edit", "glob", "grep", "web_fetch"];

/// Where the calls of a built-in tool run.
pub fn place(tool: &str) -> Place {
    match tool {
        "web_fetch" => Place::Server { idempotent: true },
        _ => Place::Sandbox,
    }
}

/// Where a call runs. Of a call that the client runs, or that is refused, it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Place {
    /// In the session's sandbox.
    #[default]
    Sandbox,
    /// In the server itself: no sandbox is started or waited for.
    Server {
        /// Whether it may be run again after the server died while it ran. If not, its outcome is then unknown.
        idempotent: bool,
    },
}

impl Place {
    /// Whether it is the sandbox.
    pub fn is_sandbox(&self) -> bool {
        *self == Self::Sandbox
    }
}

/// The built-in tool by which the model asks a person. It runs nowhere: what the person says is its result. Unlike the
/// others it is off until a toolset names it and switches it on.
pub const ASK: &str = "ask";

/// An agent as it is at one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Which agent.
    pub id: AgentId,
    /// Its version, from 1.
    pub version: u32,
    /// Its name, 1 to 256 characters.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Which model it thinks with.
    pub model: ModelConfig,
    /// Its system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What it can do.
    #[serde(default)]
    pub tools: Vec<ToolConfig>,
}

/// One entry of an agent's tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolConfig {
    /// The built-in tools.
    Builtin {
        /// What holds for a tool that `configs` doesn't name.
        default: ToolPolicy,
        /// Exceptions by tool name.
        #[serde(default)]
        configs: Vec<NamedPolicy>,
    },
    /// A tool the client runs: the session waits for its result.
    Custom {
        /// The name the model calls it by.
        name: String,
        /// What it does, for the model.
        description: String,
        /// JSON Schema of its input.
        input_schema: Value,
    },
}

/// Whether a tool may be used, and whether a person is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolPolicy {
    /// Whether the model is offered the tool.
    pub enabled: bool,
    /// Whether a call runs at once.
    pub permission: Permission,
}

/// A policy for one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPolicy {
    /// The tool's name.
    pub name: String,
    /// Its policy.
    pub policy: ToolPolicy,
    /// What `web_fetch` is told besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_fetch: Option<WebFetchSettings>,
}

/// What an agent says of `web_fetch`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WebFetchSettings {
    /// If given, only these hosts and those below them are fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_domains: Option<Vec<String>>,
    /// These hosts, and those below them, are never fetched from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_domains: Option<Vec<String>>,
    /// The most tokens of text that one page gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_content_tokens: Option<u32>,
    /// If given, only addresses are fetched that the conversation has shown, in one of these places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_sources: Option<UrlSources>,
}

/// Where in a conversation an address may come from. What isn't given counts whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UrlSources {
    /// Results of the client's own tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_tool_results: Option<ToolFilter>,
    /// Results of tools that the server runs itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_tool_results: Option<ToolFilter>,
    /// Whether messages of the user count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_input: Option<bool>,
}

/// Some of the tools, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToolFilter {
    /// Every one.
    All,
    /// Not one.
    None,
    /// These.
    Only {
        /// Their names.
        tools: Vec<String>,
    },
    /// All but these.
    Except {
        /// Their names.
        tools: Vec<String>,
    },
}

impl ToolFilter {
    /// Whether it is this tool too.
    pub fn takes(&self, tool: &str) -> bool {
        let named = |tools: &[String]| tools.iter().any(|name| name == tool);
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only { tools } => named(tools),
            Self::Except { tools } => !named(tools),
        }
    }
}

/// What happens when the model calls a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// It runs.
    AlwaysAllow,
    /// It waits for a person's answer.
    AlwaysAsk,
}

/// What a tool name means to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// One of ours, run perhaps after a question.
    Builtin {
        /// Whether a person is asked.
        permission: Permission,
        /// Where it runs.
        place: Place,
    },
    /// Asks a person.
    Question,
    /// Runs at the client.
    Client,
    /// Named in a toolset, switched off.
    Disabled,
    /// Nothing of that name.
    Unknown,
}

impl Agent {
    /// What it says of `web_fetch`.
    pub fn web_fetch(&self) -> WebFetchSettings {
        let named = self.tools.iter().find_map(|tool| match tool {
            ToolConfig::Builtin { configs, .. } => configs.iter().find_map(|config| config.web_fetch.clone()),
            ToolConfig::Custom { .. } => None,
        });
        named.unwrap_or_default()
    }

    /// What the agent does when its model calls `name`.
    pub fn resolve(&self, name: &str) -> Resolved {
        let mut found = Resolved::Unknown;
        for tool in &self.tools {
            match tool {
                ToolConfig::Custom { name: custom, .. } if custom == name => return Resolved::Client,
                ToolConfig::Builtin { default, configs } if BUILTIN_TOOLS.contains(&name) => {
                    let named = configs.iter().find(|config| config.name == name);
                    let policy = named.map_or(*default, |config| config.policy);
                    if policy.enabled {
                        return Resolved::Builtin { permission: policy.permission, place: place(name) };
                    }
                    found = Resolved::Disabled;
                }
                ToolConfig::Builtin { configs, .. } if name == ASK => {
                    match configs.iter().find(|config| config.name == ASK) {
                        Some(config) if config.policy.enabled => return Resolved::Question,
                        Some(_) => found = Resolved::Disabled,
                        None => {}
                    }
                }
                ToolConfig::Custom { .. } | ToolConfig::Builtin { .. } => {}
            }
        }
        found
    }
}

/// An environment as a session pins it: how its sandbox is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Which environment.
    pub id: EnvironmentId,
    /// Limits its creator set; these must be enforced. `None` leaves the operator's default.
    #[serde(default)]
    pub limits: Limits,
    /// What the root file system of its sandboxes is made from.
    #[serde(default, skip_serializing_if = "Root::is_host")]
    pub root: Root,
    /// What is installed in it.
    #[serde(default, skip_serializing_if = "Packages::is_empty")]
    pub packages: Packages,
}

impl Environment {
    /// What the files of its sandboxes begin with.
    pub fn basis(&self) -> Basis {
        Basis { root: self.root.clone(), packages: self.packages.clone() }
    }
}

/// Limits of a sandbox. Absent ones are the operator's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Thousandths of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Bytes on the disk of what the session writes, and the longest a file may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Files and directories on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Files that one process has open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// The longest a call may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_ms: Option<u64>,
    /// How many bytes of what a command prints are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
}

/// Which limits are to change; the inner `None` leaves one to the operator's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each is the limit of that name in `Limits`")]
pub struct LimitsChange {
    pub memory_bytes: Option<Option<u64>>,
    pub cpu_millis: Option<Option<u32>>,
    pub pids: Option<Option<u32>>,
    pub disk_bytes: Option<Option<u64>>,
    pub inodes: Option<Option<u64>>,
    pub open_files: Option<Option<u32>>,
    pub call_ms: Option<Option<u64>>,
    pub output_bytes: Option<Option<u64>>,
}

impl LimitsChange {
    /// The limits after the change.
    pub fn apply(self, to: Limits) -> Limits {
        Limits {
            memory_bytes: self.memory_bytes.unwrap_or(to.memory_bytes),
            cpu_millis: self.cpu_millis.unwrap_or(to.cpu_millis),
            pids: self.pids.unwrap_or(to.pids),
            disk_bytes: self.disk_bytes.unwrap_or(to.disk_bytes),
            inodes: self.inodes.unwrap_or(to.inodes),
            open_files: self.open_files.unwrap_or(to.open_files),
            call_ms: self.call_ms.unwrap_or(to.call_ms),
            output_bytes: self.output_bytes.unwrap_or(to.output_bytes),
        }
    }
}
