//! `tenure backup`: a copy of everything, with or without a running server.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;
use tenure_sandbox::native::as_owner_of_files;

use super::block_on;
use crate::backup::{Manifest, Plan, stoppable, take};
use crate::cli::Shared;
use crate::failure::Exit;
use crate::local::DataDir;
use crate::settings::{Flags, Settings};
use crate::terminal::{bytes, out, plain, say};

/// Back up sessions, files, configuration and keys to a new folder, with or without a running server
///
/// The backup is of one moment, is read back before it gets its name, and can be checked later with `sha256sum -c
/// files.sha256`. It holds secrets: the key that seals the keys of model servers (master.key) and the first API key
/// (root.key), each readable for its owner alone. A master key that comes by TENURE_MASTER_KEY isn't in it: keep that apart.
#[derive(Debug, clap::Args)]
pub(crate) struct Backup {
    /// The folder to make
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// Make a backup of what is left when something is damaged already
    #[arg(long)]
    despite_damage: bool,
}

impl Backup {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let from = DataDir::at(shared.data_dir.as_deref())?;
        as_owner_of_files(&from.sandbox())?;
        let to = std::path::absolute(&self.to).with_context(|| format!("can't tell where {} is", self.to.display()))?;
        let master_key = Settings::load(&Flags::default(), from.path())?.master_key()?;
        let plan = Plan { from, to: to.clone(), master_key, despite_damage: self.despite_damage };
        let manifest = match block_on(stoppable(move |stop| take(&plan, &stop)))? {
            Ok(manifest) => manifest,
            Err(exit) => {
                say::failure("broken off; no backup was made");
                return Ok(exit);
            }
        };
        match shared.json {
            true => out::json(&json!({"backup": to, "manifest": manifest})),
            false => out::line(&plain(&summary(&to.display().to_string(), &manifest))),
        }
        if !manifest.master_key {
            say::warning("the master key isn't in the backup: keep what TENURE_MASTER_KEY says");
        }
        Ok(Exit::Success)
    }
}

fn summary(to: &str, manifest: &Manifest) -> String {
    let Manifest { sessions, facts, blobs, sessions_with_files, layers, changed_files, missing_blobs, damaged, .. } =
        manifest;
    let mut summary = format!(
        "{to}: {sessions} sessions with {facts} facts and {blobs} blobs, files of {sessions_with_files} sessions, {layers} layers, {}",
        bytes(manifest.bytes)
    );
    if *changed_files > 0 {
        summary.push_str(&format!("; {changed_files} files changed while they were read"));
    }
    let lacking = missing_blobs.len() as u64 + damaged;
    if lacking > 0 {
        summary.push_str(&format!("; {lacking} things were damaged already"));
    }
    summary
}
