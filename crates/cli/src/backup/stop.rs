//! Long work that a person may break off, and that then clears up behind itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Exit;

/// The order to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// An error once the order came.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("it was broken off");
        }
        Ok(())
    }

    /// The flag that is set then.
    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }
}

/// Does work that blocks, on a thread for it. SIGINT, SIGTERM and SIGHUP order it to stop; when it has, the inner `Err` says
/// how the command ends.
pub(crate) async fn stoppable<T: Send + 'static>(
    work: impl FnOnce(Stop) -> Result<T> + Send + 'static,
) -> Result<Result<T, Exit>> {
    let listen = |kind| signal(kind).context("can't listen for signals");
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    let stop = Stop::default();
    let ordered = stop.clone();
    let mut working = tokio::task::spawn_blocking(move || work(ordered));
    let mut exit = None;
    let done = loop {
        tokio::select! {
            done = &mut working => break done.context("it panicked")?,
            _ = interrupt.recv() => exit = Some(Exit::Interrupted),
            _ = terminate.recv() => exit = Some(Exit::Terminated),
            _ = hang_up.recv() => exit = Some(Exit::Terminated),
        }
        stop.0.store(true, Ordering::Relaxed);
    };
    match (done, exit) {
        (Ok(done), _) => Ok(Ok(done)),
        (Err(_), Some(exit)) => Ok(Err(exit)),
        (Err(error), None) => Err(error),
    }
}
