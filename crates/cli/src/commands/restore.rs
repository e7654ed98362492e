//! `tenure restore`: a data directory from a backup.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;
use tenure_sandbox::native::as_owner_of_files;

use super::block_on;
use crate::backup::{Restored, put_back, stoppable};
use crate::cli::Shared;
use crate::failure::Exit;
use crate::local::DataDir;
use crate::terminal::{out, plain, say};

/// Make a data directory of a backup; it must not be there, or be empty
///
/// The whole backup is read and checked before anything is written. A new generation begins: clients that hold a cursor from
/// before are told to read the list again, since what it names may be another fact by now. Calls that were under way count as
/// interrupted. Then `tenure up` carries on.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The folder that `tenure backup` made
    backup: PathBuf,
}

impl Restore {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let dir = DataDir::at(shared.data_dir.as_deref())?;
        as_owner_of_files(&dir.sandbox())?;
        let backup = self.backup;
        let backup =
            std::path::absolute(&backup).with_context(|| format!("can't tell where {} is", backup.display()))?;
        let place = dir.clone();
        let Restored { manifest, generation } = match block_on(stoppable(move |stop| put_back(&backup, &place, &stop)))?
        {
            Ok(restored) => restored,
            Err(exit) => {
                say::failure("broken off; nothing was restored");
                return Ok(exit);
            }
        };
        match shared.json {
            true => out::json(&json!({"data_dir": dir.path(), "generation": generation, "manifest": manifest})),
            false => out::line(&plain(&format!(
                "{}: {} sessions as of {}, generation {generation}",
                dir.path().display(),
                manifest.sessions,
                manifest.made_at
            ))),
        }
        if !manifest.master_key {
            say::warning("the backup has no master key: start the server with the TENURE_MASTER_KEY it had");
        }
        Ok(Exit::Success)
    }
}
