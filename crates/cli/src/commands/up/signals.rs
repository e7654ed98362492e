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

/// Watches for SIGINT and SIGTERM, and for SIGHUP, which a closing terminal sends to what runs in it. A server in the
/// background has no terminal, and one that was started with `nohup` was told not to care.
pub(super) fn watch(dir: &DataDir, background: bool) -> Result<Signals> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't watch for SIGTERM")?;
    let ends_on_hangup = !background && !is_hangup_ignored();
    let mut hangup = signal(SignalKind::hangup()).context("can't watch for SIGHUP")?;
    let stop = CancellationToken::new();
    let (stopping, file) = (stop.clone(), dir.server_file());
    tokio::spawn(async move {
        let mut next = async || {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return Exit::Interrupted,
                    _ = terminate.recv() => return Exit::Terminated,
                    _ = hangup.recv() => if ends_on_hangup { return Exit::HungUp },
                }
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

/// Whether whoever started this process had it ignore SIGHUP (proc(5): `SigIgn` is a mask in hexadecimal digits).
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}
