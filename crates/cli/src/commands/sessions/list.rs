use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::{CliStatus, Client, Session, agent};
use crate::failure::Exit;
use crate::terminal::{Table, ago, out, say};

/// List sessions, the newest first
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only with this agent, by short name or id
    #[arg(long)]
    agent: Option<String>,
    /// Only in this state
    #[arg(long)]
    status: Option<CliStatus>,
    /// Only with this label; given several times, with all of them
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// The most to show
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// How much of a title is shown.
const TITLE: usize = 40;

impl List {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let limit = self.limit as usize;
        let agent = match &self.agent {
            Some(name) => Some(agent(client, name).await?.id),
            None => None,
        };
        // With a state to look for, most rows may be others'.
        let page = if self.status.is_some() { 1_000 } else { limit.min(1_000) }.to_string();
        let mut query = vec![("limit", page.as_str()), ("include_archived", "true")];
        query.extend(agent.as_deref().map(|agent| ("agent_id", agent)));
        query.extend(self.labels.iter().map(|label| ("labels[]", label.as_str())));
        if let Some(status) = self.status {
            query.extend(v1_statuses(status).iter().map(|status| ("statuses[]", *status)));
        }
        let wanted = self.status.map(CliStatus::name);
        let keep = |session: &Value| wanted.is_none_or(|wanted| session["tenure"]["cli_status"] == wanted);
        let sessions = client.list("/v1/sessions", &query, limit, keep).await?;
        if as_json {
            out::json(&json!({ "sessions": sessions }));
            return Ok(Exit::Success);
        }
        if sessions.is_empty() {
            say::line("No sessions.");
            say::hint("`tenure run assistant` begins one");
            return Ok(Exit::Success);
        }
        let now = Timestamp::now();
        let mut table = Table::new(&["ID", "Agent", "Title", "Status", "Msgs", "Last Active"]);
        for session in sessions.iter().map(Session::read) {
            let session = session?;
            let status = session.tenure.cli_status.name().to_uppercase();
            let messages = session.tenure.messages.to_string();
            let active = ago(session.tenure.last_active_at, now);
            table.row([
                session.short_id(),
                session.agent.name.clone(),
                title(session.label()),
                status,
                messages,
                active,
            ]);
        }
        table.print();
        Ok(Exit::Success)
    }
}

fn title(label: &str) -> String {
    match label.char_indices().nth(TITLE) {
        Some((end, _)) => format!("{}…", label[..end].trim_end()),
        None => label.to_owned(),
    }
}

/// The states of `/v1` in which sessions of this state are.
fn v1_statuses(status: CliStatus) -> &'static [&'static str] {
    match status {
        // A session that is about to be archived is terminated already, and one that closes otherwise is idle.
        CliStatus::Active => &["running", "rescheduling", "idle", "terminated"],
        CliStatus::Idle => &["idle"],
        CliStatus::Ended | CliStatus::Timeout => &["terminated"],
    }
}
