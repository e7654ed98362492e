//! What a session's sandbox may use, and what it uses.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::client::{Client, session_id};
use crate::failure::Exit;
use crate::terminal::{Table, out};

/// Show what a session's sandbox uses and may use, or change its limits, also while it works
///
/// Without an option it shows them. A limit of `default` is the operator's again.
#[derive(Debug, clap::Args)]
pub(crate) struct Limits {
    /// The session's id, or its first digits
    session: String,
    /// Memory: 512MiB, 2GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<Limit>,
    /// Processors: 0.5, 2
    #[arg(long, value_name = "NUMBER", value_parser = processors)]
    cpu: Option<Limit>,
    /// Processes and threads
    #[arg(long, value_name = "NUMBER", value_parser = count)]
    pids: Option<Limit>,
    /// Bytes on the disk: 500MiB, 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<Limit>,
    /// Files and directories on the disk
    #[arg(long, value_name = "NUMBER", value_parser = count)]
    inodes: Option<Limit>,
    /// Files that one process has open
    #[arg(long, value_name = "NUMBER", value_parser = count)]
    open_files: Option<Limit>,
}

/// A new limit; `None` is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u64>);

impl Limits {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let path = format!("/v1/sessions/{}", session_id(client, &self.session).await?);
        let given = [
            ("memory_bytes", self.memory),
            ("cpu_millis", self.cpu),
            ("pids", self.pids),
            ("disk_bytes", self.disk),
            ("inodes", self.inodes),
            ("open_files", self.open_files),
        ];
        let change: Map<String, Value> =
            given.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!(limit?.0)))).collect();
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
        for (title, name, shown) in ROWS {
            // Of a sandbox that isn't alive, what is set is known.
            let in_force = if stats["limits"].is_null() { &set } else { &stats["limits"] };
            let used =
                if name == "cpu_millis" { stats["cpu_ms"].as_u64().map(spent) } else { shown_of(&stats, name, shown) };
            let limit = shown_of(in_force, name, shown).unwrap_or_else(|| "default".to_owned());
            table.row([title.to_owned(), used.unwrap_or_default(), limit]);
        }
        table.print();
        Ok(Exit::Success)
    }
}

/// How an amount is written.
type Shown = fn(u64) -> String;

const ROWS: [(&str, &str, Shown); 6] = [
    ("Memory", "memory_bytes", bytes),
    ("Processors", "cpu_millis", |millis| format!("{}.{:03}", millis / 1_000, millis % 1_000)),
    ("Processes", "pids", |count| count.to_string()),
    ("Disk", "disk_bytes", bytes),
    ("Files", "inodes", |count| count.to_string()),
    ("Open files", "open_files", |count| count.to_string()),
];

fn shown_of(values: &Value, name: &str, shown: Shown) -> Option<String> {
    values[name].as_u64().map(shown)
}

fn spent(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// In the largest unit of which there is one, with one digit after the point.
fn bytes(bytes: u64) -> String {
    match UNITS.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) if bytes.is_multiple_of(unit) => format!("{} {name}", bytes / unit),
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

fn size(text: &str) -> Result<Limit, String> {
    let wrong = || format!("expected a size such as 512MiB, 2GiB or 1000000, or `default`, got `{text}`");
    if text == "default" {
        return Ok(Limit(None));
    }
    let unit = UNITS.into_iter().find_map(|(name, unit)| {
        let short = &name[..1];
        let number = text.strip_suffix(name).or_else(|| text.strip_suffix(short))?;
        Some((number.trim_end(), unit))
    });
    let (number, unit) = unit.unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).map(|bytes| Limit(Some(bytes))).ok_or_else(wrong)
}

fn processors(text: &str) -> Result<Limit, String> {
    let wrong = || format!("expected a number of processors such as 0.5 or 2, or `default`, got `{text}`");
    if text == "default" {
        return Ok(Limit(None));
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 6 || part.len() > 3 {
        return Err(wrong());
    }
    format!("{whole}{part:0<3}").parse().map(|millis| Limit(Some(millis))).map_err(|_| wrong())
}

fn count(text: &str) -> Result<Limit, String> {
    match text {
        "default" => Ok(Limit(None)),
        _ => text
            .parse()
            .map(|count| Limit(Some(count)))
            .map_err(|_| format!("expected a whole number or `default`, got `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Limit, bytes, count, processors, size};

    #[test]
    fn limits_are_written_as_people_write_them() {
        let limit = |number| Ok(Limit(Some(number)));
        assert_eq!(size("512MiB"), limit(512 << 20));
        assert_eq!(size("2G"), limit(2 << 30));
        assert_eq!(size("1000"), limit(1000));
        assert_eq!(size("default"), Ok(Limit(None)));
        assert_eq!(processors("0.5"), limit(500));
        assert_eq!(processors("2"), limit(2_000));
        assert_eq!(count("100"), limit(100));
        for wrong in ["", "-1", "1.5GiB", "GiB", "99999999999999T", "much"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", ".5", "1.", "0.0001", "-1"] {
            assert!(processors(wrong).is_err(), "{wrong}");
        }
        assert_eq!([bytes(512 << 20), bytes(1_500_000), bytes(7)], ["512 MiB", "1.4 MiB", "7 B"]);
    }
}
