//! Keeping the write-ahead log small.
//!
//! SQLite begins the log anew only when all of it is in the database and nobody reads from it. Readers of this process
//! are short, but so many that one always reads: so they wait at a gate for as long as that takes. A reader of another
//! process (a backup) is not waited for: the log grows while it reads, and writing goes on.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::writer::BUSY_TIMEOUT;
use crate::failpoint;

/// A checkpoint is tried when the log has this many pages of 4 KiB.
const CHECKPOINT_PAGES: i32 = 2_000;

/// When one didn't empty it, the next is tried after so many pages more.
const NEXT_PAGES: i32 = 1_000;

/// How long writing waits for the readers of this process, and how long when the log is much too long.
const READERS: Duration = Duration::from_millis(50);
const SLOW_READERS: Duration = Duration::from_secs(2);
const LONG_PAGES: i32 = 8_000;

/// A page with what the log says about it.
const FRAME_BYTES: f64 = 4_120.0;

/// A log of more bytes is emptied when there is nothing to do.
const IDLE_BYTES: u64 = 1024 * 1024;

thread_local! {
    /// The pages in the log after this thread's last commit.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Watches the log from the writer's thread.
pub(super) struct Wal {
    path: PathBuf,
    gate: Arc<Gate>,
    /// From how many pages on a checkpoint is tried.
    next: i32,
}

impl Wal {
    /// Of the database at this path. To be called on the writer's thread.
    pub(super) fn watch(db: &Connection, path: &Path, gate: Arc<Gate>) -> Self {
        db.wal_hook(Some(|_, pages| {
            PAGES.set(pages);
            Ok(())
        }));
        let mut name = path.as_os_str().to_owned();
        name.push("-wal");
        Self { path: name.into(), gate, next: CHECKPOINT_PAGES }
    }

    /// Moves the log into the database when it has grown, while nobody waits for a commit.
    pub(super) fn after_commit(&mut self, db: &Connection) {
        let pages = PAGES.get();
        if pages < self.next {
            return;
        }
        failpoint::reach("checkpoint");
        // Most of the work, beside readers; the rest and the new beginning without them.
        checkpoint(db, "PASSIVE");
        let patience = if pages < LONG_PAGES { READERS } else { SLOW_READERS };
        let emptied = self.gate.closed(patience, || checkpoint(db, "RESTART"));
        if emptied {
            PAGES.set(0);
        }
        self.next = if emptied { CHECKPOINT_PAGES } else { pages.saturating_add(NEXT_PAGES) };
    }

    /// Gives its space back while there is nothing to do.
    pub(super) fn when_idle(&mut self, db: &Connection) {
        if self.bytes() > IDLE_BYTES && self.gate.closed(READERS, || checkpoint(db, "TRUNCATE")) {
            PAGES.set(0);
            self.next = CHECKPOINT_PAGES;
        }
    }

    /// The bytes in use after the last commit; its file, which is used again, may be longer.
    pub(super) fn bytes_used() -> f64 {
        f64::from(PAGES.get()) * FRAME_BYTES
    }

    /// The size of its file.
    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }
}

/// Whether all of the log could be moved, and what was asked for beyond that could be done at once.
fn checkpoint(db: &Connection, how: &str) -> bool {
    // Waiting is the gate's.
    let _ = db.busy_timeout(Duration::ZERO);
    let outcome = db.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
    });
    let _ = db.busy_timeout(BUSY_TIMEOUT);
    match outcome {
        Ok((busy, pages, moved)) => busy == 0 && moved >= pages,
        Err(error) => {
            tracing::debug!(%error, "a checkpoint failed");
            false
        }
    }
}

/// What readers pass, and wait at while the log begins anew.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<Passing>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Passing {
    readers: usize,
    closed: bool,
}

impl Gate {
    /// Reads, after waiting while the gate is closed. Blocks.
    pub(super) fn pass<T>(&self, read: impl FnOnce() -> T) -> T {
        let open = self.changed.wait_while(self.lock(), |passing| passing.closed);
        open.unwrap_or_else(PoisonError::into_inner).readers += 1;
        let _passed = Passed(self);
        read()
    }

    /// Does something while nobody reads, or, when somebody reads for too long, while nobody begins to.
    fn closed<T>(&self, patience: Duration, alone: impl FnOnce() -> T) -> T {
        let mut passing = self.lock();
        passing.closed = true;
        let waited = self.changed.wait_timeout_while(passing, patience, |passing| passing.readers > 0);
        drop(waited);
        let done = alone();
        self.lock().closed = false;
        self.changed.notify_all();
        done
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Passing> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader at work.
struct Passed<'a>(&'a Gate);

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        self.0.lock().readers -= 1;
        self.0.changed.notify_all();
    }
}
