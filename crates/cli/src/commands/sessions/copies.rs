//! Forking, cloning and rewinding sessions, and snapshots of their files.

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::client::{Client, Session, session_id};
use crate::failure::Exit;
use crate::terminal::{Table, ago, out, say};

/// Make a session that begins with another's conversation and files, as they were at a turn's end
#[derive(Debug, clap::Args)]
pub(crate) struct Fork {
    /// The session's id, or its first digits
    session: String,
    /// Where they part: a place in the log, an event's id, or a snapshot's name or id. Default: the last turn's end
    #[arg(long, value_name = "PLACE")]
    at: Option<String>,
    /// The new session's title
    #[arg(long)]
    title: Option<String>,
    /// Take the conversation alone
    #[arg(long)]
    no_files: bool,
}

impl Fork {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let mut body = Map::new();
        body.extend(self.at.map(|at| ("at".to_owned(), place(at))));
        body.extend(self.title.map(|title| ("title".to_owned(), json!(title))));
        body.insert("files".to_owned(), json!(!self.no_files));
        let made = client.post(&format!("/v1/sessions/{id}/fork"), &Value::Object(body)).await?;
        show(&made, as_json, "forked")
    }
}

/// Make a session that is set up like another, without what was said in it
#[derive(Debug, clap::Args)]
pub(crate) struct Clone {
    /// The session's id, or its first digits
    session: String,
    /// The new session's title
    #[arg(long)]
    title: Option<String>,
    /// Begin with the other's files
    #[arg(long)]
    files: bool,
}

impl Clone {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let mut body = Map::new();
        body.extend(self.title.map(|title| ("title".to_owned(), json!(title))));
        body.insert("files".to_owned(), json!(self.files));
        let made = client.post(&format!("/v1/sessions/{id}/clone"), &Value::Object(body)).await?;
        show(&made, as_json, "cloned")
    }
}

/// Go back to an earlier place of a session: its conversation and its files become what they were there
#[derive(Debug, clap::Args)]
pub(crate) struct Rewind {
    /// The session's id, or its first digits
    session: String,
    /// Where to: a place in the log, an event's id, or a snapshot's name or id
    to: String,
}

impl Rewind {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let session = client.post(&format!("/v1/sessions/{id}/rewind"), &json!({"to": place(self.to)})).await?;
        if as_json {
            out::json(&session);
            return Ok(Exit::Success);
        }
        say::success(&format!("Session {} rewound", Session::read(&session)?.short_id()));
        Ok(Exit::Success)
    }
}

/// List the snapshots of a session's files; keep one under a name, or delete one
#[derive(Debug, clap::Args)]
pub(crate) struct Snapshots {
    /// The session's id, or its first digits
    session: String,
    /// Keep the files as they are now under this name
    #[arg(long, value_name = "NAME", conflicts_with = "delete")]
    take: Option<String>,
    /// Delete the snapshot of this name or id
    #[arg(long, value_name = "NAME")]
    delete: Option<String>,
}

impl Snapshots {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let path = format!("/v1/sessions/{id}/snapshots");
        let (done, said) = match (self.take, self.delete) {
            (Some(name), _) => {
                (client.post_patiently(&path, &json!({"name": name})).await?, format!("Snapshot {name} taken"))
            }
            (None, Some(name)) => (client.delete(&format!("{path}/{name}")).await?, format!("Snapshot {name} deleted")),
            (None, None) => return list(&client.get(&path, &[]).await?, as_json),
        };
        match as_json {
            true => out::json(&done),
            false => say::success(&said),
        }
        Ok(Exit::Success)
    }
}

fn list(found: &Value, as_json: bool) -> Result<Exit> {
    if as_json {
        out::json(&json!({ "snapshots": found["data"] }));
        return Ok(Exit::Success);
    }
    let snapshots = found["data"].as_array().map_or(&[][..], Vec::as_slice);
    if snapshots.is_empty() {
        say::line("No snapshots.");
        return Ok(Exit::Success);
    }
    let now = Timestamp::now();
    let mut table = Table::new(&["Place", "Name", "Taken", "ID"]);
    for snapshot in snapshots {
        let text = |name: &str| snapshot[name].as_str().unwrap_or("-").to_owned();
        let taken = text("created_at").parse::<Timestamp>().map_or_else(|_| text("created_at"), |at| ago(at, now));
        table.row([snapshot["at"].to_string(), text("name"), taken, text("id")]);
    }
    table.print();
    Ok(Exit::Success)
}

/// A number is a place in the log; anything else is said as it is.
fn place(typed: String) -> Value {
    typed.parse::<u64>().map_or_else(|_| typed.into(), Value::from)
}

fn show(made: &Value, as_json: bool, what: &str) -> Result<Exit> {
    if as_json {
        out::json(made);
        return Ok(Exit::Success);
    }
    let session = Session::read(made)?;
    out::line(&session.short_id());
    say::success(&format!("Session {what}: {}", session.short_id()));
    Ok(Exit::Success)
}
