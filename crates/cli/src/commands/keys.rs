//! `tenure keys`.

use anyhow::Result;
use serde_json::{Value, json};

use super::block_on;
use crate::cli::Shared;
use crate::client::{ApiError, Client, Target};
use crate::failure::{Exit, advised};
use crate::terminal::{Table, out, say};

/// List, create and revoke API keys
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// List keys, without their secrets
    List,
    /// Create a key; its secret is printed once, alone on standard output
    Create {
        /// What it is for
        name: String,
    },
    /// Revoke a key: it is refused from now on
    Revoke {
        /// The key's id, as `tenure keys list` shows it
        key: String,
    },
}

impl Keys {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let client = Client::new(Target::find(shared)?)?;
        block_on(async {
            match self {
                Self::List => list(&client, shared.json).await,
                Self::Create { name } => create(&client, &name, shared.json).await,
                Self::Revoke { key } => revoke(&client, &key, shared.json).await,
            }
        })
    }
}

async fn list(client: &Client, as_json: bool) -> Result<Exit> {
    let keys = client.list("/v1/keys", &[], usize::MAX, |_| true).await?;
    if as_json {
        out::json(&json!({ "keys": keys }));
        return Ok(Exit::Success);
    }
    if keys.is_empty() {
        say::line("No keys besides the root key.");
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["ID", "Name", "Begins with", "Created", "Revoked"]);
    for key in &keys {
        let text = |field: &str| key[field].as_str().unwrap_or_default();
        table.row([text("id"), text("name"), text("hint"), &day(&key["created_at"]), &day(&key["revoked_at"])]);
    }
    table.print();
    Ok(Exit::Success)
}

async fn create(client: &Client, name: &str, as_json: bool) -> Result<Exit> {
    let key = client.post_once("/v1/keys", &json!({ "name": name })).await?;
    if as_json {
        out::json(&key);
        return Ok(Exit::Success);
    }
    let secret = key["key"].as_str().ok_or_else(|| ApiError::Odd("a key without its secret".to_owned()))?;
    say::success(&format!("Key {} created. It is shown only now:", key["id"].as_str().unwrap_or_default()));
    out::line(secret);
    Ok(Exit::Success)
}

async fn revoke(client: &Client, key: &str, as_json: bool) -> Result<Exit> {
    let revoked = client.delete(&format!("/v1/keys/{key}")).await.map_err(|error| {
        let unknown = error.downcast_ref().is_some_and(ApiError::is_not_found);
        if unknown { advised(format!("No key '{key}'"), "`tenure keys list` shows your keys") } else { error }
    })?;
    match as_json {
        true => out::json(&revoked),
        false => say::success(&format!("Key {key} revoked")),
    }
    Ok(Exit::Success)
}

fn day(at: &Value) -> String {
    at.as_str().unwrap_or_default().chars().take(10).collect()
}
