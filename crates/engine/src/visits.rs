//! Visits: somebody other than the session itself uses its sandbox, to look at its files or to run a command.
//!
//! If the session's sandbox is alive, that one is visited. Else one is opened without the log saying that it runs, and
//! closed a while after the last visit. A session that is started meanwhile takes it over; one that becomes idle for too long leaves it to
//! its visitors, and one that is stopped ends it under them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenure_core::command::NoteFiles;
use tenure_core::id::SessionId;
use tenure_sandbox::{Launch, Process, Sandbox};
use tokio::sync::Notify;

use crate::directory::Directory;
use crate::error::Error;

/// A visit to a session's sandbox; it lasts until it is dropped.
#[derive(Debug)]
pub struct Visit {
    sandbox: Arc<dyn Sandbox>,
    _noting: Option<Noting>,
    _place: Place,
}

impl Visit {
    /// The sandbox.
    pub fn sandbox(&self) -> &Arc<dyn Sandbox> {
        &self.sandbox
    }

    /// Starts a process in it, with which somebody talks.
    pub async fn launch(&self, launch: Launch) -> Result<Process, Error> {
        Ok(self.sandbox.launch(launch).await?)
    }

    /// When it is over, the session is told that its files may have changed, once more: a snapshot that was taken meanwhile
    /// lacks what was written after it.
    pub(crate) fn noted(self, directory: Directory, session: SessionId) -> Self {
        Self { _noting: Some(Noting { directory, session }), ..self }
    }
}

/// Those who visit one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Visitors {
    here: AtomicUsize,
    left: Notify,
}

impl Visitors {
    pub(crate) fn welcome(self: &Arc<Self>, sandbox: Arc<dyn Sandbox>) -> Visit {
        self.here.fetch_add(1, Ordering::SeqCst);
        Visit { sandbox, _noting: None, _place: Place(self.clone()) }
    }

    pub(crate) fn any(&self) -> bool {
        self.here.load(Ordering::SeqCst) > 0
    }

    /// Waits until nobody has been here for so long.
    pub(crate) async fn all_gone(&self, linger: Duration) {
        loop {
            let left = self.left.notified();
            if self.any() {
                left.await;
            } else if tokio::time::timeout(linger, left).await.is_err() && !self.any() {
                return;
            }
        }
    }
}

/// Tells a session of the end of a visit that may have changed its files.
#[derive(Debug)]
struct Noting {
    directory: Directory,
    session: SessionId,
}

impl Drop for Noting {
    fn drop(&mut self) {
        self.directory.bring(self.session, NoteFiles {});
    }
}

#[derive(Debug)]
struct Place(Arc<Visitors>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.here.fetch_sub(1, Ordering::SeqCst);
        self.0.left.notify_one();
    }
}
