//! An agent's tools: the built-in toolset and tools of the client's.

use serde_json::Value;
use tenure_core::agent::{ASK, BUILTIN_TOOLS, NamedPolicy, Permission, ToolConfig, ToolPolicy};

use super::web_fetch::{sources_exist, web_fetch};
use crate::problem::Problem;
use crate::request::{Fields, Given};

/// The most tools of an agent, over all its toolsets.
pub(in super::super) const MOST: usize = 256;

pub(in super::super) const NAME: usize = 128;
pub(in super::super) const DESCRIPTION: usize = 32_768;

/// Tools of the peer's toolset that this build doesn't have. They are simply not offered.
pub(in super::super) const NOT_YET: &[&str] = &["web_search"];

/// What the peer lets that be told.
pub(in super::super) const SEARCH_SETTINGS: &[&str] = &["allowed_domains", "blocked_domains", "user_location"];

/// Reads the field `tools`; null and empty both clear.
pub(super) fn tools(fields: &mut Fields<'_>) -> Result<Option<Vec<ToolConfig>>, Problem> {
    let list = match fields.list("tools")? {
        Given::Absent => return Ok(None),
        Given::Null => return Ok(Some(Vec::new())),
        Given::Value(list) => list,
    };
    let path = fields.at("tools");
    let mut tools = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let mut entry = fields.nested(format!("{path}.{at}"), value)?;
        let tool = match entry.required_string("type")?.as_str() {
            "agent_toolset_20260401" => toolset(&mut entry)?,
            "custom" => custom(&mut entry)?,
            "mcp_toolset" => return Err(Problem::unsupported(&entry.at("type"), "MCP toolsets are")),
            other => {
                let given: String = other.chars().take(40).collect();
                let message = format!("expected `agent_toolset_20260401` or `custom`, got `{given}`");
                return Err(entry.wrong("type", message));
            }
        };
        clashes(&entry, &tools, &tool)?;
        tools.push(tool);
    }
    sources_exist(&path, &tools)?;
    let count: usize = tools.iter().map(|tool| if is_toolset(tool) { BUILTIN_TOOLS.len() } else { 1 }).sum();
    if count > MOST {
        return Err(Problem::invalid(&path, format!("expected at most {MOST} tools in all, got {count}")));
    }
    Ok(Some(tools))
}

fn toolset(entry: &mut Fields<'_>) -> Result<ToolConfig, Problem> {
    let mut default = ToolPolicy { enabled: true, permission: Permission::AlwaysAllow };
    if let Given::Value(mut given) = entry.object("default_config")? {
        default = policy(&mut given, default)?;
    }
    let list = entry.list("configs")?.value().unwrap_or_default();
    let path = entry.at("configs");
    let mut configs: Vec<NamedPolicy> = Vec::with_capacity(list.len());
    for (at, value) in list.into_iter().enumerate() {
        let mut given = entry.nested(format!("{path}.{at}"), value)?;
        let config = named(&mut given, default)?;
        if configs.iter().any(|other| other.name == config.name) {
            return Err(given.wrong("name", format!("expected each tool once, got `{}` again", config.name)));
        }
        configs.push(config);
    }
    Ok(ToolConfig::Builtin { default, configs })
}

fn named(given: &mut Fields<'_>, default: ToolPolicy) -> Result<NamedPolicy, Problem> {
    let name = given.required_string("name")?;
    let later = NOT_YET.contains(&name.as_str());
    if !later && name != ASK && !BUILTIN_TOOLS.contains(&name.as_str()) {
        let shown: String = name.chars().take(40).collect();
        let names = BUILTIN_TOOLS.join(", ");
        return Err(given.wrong("name", format!("expected one of {names}, {ASK}, got `{shown}`")));
    }
    if let Some(kind) = given.string("type")?.value()
        && kind != name
    {
        return Err(given.wrong("type", format!("expected `{name}`, the tool's name, got another")));
    }
    let policy = match name == ASK {
        false => policy(given, default)?,
        true => {
            let policy = policy(given, ToolPolicy { enabled: false, permission: Permission::AlwaysAllow })?;
            if policy.permission != Permission::AlwaysAllow {
                let message = format!("expected `always_allow` or nothing: `{ASK}` runs nothing that could be allowed");
                return Err(given.wrong("permission_policy", message));
            }
            policy
        }
    };
    if later {
        if policy.enabled {
            return Err(Problem::unsupported(&given.at("enabled"), &format!("the tool `{name}` is")));
        }
        for setting in SEARCH_SETTINGS {
            given.unsupported(setting, &format!("settings of `{name}` are"))?;
        }
    }
    let web_fetch = if name == "web_fetch" { web_fetch(given)? } else { None };
    Ok(NamedPolicy { name, policy, web_fetch })
}

