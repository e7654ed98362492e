//! One SQLite database and a folder of blobs.
//!
//! All writes go through one thread, which commits many together; reads go over a few read-only connections. A write
//! that was answered is on the disk.

mod append;
mod backup;
mod blobs;
mod check;
mod checksum;
mod database;
mod facts;
mod fork;
mod labels;
mod list;
mod mark;
mod readers;
mod resources;
mod restore;
mod schema;
mod sessions;
mod settings;
mod trouble;
mod wal;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;

use crate::error::Error;
use crate::seal::MasterKey;
use crate::tails::Hub;
use blobs::BlobFiles;
use mark::Mark;
use readers::Readers;
use wal::Gate;
use writer::Writer;

pub use backup::{CopiedDatabase, SessionIds, copy_database, each_named_blob};
pub use blobs::SweepLock;
pub use check::{CheckOptions, check, repair};
pub use restore::begin_generation;

/// Where the data is.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The folder; made if it isn't there. Only one process may have it open: that is for the server to see to.
    pub dir: PathBuf,
    /// The key that seals secrets; `None` is the one in `master.key` of the folder, made on first use.
    pub master_key: Option<MasterKey>,
}

/// A store in a folder.
pub struct SqliteStore {
    // In the order in which they are closed; the writer's connection is the last, and empties the write-ahead log.
    tails: ClosingHub,
    readers: Arc<Readers>,
    blobs: Arc<BlobFiles>,
    key: MasterKey,
    generation: u64,
    /// The newest fork of earlier processes.
    last_fork: i64,
    writer: Writer,
}

impl SqliteStore {
    /// Opens the store of a folder, and brings its schema up to date. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::Unreadable`] when a newer version of Tenure wrote it, or its secrets need another master key.
    pub fn open(options: SqliteOptions) -> Result<Self, Error> {
        let SqliteOptions { dir, master_key } = options;
        let path = dir.join("tenure.db");
        // Before anything is changed: what shows what happened stays as it is.
        if let Ok(connection) = database::open_readable(&path) {
            mark::check(&dir, &connection)?;
        }
        let blobs = BlobFiles::open(dir.join("blobs"))?;
        let mut connection = database::open_writable(&path)?;
        schema::bring_up_to_date(&mut connection, &path)?;
        let key = database::master_key(&connection, &dir, master_key)?;
        let generation = database::generation(&connection)?;
        let last_fork = fork::last_fork(&connection)?;
        let hub = Arc::new(Hub::default());
        let gate = Arc::new(Gate::default());
        let mark = Mark::open(&dir, &connection)?;
        Ok(Self {
            readers: Arc::new(Readers::open(&path, Arc::clone(&gate))?),
            writer: Writer::start(connection, &path, mark, gate, Arc::clone(&hub))?,
            tails: ClosingHub(hub),
            blobs: Arc::new(blobs),
            key,
            generation,
            last_fork,
        })
    }

    /// Reads on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(read).await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

/// Followers outlive the store; when it closes, they are told.
struct ClosingHub(Arc<Hub>);

impl Drop for ClosingHub {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Says what was being done when the database failed.
trait During<T> {
    fn during(self, operation: &str) -> Result<T, Error>;
}

impl<T, E: std::error::Error + Send + Sync + 'static> During<T> for Result<T, E> {
    fn during(self, operation: &str) -> Result<T, Error> {
        self.map_err(|error| match trouble::reason(operation, &error) {
            Some(reason) => Error::Unavailable { reason },
            None => Error::internal(operation, error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{SqliteOptions, SqliteStore};
    use crate::error::Error;
    use crate::settings::Settings as _;

    #[tokio::test]
    async fn a_panic_fails_its_own_write_and_no_later_one() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(SqliteOptions { dir: dir.path().to_owned(), master_key: None }).expect("opened");
        for _ in 0..3 {
            let panicked = store.writer.write::<(), Error>(|db| {
                db.execute("INSERT INTO settings (name, value) VALUES ('half', 'done')", []).expect("inserted");
                panic!("on purpose")
            });
            assert!(matches!(panicked.await, Err(Error::Internal { .. })));
            store.put_setting("after".to_owned(), Some("fine".to_owned())).await.expect("written");
        }
        assert_eq!(store.setting("half".to_owned()).await.expect("read"), None);
        assert_eq!(store.setting("after".to_owned()).await.expect("read").as_deref(), Some("fine"));
    }
}
