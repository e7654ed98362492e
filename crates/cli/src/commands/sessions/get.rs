use anyhow::Result;
use jiff::Timestamp;

use crate::client::{Client, Session, session_id};
use crate::failure::Exit;
use crate::limits::in_a_line;
use crate::terminal::{ago, out, plain, stamp};

/// Show a session
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The session's id, or its first digits
    session: String,
}

impl Get {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let value = client.get(&format!("/v1/sessions/{id}"), &[]).await?;
        if as_json {
            out::json(&value);
            return Ok(Exit::Success);
        }
        let session = Session::read(&value)?;
        let (agent, ours) = (&session.agent, &session.tenure);
        let active = format!("{} ({})", stamp(ours.last_active_at), ago(ours.last_active_at, Timestamp::now()));
        let cost = session.usage.list_cost.as_ref().map_or("unknown".to_owned(), |cost| cost.dollars());
        let cost = match &session.budget {
            Some(budget) => format!("{cost} of {}", budget.max_list_cost.dollars()),
            None => cost,
        };
        for (name, value) in [
            ("Agent", format!("{} ({}, version {})", agent.name, agent.id, agent.version)),
            ("ID", session.id.clone()),
            ("Short ID", session.short_id()),
            ("Status", ours.cli_status.name().to_uppercase()),
            ("Doing", ours.phase.replace('_', " ")),
            ("Model", agent.model.id.clone()),
            ("Sandbox", ours.sandbox.replace('_', " ")),
            ("Limits", in_a_line(&ours.limits)),
            ("List Cost", cost),
            ("Messages", ours.messages.to_string()),
            ("Created", stamp(session.created_at)),
            ("Title", session.label().to_owned()),
            ("Labels", ours.labels.join(", ")),
            ("Last Active", active),
        ] {
            out::line(plain(&format!("{:<14}{value}", format!("{name}:"))).trim_end());
        }
        Ok(Exit::Success)
    }
}
