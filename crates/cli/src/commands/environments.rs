//! `tenure environments`.

use anyhow::Result;
use serde_json::{Value, json};

use super::block_on;
use crate::cli::Shared;
use crate::client::{Client, Target};
use crate::failure::Exit;
use crate::terminal::{Table, out};

/// List environments: how sandboxes are made
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Environments {
    /// List environments, the newest first
    List,
}

impl Environments {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let Self::List = self;
        let client = Client::new(Target::find(shared)?)?;
        let list = client.list("/v1/environments", &[("limit", "100")], usize::MAX, |_| true);
        let environments = block_on(list)?;
        if shared.json {
            out::json(&json!({ "environments": environments }));
            return Ok(Exit::Success);
        }
        let mut table = Table::new(&["Environment", "Description", "Limits", "ID"]);
        for environment in &environments {
            let text = |field: &str| environment[field].as_str().unwrap_or_default().to_owned();
            table.row([text("name"), text("description"), limits(&environment["config"]["limits"]), text("id")]);
        }
        table.print();
        Ok(Exit::Success)
    }
}

fn limits(limits: &Value) -> String {
    let named = [
        ("memory_bytes", "memory"),
        ("cpu_millis", "cpu millis"),
        ("pids", "processes"),
        ("disk_bytes", "disk"),
        ("inodes", "files"),
        ("open_files", "open files"),
        ("call_ms", "call ms"),
        ("output_bytes", "output"),
    ];
    let set = named.iter().filter_map(|(field, name)| Some(format!("{name} {}", limits[field].as_u64()?)));
    let set: Vec<_> = set.collect();
    if set.is_empty() { "default".to_owned() } else { set.join(", ") }
}
