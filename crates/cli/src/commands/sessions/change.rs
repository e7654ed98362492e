//! Stopping, ending and deleting.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::client::{CliStatus, Client, EventStream, Session, session_id};
use crate::failure::{Exit, advised};
use crate::terminal::{out, say};

/// Stop a session for now: its work is interrupted and its sandbox ends; everything is kept
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The session's id, or its first digits
    session: String,
}

impl Stop {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let session = client.post(&format!("/v1/sessions/{id}/stop"), &json!({})).await?;
        done(&session, as_json, "stopped")
    }
}

/// End a session for good: its files are removed, its log stays readable
#[derive(Debug, clap::Args)]
pub(crate) struct End {
    /// The session's id, or its first digits
    session: String,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

impl End {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        confirm(self.yes, "Ending a session removes its files. This can't be undone.")?;
        let session = client.post(&format!("/v1/sessions/{id}/end"), &json!({"keep": "log"})).await?;
        // It ends whether or not that can be watched.
        let session = ended(client, &id, &session).await.unwrap_or(session);
        match Session::read(&session)?.tenure.cli_status {
            CliStatus::Active | CliStatus::Idle => {
                done(&session, as_json, "is ending; what runs in it gets some time to end")
            }
            CliStatus::Ended | CliStatus::Timeout => done(&session, as_json, "ended"),
        }
    }
}

/// How long an end is waited for: longer than processes get to end by themselves.
const PATIENCE: Duration = Duration::from_secs(20);

/// The session when it has ended, or as it is after so long.
async fn ended(client: &Client, id: &str, session: &Value) -> Result<Value> {
    let after = Session::read(session)?.tenure.cursor;
    let mut events = EventStream::open(client, id, &after).await?;
    let over = async {
        while let Ok(Some(event)) = events.next().await {
            if event.kind() == "session.status_terminated" {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, over).await;
    client.get(&format!("/v1/sessions/{id}"), &[]).await
}

/// Delete a session and everything of it
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The session's id, or its first digits
    session: String,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
}

impl Delete {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        confirm(self.yes, "Deleting a session removes its files and its log. This can't be undone.")?;
        let gone = client.delete(&format!("/v1/sessions/{id}")).await?;
        match as_json {
            true => out::json(&gone),
            false => say::success(&format!("Session {} deleted", self.session)),
        }
        Ok(Exit::Success)
    }
}

fn done(session: &Value, as_json: bool, what: &str) -> Result<Exit> {
    if as_json {
        out::json(session);
        return Ok(Exit::Success);
    }
    let session = Session::read(session)?;
    let status = session.tenure.cli_status.name().to_uppercase();
    say::success(&format!("Session {} {what} (status: {status})", session.short_id()));
    Ok(Exit::Success)
}

/// Has a person say yes to what can't be undone. Without a person, `--yes` has to say it.
fn confirm(yes: bool, what: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(advised(what, "say --yes to do it without being asked"));
    }
    say::text(&format!("{what} Go on? (y/N) "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("can't read the answer")?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(anyhow::anyhow!("Cancelled.")),
    }
}
