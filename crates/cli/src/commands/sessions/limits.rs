//! What a session's sandbox may use, and what it uses.

use anyhow::Result;
use serde_json::Value;

use crate::client::{Client, session_id};
use crate::failure::Exit;
use crate::limits::{LIMITS, LimitOptions};
use crate::terminal::{Table, out};

/// Show what a session's sandbox uses and may use, or change its limits, also while it works
///
/// Without an option it shows them. A limit of `default` is the operator's again.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// The session's id, or its first digits
    session: String,
    #[command(flatten)]
    limits: LimitOptions,
}

impl Limits {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let path = format!("/v1/sessions/{}", session_id(client, &self.session).await?);
        let change = self.limits.given();
        if !change.is_empty() {
            client.post(&format!("{path}/limits"), &Value::Object(change)).await?;
        }
        let stats = client.get(&format!("{path}/stats"), &[]).await?;
        if as_json {
            out::json(&stats);
            return Ok(Exit::Success);
        }
        let set = client.get(&path, &[]).await?["tenure"]["limits"].clone();
        let mut table = Table::new(&["", "Used", "Limit"]);
        for shown in LIMITS {
            let used = if shown.field == "cpu_millis" { stats["cpu_ms"].as_u64().map(spent) } else { shown.of(&stats) };
            let limit = match (shown.of(&set), shown.of(&stats["limits"])) {
                (Some(set), _) => set,
                (None, Some(in_force)) => format!("{in_force} (default)"),
                (None, None) if stats["limits"].is_object() => shown.none(),
                (None, None) => shown.default(),
            };
            table.row([shown.title.to_owned(), used.unwrap_or_default(), limit]);
        }
        table.print();
        Ok(Exit::Success)
    }
}

fn spent(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}
