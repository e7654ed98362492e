//! `tenure agents`.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::block_on;
use crate::cli::Shared;
use crate::client::{Agent, Client, Target, agent};
use crate::failure::{Exit, advised};
use crate::terminal::{Table, out, plain, say, stamp};

/// List, show, create and archive agents
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Agents {
    /// List agents, the newest first
    List,
    /// Show an agent
    Get {
        /// The agent, by short name or id
        agent: String,
    },
    Create(Create),
    /// Archive an agent for good: its sessions go on, new ones can't have it
    Archive {
        /// The agent, by short name or id
        agent: String,
    },
}

/// Create an agent
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Its name; lists and commands show a short form of it
    name: String,
    /// Its model: claude-…, openai/<model> or script/<name>; without it, the server's default
    #[arg(long)]
    model: Option<String>,
    /// Its system prompt, or @FILE to read it from a file
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Its tools, separated by commas: some of bash, read, write, edit, glob, grep; or all; or none
    #[arg(long, value_delimiter = ',', default_value = "all")]
    tools: Vec<String>,
    /// Tools that a person has to allow each time, separated by commas; or all
    #[arg(long, value_delimiter = ',', value_name = "TOOLS")]
    ask: Vec<String>,
}

impl Agents {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let client = Client::new(Target::find(shared)?)?;
        block_on(async {
            match self {
                Self::List => list(&client, shared.json).await,
                Self::Get { agent } => get(&client, &agent, shared.json).await,
                Self::Create(create) => create.run(&client, shared.json).await,
                Self::Archive { agent } => archive(&client, &agent, shared.json).await,
            }
        })
    }
}

async fn list(client: &Client, as_json: bool) -> Result<Exit> {
    let agents = client.list("/v1/agents", &[("limit", "100")], usize::MAX, |_| true).await?;
    if as_json {
        out::json(&json!({ "agents": agents }));
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["Agent", "Name", "Model", "Version", "Created", "ID"]);
    for agent in agents.iter().map(Agent::read) {
        let Agent { id, slug, name, version, model, created_at } = agent?;
        table.row([slug, name, model.id, version.to_string(), stamp(created_at), id]);
    }
    table.print();
    Ok(Exit::Success)
}

async fn get(client: &Client, name: &str, as_json: bool) -> Result<Exit> {
    let id = agent(client, name).await?.id;
    let value = client.get(&format!("/v1/agents/{id}"), &[]).await?;
    if as_json {
        out::json(&value);
        return Ok(Exit::Success);
    }
    let agent = Agent::read(&value)?;
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    for (name, value) in [
        ("Agent", agent.slug),
        ("Name", agent.name),
        ("ID", agent.id),
        ("Version", agent.version.to_string()),
        ("Model", agent.model.id),
        ("Description", text("description")),
        ("Tools", tools_in_words(&value["tools"])),
        ("Created", stamp(agent.created_at)),
        ("System", text("system")),
    ] {
        if !value.is_empty() {
            out::line(plain(&format!("{:<14}{value}", format!("{name}:"))).trim_end());
        }
    }
    Ok(Exit::Success)
}

async fn archive(client: &Client, name: &str, as_json: bool) -> Result<Exit> {
    let agent = agent(client, name).await?;
    let archived = client.post(&format!("/v1/agents/{}/archive", agent.id), &json!({})).await?;
    match as_json {
        true => out::json(&archived),
        false => say::success(&format!("Agent {} archived", agent.slug)),
    }
    Ok(Exit::Success)
}

impl Create {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let model = match self.model {
            Some(model) => model,
            None => {
                let status = client.get("/v1/tenure/status", &[]).await?;
                status["default_model"].as_str().context("the server names no default model; say --model")?.to_owned()
            }
        };
        let mut request = json!({"name": self.name, "model": model, "tools": toolset(&self.tools, &self.ask)?});
        if let Some(system) = self.system {
            request["system"] = json!(text_or_file(system)?);
        }
        if let Some(description) = self.description {
            request["description"] = json!(description);
        }
        let made = client.post("/v1/agents", &request).await?;
        if as_json {
            out::json(&made);
            return Ok(Exit::Success);
        }
        let agent = Agent::read(&made)?;
        say::success(&format!("Agent {} created", agent.slug));
        say::hint(&format!("tenure run {}", agent.slug));
        Ok(Exit::Success)
    }
}

/// The toolset in which only these tools are, and these are asked about. The server knows which tools there are.
fn toolset(tools: &[String], ask: &[String]) -> Result<Value> {
    let (all, none) = (tools == ["all"], tools == ["none"]);
    if none && !ask.is_empty() {
        return Err(advised("--ask names tools, but --tools is none", "leave one of them out"));
    }
    if none {
        return Ok(json!([]));
    }
    let policy = |asks: bool| json!({"type": if asks { "always_ask" } else { "always_allow" }});
    let ask_all = ask == ["all"];
    let named = if all { if ask_all { &[] } else { ask } } else { tools };
    if let Some(other) = ask.iter().find(|tool| !all && !ask_all && !tools.contains(tool)) {
        return Err(advised(format!("--ask names {other}, which --tools doesn't"), "name it in both"));
    }
    let configs: Vec<Value> = named
        .iter()
        .map(|tool| json!({"name": tool, "enabled": true, "permission_policy": policy(ask_all || ask.contains(tool))}))
        .collect();
    let default = json!({"enabled": all, "permission_policy": policy(all && ask_all)});
    Ok(json!([{"type": "agent_toolset_20260401", "default_config": default, "configs": configs}]))
}

fn text_or_file(given: String) -> Result<String> {
    match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(Path::new(path)).with_context(|| format!("can't read {path}")),
        None => Ok(given),
    }
}

fn tools_in_words(tools: &Value) -> String {
    let mut words = Vec::new();
    for tool in tools.as_array().into_iter().flatten() {
        let asks = |policy: &Value| policy["permission_policy"]["type"] == "always_ask";
        let Some(configs) = tool["configs"].as_array() else {
            words.extend(tool["name"].as_str().map(|name| format!("{name} (yours)")));
            continue;
        };
        let default = &tool["default_config"];
        if default["enabled"] == true {
            words.push(if asks(default) { "all (asks)".to_owned() } else { "all".to_owned() });
        }
        words.extend(configs.iter().map(|config| {
            let name = config["name"].as_str().unwrap_or_default();
            match (config["enabled"] == true, asks(config)) {
                (false, _) => format!("not {name}"),
                (true, true) => format!("{name} (asks)"),
                (true, false) => name.to_owned(),
            }
        }));
    }
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::toolset;

    fn words(text: &str) -> Vec<String> {
        text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn toolsets() {
        let made = |tools: &str, ask: &str| toolset(&words(tools), &words(ask)).expect("it makes sense")[0].clone();
        assert_eq!(made("all", "")["default_config"]["enabled"], true);
        assert_eq!(made("all", "all")["default_config"]["permission_policy"]["type"], "always_ask");
        let some = made("bash,read", "bash");
        assert_eq!(some["default_config"]["enabled"], false);
        assert_eq!(some["configs"][0]["permission_policy"]["type"], "always_ask");
        assert_eq!(some["configs"][1]["permission_policy"]["type"], "always_allow");
        assert_eq!(made("all", "bash")["configs"].as_array().map(Vec::len), Some(1));
        assert_eq!(toolset(&words("none"), &[]).expect("it makes sense"), json!([]));
        assert!(toolset(&words("read"), &words("bash")).is_err());
        assert!(toolset(&words("none"), &words("bash")).is_err());
    }
}
