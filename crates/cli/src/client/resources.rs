//! What the server shows of its resources, as far as the command line reads it.

use anyhow::Result;
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tenure_core::id::{AgentId, SessionId};

use super::api::Client;
use super::error::ApiError;
use crate::failure::advised;

/// A session.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) title: Option<String>,
    pub(crate) agent: SessionAgent,
    pub(crate) budget: Option<Budget>,
    pub(crate) usage: Usage,
    pub(crate) created_at: Timestamp,
    pub(crate) tenure: Ours,
}

/// What it may cost.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Budget {
    pub(crate) max_list_cost: Money,
}

/// What it has used.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Usage {
    pub(crate) list_cost: Option<Money>,
}

/// An amount in cents.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Money {
    amount: String,
}

impl Money {
    /// `$2.50`.
    pub(crate) fn dollars(&self) -> String {
        let digits = format!("{:0>3}", self.amount);
        let (dollars, cents) = digits.split_at(digits.len() - 2);
        format!("${dollars}.{cents}")
    }
}

/// Its agent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SessionAgent {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) model: Model,
}

/// A model.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Model {
    pub(crate) id: String,
}

/// What Tenure adds to a session.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ours {
    pub(crate) cli_status: CliStatus,
    pub(crate) phase: String,
    pub(crate) sandbox: String,
    /// Null where none is set.
    #[serde(default)]
    pub(crate) limits: Value,
    /// What is being done to get its sandbox ready.
    #[serde(default)]
    pub(crate) preparing: Option<String>,
    /// Servers before there were labels send none.
    #[serde(default)]
    pub(crate) labels: Vec<String>,
    pub(crate) messages: u64,
    pub(crate) first_line: Option<String>,
    pub(crate) last_active_at: Timestamp,
    pub(crate) cursor: String,
}

/// A session's status as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CliStatus {
    /// Works on something
    Active,
    /// Waits for input
    Idle,
    /// Is over
    Ended,
    /// Is over because it was idle for too long
    Timeout,
}

impl CliStatus {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Ended => "ended",
            Self::Timeout => "timeout",
        }
    }
}

impl Session {
    /// Reads what the server sent.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        Self::deserialize(value).map_err(|error| ApiError::Odd(format!("a session: {error}")).into())
    }

    /// The first twelve hex digits of its id: what people type.
    pub(crate) fn short_id(&self) -> String {
        short_id(&self.id)
    }

    /// Its title, or the first line of its first message.
    pub(crate) fn label(&self) -> &str {
        self.title.as_deref().or(self.tenure.first_line.as_deref()).unwrap_or_default()
    }
}

fn short_id(id: &str) -> String {
    SessionId::parse(id).map_or_else(|_| id.to_owned(), |id| id.to_string()[..12].to_owned())
}

/// The id of the session that a person means: an id in any form, or the beginning of one in hex digits.
pub(crate) async fn session_id(client: &Client, typed: &str) -> Result<String> {
    // Twenty-two hex digits are both the beginning of an id and a whole one in base58; people type beginnings.
    let is_beginning = typed.len() < 32 && typed.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(id) = SessionId::parse(typed).ok().filter(|_| !is_beginning) {
        return Ok(id.prefixed());
    }
    let none = || advised(format!("No session found matching '{typed}'"), "`tenure sessions list` shows your sessions");
    let prefix = typed.strip_prefix("ses_").unwrap_or(typed).replace('-', "").to_ascii_lowercase();
    if prefix.is_empty() || prefix.len() > 32 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(none());
    }
    let found = client.get("/v1/sessions/resolve", &[("prefix", &prefix)]).await?;
    let found = found["data"].as_array().cloned().unwrap_or_default();
    let ids: Vec<&str> = found.iter().filter_map(Value::as_str).collect();
    match ids[..] {
        [] => Err(none()),
        [id] => Ok(id.to_owned()),
        _ => {
            let matches: Vec<_> = ids.iter().map(|id| short_id(id)).collect();
            let message = format!("Ambiguous ID '{typed}' — matches: {}", matches.join(", "));
            Err(advised(message, "type more digits of it"))
        }
    }
}

/// An agent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Agent {
    pub(crate) id: String,
    pub(crate) slug: String,
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) model: Model,
    pub(crate) created_at: Timestamp,
}

impl Agent {
    /// Reads what the server sent.
    pub(crate) fn read(value: &Value) -> Result<Self> {
        Self::deserialize(value).map_err(|error| ApiError::Odd(format!("an agent: {error}")).into())
    }
}

/// The agent that a person means, by short name or id.
pub(crate) async fn agent(client: &Client, typed: &str) -> Result<Agent> {
    // Short names have no underscore, and ids with a prefix have one.
    if let Some(id) = AgentId::parse(typed).ok().filter(|_| typed.contains('_')) {
        return Agent::read(&client.get(&format!("/v1/agents/{}", id.prefixed()), &[]).await?);
    }
    let found = client.list("/v1/agents", &[("limit", "100")], 1, |agent| agent["slug"] == typed).await?;
    match found.first() {
        Some(found) => Agent::read(found),
        None => Err(advised(format!("Agent '{typed}' not found"), "`tenure agents list` shows your agents")),
    }
}
