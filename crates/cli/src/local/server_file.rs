//! `server.json`: where the server of a data directory is found. It is there exactly while the server takes requests,
//! unless the server was killed.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// Its process.
    pub(crate) pid: u32,
    /// Where it listens.
    pub(crate) url: String,
    /// Its version.
    pub(crate) version: String,
    /// How long each part of its end may take when it is told to stop.
    #[serde(default)]
    pub(crate) shutdown_grace_ms: Option<u64>,
}

impl ServerFile {
    /// What the file says; `None` if there is none, or it is none that this version reads.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }
}
