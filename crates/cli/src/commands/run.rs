//! `tenure run`: a new session.

use anyhow::Result;
use serde_json::{Value, json};

use super::block_on;
use crate::cli::Shared;
use crate::client::{Client, Target, agent};
use crate::conversation::{Manner, Talk, converse};
use crate::failure::Exit;
use crate::limits::LimitOptions;

/// Talk with an agent in a new session
///
/// Without a prompt, and unless --single or --json is given, it goes on until `exit` or Ctrl-D. Ctrl-C breaks off what
/// the agent is doing. The session stays open afterwards; `tenure sessions resume` goes on with it. After 29 minutes of
/// idleness it times out: its files are removed, and what was said stays. Limits that aren't given are the environment's, and
/// `default` is the operator's.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The agent, by short name or id
    agent: String,
    /// What to say first; without it, it is asked for or read from standard input
    prompt: Option<String>,
    /// Answer once and leave
    #[arg(long, short)]
    single: bool,
    /// Another model than the agent's, in this session alone
    #[arg(long)]
    model: Option<String>,
    /// The environment, by name or id
    #[arg(long, default_value = "default")]
    environment: String,
    /// A title for the session; without it, lists show the first line of the first message
    #[arg(long)]
    title: Option<String>,
    /// A label to find the session by; may be given several times
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// The most the session may cost, in dollars at list prices: 2.50
    #[arg(long, value_name = "USD", value_parser = cents)]
    budget: Option<u64>,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Run {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let client = Client::new(Target::find(shared)?)?;
        let manner = Manner { single: self.single, json: shared.json };
        block_on(async {
            let agent = agent(&client, &self.agent).await?;
            let agent = match self.model {
                Some(model) => json!({"type": "agent_with_overrides", "id": agent.id, "model": model}),
                None => json!(agent.id),
            };
            let mut request =
                json!({"agent": agent, "environment_id": self.environment, "lifetimes": idle_for_29_minutes()});
            if let Some(title) = self.title {
                request["title"] = json!(title);
            }
            if !self.labels.is_empty() {
                request["labels"] = json!(self.labels);
            }
            if let Some(cents) = self.budget {
                let amount = json!({"amount": cents.to_string(), "currency": "USD"});
                request["budget"] = json!({"type": "limit", "max_list_cost": amount});
            }
            let limits = self.limits.given();
            if !limits.is_empty() {
                request["limits"] = Value::Object(limits);
            }
            converse(client, Talk::New(request), self.prompt, manner).await
        })
    }
}

/// Dollars, perhaps with cents, as cents.
fn cents(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected dollars from 0.01 on, such as 2.50, got `{text}`");
    let bare = text.strip_prefix('$').unwrap_or(text);
    let (dollars, cents) = bare.split_once('.').unwrap_or((bare, "00"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(dollars) || !digits(cents) || dollars.len() > 10 || cents.len() > 2 {
        return Err(wrong());
    }
    match format!("{dollars}{cents:0<2}").parse() {
        Ok(cents @ 1..) => Ok(cents),
        Ok(0) | Err(_) => Err(wrong()),
    }
}

/// A session of the command line that nobody goes on with times out: its files go, its log stays.
fn idle_for_29_minutes() -> Value {
    json!({"idle_seconds": 29 * 60, "then": "end", "outcome": "timed_out", "keep": "log"})
}

#[cfg(test)]
mod tests {
    use super::cents;

    #[test]
    fn dollars_are_read_as_cents() {
        for (text, expected) in [("2.50", 250), ("2.5", 250), ("2", 200), ("$0.01", 1), ("0.10", 10)] {
            assert_eq!(cents(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "0.00", "-1", "1.234", "1,50", ".5", "5.", "1e3", "99999999999"] {
            assert!(cents(text).is_err(), "{text}");
        }
    }
}