/// A policy, with what isn't given taken from `default`.
fn policy(given: &mut Fields<'_>, default: ToolPolicy) -> Result<ToolPolicy, Problem> {
    let enabled = given.bool("enabled")?.value().unwrap_or(default.enabled);
    let permission = match given.object("permission_policy")? {
        Given::Absent | Given::Null => default.permission,
        Given::Value(mut policy) => match policy.required_one_of("type", &["always_allow", "always_ask", "auto"])? {
            "always_allow" => Permission::AlwaysAllow,
            "always_ask" => Permission::AlwaysAsk,
            _ => {
                let message = "`auto` needs a judge of calls, which this server doesn't have; use `always_allow` or \
                               `always_ask`";
                return Err(policy.wrong("type", message));
            }
        },
    };
    Ok(ToolPolicy { enabled, permission })
}

fn custom(entry: &mut Fields<'_>) -> Result<ToolConfig, Problem> {
    let name = entry.required_text("name", 1, NAME)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')) {
        return Err(entry.wrong("name", "expected letters, digits, `_` and `-` only"));
    }
    let description = entry.required_text("description", 1, DESCRIPTION)?;
    let input_schema = entry.required("input_schema", "a JSON Schema of an object")?;
    let is_object = input_schema.get("type").and_then(Value::as_str) == Some("object");
    if !is_object {
        return Err(entry.wrong("input_schema.type", "expected `object`: a tool's input is always an object"));
    }
    let object_or_none = |value: Option<&Value>| value.is_none_or(|value| value.is_object() || value.is_null());
    if !object_or_none(input_schema.get("properties")) {
        return Err(entry.wrong("input_schema.properties", "expected an object: a schema for each property"));
    }
    let names = |value: &Value| value.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    if !input_schema.get("required").is_none_or(|required| required.is_null() || names(required)) {
        return Err(entry.wrong("input_schema.required", "expected a list of names of properties"));
    }
    Ok(ToolConfig::Custom { name, description, input_schema })
}

/// A name means one tool.
fn clashes(entry: &Fields<'_>, before: &[ToolConfig], tool: &ToolConfig) -> Result<(), Problem> {
    match tool {
        ToolConfig::Builtin { .. } if before.iter().any(is_toolset) => {
            Err(entry.wrong("type", "expected the built-in toolset once, got it again; put its settings together"))
        }
        ToolConfig::Builtin { .. } if asks(tool) && before.iter().any(|other| is_custom(other, ASK)) => {
            Err(entry.wrong("configs", format!("`{ASK}` is the name of another tool; switch this one off")))
        }
        ToolConfig::Builtin { .. } => Ok(()),
        ToolConfig::Custom { name, .. } => {
            let taken = before.iter().any(|other| is_custom(other, name));
            let asks = name == ASK && before.iter().any(asks);
            let builtin = asks || BUILTIN_TOOLS.contains(&name.as_str()) || NOT_YET.contains(&name.as_str());
            if taken || builtin {
                let whose = if builtin { "a built-in tool" } else { "another tool" };
                return Err(entry.wrong("name", format!("`{name}` is the name of {whose}; take another")));
            }
            Ok(())
        }
    }
}

/// Whether it is a tool of the client's by this name.
fn is_custom(tool: &ToolConfig, name: &str) -> bool {
    match tool {
        ToolConfig::Custom { name: other, .. } => other == name,
        ToolConfig::Builtin { .. } => false,
    }
}

/// Whether it has the built-in tool `ask` switched on.
fn asks(tool: &ToolConfig) -> bool {
    match tool {
        ToolConfig::Builtin { configs, .. } => configs.iter().any(|config| config.name == ASK && config.policy.enabled),
        ToolConfig::Custom { .. } => false,
    }
}

/// Complains of a tool that is switched on by name and that the operator has switched off for all. `path` is where the tools
/// were given.
pub(in super::super) fn offered(
    path: &str,
    tools: Option<&Vec<ToolConfig>>,
    offers: impl Fn(&str) -> bool,
) -> Result<(), Problem> {
    for (at, tool) in tools.into_iter().flatten().enumerate() {
        let ToolConfig::Builtin { configs, .. } = tool else { continue };
        let off = |config: &NamedPolicy| {
            config.policy.enabled && BUILTIN_TOOLS.contains(&config.name.as_str()) && !offers(&config.name)
        };
        if let Some(which) = configs.iter().position(off) {
            let message = format!("`{}` is switched off on this server by its operator", configs[which].name);
            return Err(Problem::invalid(&format!("{path}.{at}.configs.{which}.enabled"), message));
        }
    }
    Ok(())
}

fn is_toolset(tool: &ToolConfig) -> bool {
    match tool {
        ToolConfig::Builtin { .. } => true,
        ToolConfig::Custom { .. } => false,
    }
}
