//! Copying the database of a folder, also while a server writes to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension as _};
use tenure_core::content::BlobId;
use tenure_core::id::SessionId;
use tenure_core::time::Timestamp;

use super::append::blob;
use super::{During as _, database, schema};
use crate::error::Error;

/// The instructions of SQLite between two looks at the order to stop.
const STEPS: i32 = 500;

/// What a copied database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopiedDatabase {
    /// The generation of the data.
    pub generation: u64,
    /// The version of its tables.
    pub schema: u32,
}

/// Copies the database of the folder `dir` as of one moment to the new file `to`, without what was deleted, and brings the
/// copy's tables up to date. Once `stop` is set it ends with an error. Blocks.
///
/// The blobs that the copy names stay only as long as a [`SweepLock`](super::SweepLock) that was taken before.
///
/// # Errors
///
/// When a newer version wrote it, it is damaged, or a disk fails or is full.
pub fn copy_database(dir: &Path, to: &Path, stop: &Arc<AtomicBool>) -> Result<CopiedDatabase, Error> {
    let operation = "copying the database";
    let path = dir.join("tenure.db");
    let db = database::open_readable(&path)?;
    schema::version(&db, &path)?;
    let ordered = Arc::clone(stop);
    db.progress_handler(STEPS, Some(move || ordered.load(Ordering::Relaxed))).during(operation)?;
    let name = to.to_str().ok_or_else(|| Error::internal(operation, format!("{} isn't UTF-8", to.display())))?;
    db.execute("VACUUM INTO ?1", [name]).during(operation)?;
    let mut copy = Connection::open(to).during(operation)?;
    // One file, without side files, so that it can be read from a medium that can't be written.
    copy.pragma_update(None, "journal_mode", "DELETE").during(operation)?;
    schema::bring_up_to_date(&mut copy, to)?;
    let copied = CopiedDatabase { generation: database::generation(&copy)?, schema: schema::version(&copy, to)? };
    copy.close().map_err(|(_, error)| Error::internal(operation, error))?;
    Ok(copied)
}

/// Goes through the blobs that a copied database names, in the order of their names. Blocks.
///
/// # Errors
///
/// The first of `each`, or that of reading the database.
pub fn each_named_blob<E: From<Error>>(
    database: &Path,
    mut each: impl FnMut(BlobId) -> Result<(), E>,
) -> Result<(), E> {
    let operation = "reading which blobs are named";
    let db = database::open_unchanging(database)?;
    let mut select = db.prepare("SELECT DISTINCT blob FROM named_blobs ORDER BY blob").during(operation)?;
    let mut rows = select.query([]).during(operation)?;
    while let Some(row) = rows.next().during(operation)? {
        let name: String = row.get(0).during(operation)?;
        each(BlobId::from_hex(&name).ok_or_else(|| Error::unreadable("the name of a blob", &name))?)?;
    }
    Ok(())
}

/// The sessions of a folder's database, also while a server has it open.
pub struct SessionIds {
    db: Connection,
}

impl SessionIds {
    /// Of the folder `dir`; `unchanging` says that nobody changes it meanwhile. Blocks.
    ///
    /// # Errors
    ///
    /// When there is no database, or another version wrote it.
    pub fn open(dir: &Path, unchanging: bool) -> Result<Self, Error> {
        let path = dir.join("tenure.db");
        let db = match unchanging {
            true => database::open_unchanging(&path)?,
            false => database::open_readable_anywhere(&path)?,
        };
        schema::version(&db, &path)?;
        Ok(Self { db })
    }

    /// Goes through all of them, in the order of their ids. Blocks.
    ///
    /// # Errors
    ///
    /// The first of `each`, or that of reading the database.
    pub fn each<E: From<Error>>(&self, mut each: impl FnMut(SessionId) -> Result<(), E>) -> Result<(), E> {
        let operation = "reading which sessions there are";
        let mut next =
            self.db.prepare("SELECT id FROM sessions WHERE id > ?1 ORDER BY id LIMIT 1").during(operation)?;
        let mut last: Vec<u8> = Vec::new();
        // One statement for each, so that no read lasts for as long as `each` takes.
        while let Some(id) = next.query_row([&last], |row| row.get::<_, [u8; 16]>(0)).optional().during(operation)? {
            last = id.to_vec();
            each(SessionId::from_bits(u128::from_be_bytes(id)))?;
        }
        Ok(())
    }

    /// Whether there is such a session, or its traces are just being cleared away. Blocks.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub fn knows(&self, session: SessionId) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM sessions WHERE id = ?1 UNION ALL SELECT 1 FROM purges WHERE id = ?1";
        let mut find = self.db.prepare_cached(sql).during("looking for a session")?;
        find.exists([blob(session.bits())]).during("looking for a session")
    }

    /// When the newest fact of all happened. Blocks.
    ///
    /// # Errors
    ///
    /// When the database can't be read.
    pub fn newest_fact(&self) -> Result<Option<Timestamp>, Error> {
        let newest = self.db.query_row("SELECT max(last_at) FROM sessions", [], |row| row.get::<_, Option<i64>>(0));
        Ok(newest.during("looking for the newest fact")?.map(Timestamp::from_micros))
    }
}

impl std::fmt::Debug for SessionIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionIds").finish_non_exhaustive()
    }
}
