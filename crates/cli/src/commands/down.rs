//! `tenure down`: everything of this machine's server.

use anyhow::{Context as _, Result};
use serde_json::json;
use tenure_sandbox::{Backend as _, Native, NativeConfig};

use super::block_on;
use crate::cli::Shared;
use crate::failure::Exit;
use crate::local::{DataDir, Stopped, stop};
use crate::terminal::{out, say};

/// Stop the local server and its sandboxes; sessions and files are kept
#[derive(Debug, clap::Args)]
pub(crate) struct Down {}

impl Down {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let dir = DataDir::at(shared.data_dir.as_deref())?;
        if !dir.exists() {
            report(shared.json, Stopped::Nothing, 0, &dir);
            return Ok(Exit::Success);
        }
        // Nobody starts another one while this one goes.
        let _nobody_starts = dir.take_start_lock()?;
        let stopped = stop(&dir)?;
        let sandboxes = block_on(async {
            let backend = Native::new(NativeConfig::new(dir.sandbox()));
            let alive = backend.alive().await.context("can't count the sandboxes")?.len();
            backend.shutdown().await.context("can't stop the sandboxes")?;
            Ok(alive)
        })?;
        report(shared.json, stopped, sandboxes, &dir);
        Ok(Exit::Success)
    }
}

fn report(json: bool, stopped: Stopped, sandboxes: usize, dir: &DataDir) {
    let (pid, killed) = match stopped {
        Stopped::Gracefully { pid } => (Some(pid), false),
        Stopped::Killed { pid } => (Some(pid), true),
        Stopped::Nothing => (None, false),
    };
    if json {
        out::json(&json!({"server": pid, "killed": killed, "sandboxes": sandboxes}));
        return;
    }
    let count = match sandboxes {
        0 => String::new(),
        1 => " and 1 sandbox".to_owned(),
        count => format!(" and {count} sandboxes"),
    };
    match (pid, killed) {
        (Some(pid), false) => say::success(&format!("Stopped the server (pid {pid}){count}.")),
        (Some(pid), true) => {
            say::warning(&format!("Killed the server (pid {pid}), which didn't end by itself{count}."))
        }
        (None, _) if sandboxes > 0 => say::success(&format!("No server ran; stopped{}.", &count[" and".len()..])),
        (None, _) => say::line(&format!("No server runs for {}.", dir.path().display())),
    }
}
