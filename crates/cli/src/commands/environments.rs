//! `tenure environments`.

use anyhow::Result;
use serde_json::json;

use super::block_on;
use crate::cli::Shared;
use crate::client::{Client, Target};
use crate::failure::Exit;
use crate::limits::in_a_line;
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
            table.row([text("name"), text("description"), in_a_line(&environment["config"]["limits"]), text("id")]);
        }
        table.print();
        Ok(Exit::Success)
    }
}
