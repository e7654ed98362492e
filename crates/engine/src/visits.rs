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
    // Noted before it is over, so that at no time between the two the session is taken for idle.
    _noting: Option<Noting>,
    _using: Option<Place>,
    _here: Place,
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

    /// It is there to change files, or to run something: the session isn't idle meanwhile. When it is over, the session is told that its
    /// files may have changed, once more: a snapshot that was taken meanwhile lacks what was written after it.
    pub(crate) fn noted(self, directory: Directory, session: SessionId) -> Self {
        let using = Place::taken(&self._here.visitors, Visitors::using);
        Self { _noting: Some(Noting { directory, session }), _using: Some(using), ..self }
    }
}

/// Those who visit one sandbox.
#[derive(Debug, Default)]
pub(crate) struct Visitors {
    here: AtomicUsize,
    /// Those of them who don't only look.
    using: AtomicUsize,
    left: Notify,
}

impl Visitors {
    pub(crate) fn welcome(self: &Arc<Self>, sandbox: Arc<dyn Sandbox>) -> Visit {
        Visit { sandbox, _noting: None, _using: None, _here: Place::taken(self, Self::here) }
    }

    pub(crate) fn any(&self) -> bool {
        self.here().load(Ordering::SeqCst) > 0
    }

    /// Whether somebody changes files, or runs something.
    pub(crate) fn any_using(&self) -> bool {
        self.using().load(Ordering::SeqCst) > 0
    }

    /// Waits until nobody has been here for as long as one is to be kept then.
    pub(crate) async fn all_gone(&self, linger: impl Fn() -> Duration) {
        loop {
            let left = self.left.notified();
            if self.any() {
                left.await;
            } else if tokio::time::timeout(linger(), left).await.is_err() && !self.any() {
                return;
            }
        }
    }

    fn here(&self) -> &AtomicUsize {
        &self.here
    }

    fn using(&self) -> &AtomicUsize {
        &self.using
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
        self.directory.bring(self.session, NoteFiles { over: true });
    }
}

/// A place among those who are counted; it is given back when dropped.
#[derive(Debug)]
struct Place {
    visitors: Arc<Visitors>,
    among: fn(&Visitors) -> &AtomicUsize,
}

impl Place {
    fn taken(visitors: &Arc<Visitors>, among: fn(&Visitors) -> &AtomicUsize) -> Self {
        among(visitors).fetch_add(1, Ordering::SeqCst);
        Self { visitors: visitors.clone(), among }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.among)(&self.visitors).fetch_sub(1, Ordering::SeqCst);
        self.visitors.left.notify_one();
    }
}
