//! `tenure status`: whether a server runs, and how it is.

use anyhow::Result;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::block_on;
use crate::cli::Shared;
use crate::client::{Client, Target};
use crate::failure::Exit;
use crate::local::{DataDir, Served};
use crate::terminal::{out, plain};

/// Show whether the server runs, and how it is; exit code 1 if it doesn't
#[derive(Debug, clap::Args)]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let elsewhere = std::env::var_os("TENURE_URL").is_some_and(|url| !url.is_empty());
        let dir = DataDir::at(shared.data_dir.as_deref())?;
        let served = if elsewhere { None } else { Some(dir.served()?) };
        let (target, pid) = match &served {
            None => (Target::find(shared)?, None),
            Some(Served::Ready(server)) => (Target::find(shared)?, Some(server.pid)),
            Some(Served::Changing { pid }) => return Ok(not_ready(shared, &dir, Some(*pid))),
            Some(Served::Nobody { .. }) => return Ok(not_ready(shared, &dir, None)),
        };
        let url = target.url.to_string();
        let client = Client::new(target)?;
        let status = block_on(client.get("/v1/tenure/status", &[]))?;
        print(shared, &status, url.trim_end_matches('/'), pid, &dir);
        Ok(Exit::Success)
    }
}

fn not_ready(shared: &Shared, dir: &DataDir, pid: Option<u32>) -> Exit {
    if shared.json {
        out::json(&json!({"running": pid.is_some(), "ready": false, "pid": pid, "data_dir": dir.path()}));
    } else {
        let state = match pid {
            Some(pid) => format!("starting or stopping (pid {pid})"),
            None => "not running".to_owned(),
        };
        rows(&[("Server", state), ("Data", dir.path().display().to_string())]);
    }
    Exit::Failure
}

fn print(shared: &Shared, status: &Value, url: &str, pid: Option<u32>, dir: &DataDir) {
    if shared.json {
        let mut status = status.clone();
        status["url"] = json!(url);
        if let Some(pid) = pid {
            status["running"] = json!(true);
            status["pid"] = json!(pid);
            status["data_dir"] = json!(dir.path());
        }
        return out::json(&status);
    }
    let word = |name: &str| plain(status[name].as_str().unwrap_or("?"));
    let count = |name: &str| status[name].as_u64().map_or_else(|| "?".to_owned(), |count| count.to_string());
    let up = SignedDuration::from_secs(status["uptime_seconds"].as_i64().unwrap_or(0));
    let mut lines = vec![("Server", format!("running at {url}"))];
    if let Some(pid) = pid {
        lines.push(("Process", format!("{pid}, for {up:#}")));
        lines.push(("Data", dir.path().display().to_string()));
    }
    for reason in status["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push(("Degraded", plain(reason)));
    }
    lines.push(("Version", word("version")));
    lines.push(("Model", word("default_model")));
    lines.push(("Sessions awake", count("awake_sessions")));
    let sandboxes = room(&status["sandbox_room"]).unwrap_or_else(|| count("sandboxes"));
    lines.push(("Sandboxes", format!("{sandboxes} ({})", word("sandbox_backend"))));
    if let Some(requests) = room(&status["model_requests"]) {
        lines.push(("Model requests", requests));
    }
    rows(&lines);
}

/// How much there is of something, and who waits for it; `None` from a server that doesn't say.
fn room(room: &Value) -> Option<String> {
    let count = |name: &str| room[name].as_u64();
    let (in_use, limit, waiting) = (count("in_use")?, count("limit")?, count("waiting")?);
    let waiting = match count("oldest_wait_seconds").map(|wait| SignedDuration::from_secs(wait as i64)) {
        Some(oldest) if waiting > 0 => format!("; {waiting} waiting, for up to {oldest:#}"),
        Some(_) | None => String::new(),
    };
    Some(format!("{in_use} of {limit}{waiting}"))
}

fn rows(lines: &[(&str, String)]) {
    for (name, value) in lines {
        out::line(&format!("{:<16}{value}", format!("{name}:")));
    }
}
