//! `tenure models`.

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use reqwest::Url;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::block_on;
use crate::cli::Shared;
use crate::client::{Client, Target};
use crate::failure::{Exit, advised};
use crate::terminal::{Table, out, plain, say};

/// Add model servers, list models, choose the default one
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Models {
    /// List the models that the known servers offer, with their prices per million tokens
    List,
    Add(Add),
    /// Show the default model, or choose it
    Default {
        /// The model, or `auto` for what the model servers offer
        model: Option<String>,
    },
    /// Have a model say a word
    Test {
        /// The model; without it, the default one
        model: Option<String>,
    },
}

/// Add a model server, or replace the one of that kind; in force at once
///
/// The key is asked for, or read from standard input, and sealed in the server's store.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Which kind
    provider: Provider,
    /// Where it is: Ollama, vLLM, llama.cpp, a gateway; without it, the provider's own address
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// It needs no key
    #[arg(long, requires = "base_url")]
    no_key: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Provider {
    /// For models named claude-…
    Anthropic,
    /// OpenAI, or any server with its chat completions; for models named openai/…
    Openai,
}

impl Models {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let client = Client::new(Target::find(shared)?)?;
        block_on(async {
            match self {
                Self::List => list(&client, shared.json).await,
                Self::Add(add) => add.run(&client, shared.json).await,
                Self::Default { model } => default(&client, model, shared.json).await,
                Self::Test { model } => test(&client, model, shared.json).await,
            }
        })
    }
}

async fn list(client: &Client, as_json: bool) -> Result<Exit> {
    let models = client.get("/v1/tenure/models", &[]).await?;
    if as_json {
        out::json(&models);
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["Model", "Provider", "Context", "Input", "Output", "Default"]);
    let mut unreachable = Vec::new();
    for provider in models["providers"].as_array().into_iter().flatten() {
        let name = provider["name"].as_str().unwrap_or_default();
        for model in provider["models"].as_array().into_iter().flatten() {
            let default = if model["default"] == true { "✓" } else { "" };
            let context = model["context_window"].as_u64().map(|tokens| tokens.to_string()).unwrap_or_default();
            let price = |of: &str| model["price"][of].as_f64().map(|usd| format!("${usd}")).unwrap_or_default();
            let id = model["id"].as_str().unwrap_or_default();
            table.row([id, name, &context, &price("input"), &price("output"), default]);
        }
        unreachable.extend(provider["error"].as_str().map(|error| format!("{name}: {error}")));
    }
    table.print();
    unreachable.iter().for_each(|problem| say::warning(&plain(problem)));
    Ok(Exit::Success)
}

impl Add {
    async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let provider = self.provider.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        if let Some(base_url) = &self.base_url {
            refuse_itself(base_url, &client.target().url)?;
        }
        let key = if self.no_key { None } else { Some(read_key(&provider)?) };
        let mut request = json!({ "provider": provider });
        if let Some(base_url) = self.base_url {
            request["base_url"] = json!(base_url);
        }
        if let Some(key) = key {
            request["key"] = json!(key);
        }
        let added = client.post_once("/v1/tenure/models", &request).await?;
        if as_json {
            out::json(&added);
            return Ok(Exit::Success);
        }
        say::success(&format!("Model server {provider} added"));
        say::hint("`tenure models test` has the default model say a word");
        Ok(Exit::Success)
    }
}

/// A model server that is this very server would make it ask itself for ever.
fn refuse_itself(base_url: &str, own: &Url) -> Result<()> {
    let wrong =
        || advised(format!("--base-url is `{base_url}`"), "expected an address such as http://127.0.0.1:11434/v1");
    let given = Url::parse(base_url).map_err(|_| wrong())?;
    if !matches!(given.scheme(), "http" | "https") || !given.has_host() {
        return Err(wrong());
    }
    let place = |url: &Url| {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let is_here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        (if is_here { "localhost".to_owned() } else { host }, url.port_or_known_default())
    };
    if place(&given) == place(own) {
        return Err(advised(format!("{base_url} is this Tenure server itself"), "name the model server's address"));
    }
    Ok(())
}

/// The key: typed without being shown, or all of standard input. Never an argument, which others on the machine can see.
fn read_key(provider: &str) -> Result<String> {
    let mut key = String::new();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        say::text(&format!("API key for {provider}: "));
        let shown = tcgetattr(&stdin).context("can't hide what is typed")?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &hidden).context("can't hide what is typed")?;
        let read = stdin.read_line(&mut key);
        let _ = tcsetattr(&stdin, OptionalActions::Now, &shown);
        say::text("\n");
        read.context("can't read the key")?;
    } else {
        stdin.lock().read_to_string(&mut key).context("can't read the key from standard input")?;
    }
    match key.trim() {
        "" => {
            Err(advised("there is no key", "type one, or give it on standard input; --no-key says that none is needed"))
        }
        key => Ok(key.to_owned()),
    }
}

async fn default(client: &Client, model: Option<String>, as_json: bool) -> Result<Exit> {
    let chosen = model.is_some();
    if let Some(model) = &model {
        let model = if model == "auto" { Value::Null } else { json!(model) };
        client.post_once("/v1/tenure/models/default", &json!({ "model": model })).await?;
    }
    let status = client.get("/v1/tenure/status", &[]).await?;
    let now = status["default_model"].as_str().unwrap_or_default();
    if as_json {
        out::json(&json!({ "default": now }));
    } else {
        out::line(&plain(now));
    }
    if chosen && model.is_some_and(|model| model != "auto" && model != now) {
        say::warning(
            "the server's own setting (TENURE_MODEL or models.default in its config.toml) goes before this choice",
        );
    }
    Ok(Exit::Success)
}

async fn test(client: &Client, model: Option<String>, as_json: bool) -> Result<Exit> {
    let model = match model {
        Some(model) => model,
        None => {
            let status = client.get("/v1/tenure/status", &[]).await?;
            status["default_model"].as_str().context("the server names no default model")?.to_owned()
        }
    };
    let answer = client.post_once("/v1/tenure/models/test", &json!({ "model": model })).await?;
    let ok = answer["ok"] == true;
    if as_json {
        out::json(&answer);
    } else if ok {
        say::success(&format!("{} answers", plain(&model)));
        out::line(&plain(answer["text"].as_str().unwrap_or_default()));
    } else {
        let error = answer["error"].as_str().unwrap_or("no answer");
        say::failure(&format!("{}: {}", plain(&model), plain(error)));
    }
    Ok(if ok { Exit::Success } else { Exit::Failure })
}

#[cfg(test)]
mod tests {
    use super::{Url, refuse_itself};

    #[test]
    fn the_server_itself_is_no_model_server() {
        let own = Url::parse("http://127.0.0.1:7717").expect("an address");
        for refused in ["http://localhost:7717/v1", "http://[::1]:7717", "ollama", "ftp://x/"] {
            assert!(refuse_itself(refused, &own).is_err(), "{refused}");
        }
        for taken in ["http://127.0.0.1:11434/v1", "https://api.anthropic.com"] {
            assert!(refuse_itself(taken, &own).is_ok(), "{taken}");
        }
    }
}
