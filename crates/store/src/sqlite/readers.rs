//! Reading: a few read-only connections, each used by one blocking task at a time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::wal::Gate;
use super::{During as _, database};
use crate::error::Error;
use std::sync::Arc;

/// Reads are short; more connections than this only compete for the processors.
const CONNECTIONS: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    free: Semaphore,
    gate: Arc<Gate>,
}

impl Readers {
    /// Opens one connection, so that a database that can't be read is noticed now; others follow on demand.
    pub(super) fn open(path: &Path, gate: Arc<Gate>) -> Result<Self, Error> {
        let first = database::open_readable(path)?;
        let idle = Mutex::new(vec![first]);
        Ok(Self { path: path.to_owned(), idle, free: Semaphore::new(CONNECTIONS), gate })
    }

    /// Reads as of one moment.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let gate = Arc::clone(&self.gate);
        self.read_each(move |connection| gate.pass(|| consistently(connection, read))).await
    }

    /// Reads with each statement as of its own moment: for work that takes long, or must see what was just written.
    pub(super) async fn read_each<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _turn = self.free.acquire().await.during("waiting to read")?;
        let readers = Arc::clone(self);
        let reading = move || {
            let connection = readers.take()?;
            let result = read(&connection);
            readers.lock().push(connection);
            result
        };
        tokio::task::spawn_blocking(reading).await.during("reading")?
    }

    fn take(&self) -> Result<Connection, Error> {
        let idle = self.lock().pop();
        idle.map_or_else(|| database::open_readable(&self.path), Ok)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One transaction, so that several statements see the same facts.
fn consistently<T>(connection: &Connection, read: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
    let transaction = connection.unchecked_transaction().during("beginning to read")?;
    let result = read(&transaction);
    drop(transaction);
    result
}
