//! Blobs as files: `<first two digits>/<the other digits>`, written beside, synced and renamed.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_core::future::BoxFuture;
use rusqlite::Connection;
use tenure_core::content::BlobId;
use tenure_core::time::Timestamp;

use super::{During as _, SqliteStore, database};
use crate::blobs::{Blobs, name_of};
use crate::error::Error;
use std::sync::Arc;

/// Keeps sweeps, of any process, from removing blobs while it is held.
#[derive(Debug)]
pub struct SweepLock(#[expect(dead_code, reason = "held for the lock on it")] Option<File>);

impl SweepLock {
    /// Waits for the sweep that is under way. No folder needs no lock. Blocks.
    ///
    /// # Errors
    ///
    /// When the folder can't be opened or locked.
    pub fn keep_from_sweeping(blobs: &Path) -> Result<Self, Error> {
        let operation = "keeping blobs from being swept";
        match File::open(blobs) {
            Ok(dir) => {
                dir.lock_shared().during(operation)?;
                Ok(Self(Some(dir)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self(None)),
            Err(error) => Err(Error::internal(operation, error)),
        }
    }

    /// The right to remove blobs; `None` while somebody keeps them.
    fn sweep(blobs: &Path) -> Result<Option<Self>, Error> {
        let dir = File::open(blobs).during("looking through the blobs")?;
        match dir.try_lock() {
            Ok(()) => Ok(Some(Self(Some(dir)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::internal("locking the blobs", error)),
        }
    }
}

/// A folder of blobs.
pub(super) struct BlobFiles {
    dir: PathBuf,
    written: AtomicU64,
    /// Held for writing while a blob is judged and removed, so that one put again meanwhile isn't lost.
    sweep: RwLock<()>,
}

impl BlobFiles {
    pub(super) fn open(dir: PathBuf) -> Result<Self, Error> {
        let unfinished = dir.join("new");
        // Left by a crash, each before anything named it.
        if let Err(error) = fs::remove_dir_all(&unfinished)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error).during(&format!("clearing away {}", unfinished.display()));
        }
        database::create_folder(&unfinished)?;
        Ok(Self { dir, written: AtomicU64::new(0), sweep: RwLock::new(()) })
    }

    /// A folder that is only read.
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir, written: AtomicU64::new(0), sweep: RwLock::new(()) }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stores bytes; they are on the disk when this returns. Blocks.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<BlobId, Error> {
        let id = name_of(bytes);
        let _unswept = self.sweep.read().unwrap_or_else(PoisonError::into_inner);
        self.write(&self.path(&id), bytes).during("storing a blob")?;
        Ok(id)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().expect("a blob lies in a folder");
        match File::options().write(true).open(path) {
            // It is there, whole; the time tells a sweep that somebody needs it again.
            Ok(file) => file.set_modified(SystemTime::now())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let number = self.written.fetch_add(1, Ordering::Relaxed);
                let beside = self.dir.join("new").join(number.to_string());
                let mut file = File::create_new(&beside)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                if let Err(error) = fs::create_dir(folder)
                    && error.kind() != io::ErrorKind::AlreadyExists
                {
                    return Err(error);
                }
                fs::rename(&beside, path)?;
                File::open(&self.dir)?.sync_all()?;
            }
            Err(error) => return Err(error),
        }
        // Also when the file was there: whoever renamed it may not have come this far yet.
        File::open(folder)?.sync_all()
    }

    /// The bytes of a blob. Blocks.
    pub(super) fn get(&self, id: &BlobId) -> Result<Option<Vec<u8>>, Error> {
        match fs::read(self.path(id)) {
            Ok(bytes) if name_of(&bytes) == *id => Ok(Some(bytes)),
            Ok(_) => Err(Error::unreadable(format_args!("blob {id}"), "its file is damaged")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::internal("reading a blob", error)),
        }
    }

    pub(super) fn path(&self, id: &BlobId) -> PathBuf {
        let (folder, name) = id.as_str().split_at(2);
        self.dir.join(folder).join(name)
    }

    fn sweep(&self, db: &Connection, before: SystemTime) -> Result<usize, Error> {
        let mut removed = 0;
        for folder in fs::read_dir(&self.dir).during("looking through the blobs")? {
            let folder = folder.during("looking through the blobs")?;
            // Taken anew for each folder, so that nobody who wants to keep blobs waits for long.
            let Some(_alone) = SweepLock::sweep(&self.dir)? else { break };
            for file in fs::read_dir(folder.path()).during("looking through the blobs")? {
                let name = file.during("looking through the blobs")?.file_name();
                let hex = format!("{}{}", folder.file_name().display(), name.display());
                let Some(id) = BlobId::from_hex(&hex) else { continue };
                removed += usize::from(self.sweep_one(db, &id, before)?);
            }
        }
        Ok(removed)
    }

    fn sweep_one(&self, db: &Connection, id: &BlobId, before: SystemTime) -> Result<bool, Error> {
        let operation = "sweeping a blob";
        let path = self.path(id);
        let _alone = self.sweep.write().unwrap_or_else(PoisonError::into_inner);
        let put_at = fs::metadata(&path).and_then(|metadata| metadata.modified()).during(operation)?;
        if put_at >= before {
            return Ok(false);
        }
        let mut named = db.prepare_cached("SELECT 1 FROM named_blobs WHERE blob = ?1").during(operation)?;
        if named.exists([id.as_str()]).during(operation)? {
            return Ok(false);
        }
        fs::remove_file(&path).during(operation)?;
        Ok(true)
    }
}

impl Blobs for SqliteStore {
    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<BlobId, Error>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(async move { blocking(move || blobs.put(&bytes)).await })
    }

    fn blob(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(async move { blocking(move || blobs.get(&id)).await })
    }

    fn has_blob(&self, id: BlobId) -> BoxFuture<'_, Result<bool, Error>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(async move { blocking(move || blobs.path(&id).try_exists().during("looking for a blob")).await })
    }

    fn sweep_blobs(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, Error>> {
        let blobs = Arc::clone(&self.blobs);
        let before = UNIX_EPOCH + Duration::from_micros(u64::try_from(before.as_micros()).unwrap_or(0));
        Box::pin(self.readers.read_each(move |db| blobs.sweep(db, before)))
    }
}

/// Does something that may block, on a thread for it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.during("waiting for the disk")?
}
