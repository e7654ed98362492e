//! Signals: the first stops the server, the second ends it at once.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Exit;
use crate::local::DataDir;

/// What signals set off.
#[derive(Debug)]
pub(super) struct Signals {
    /// Cancelled by the first signal.
    pub(super) stop: CancellationToken,
}

pub(super) fn watch(dir: &DataDir) -> Result<Signals> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
    let stop = CancellationToken::new();
    let (stopping, file) = (stop.clone(), dir.server_file());
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
            }
        };
        let _ = next().await;
        tracing::info!("stopping: work under way finishes; a second signal ends it at once");
        stopping.cancel();
        let exit = next().await;
        let _ = std::fs::remove_file(file);
        std::process::exit(exit.code().into());
    });
    Ok(Signals { stop })
}
