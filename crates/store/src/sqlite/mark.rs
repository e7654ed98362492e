//! How far the facts once reached. SQLite takes a write-ahead log that was cut, damaged or removed for a shorter one and
//! opens the database as it was earlier, without a word; a file beside it, rewritten after each commit, tells.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use super::During as _;
use crate::error::Error;

/// Its name in the folder.
const NAME: &str = "tenure.db-mark";

/// The mark's file: eight bytes of the last fact's row id, four of their CRC-32.
const BYTES: usize = 12;

/// The mark, as its only writer knows it.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    end: u64,
}

impl Mark {
    /// Refuses a database that has lost facts, and opens its mark.
    pub(super) fn open(dir: &Path, db: &Connection) -> Result<Self, Error> {
        check(dir, db)?;
        let operation = "opening the mark of the last commit";
        let opened = File::options().write(true).create(true).truncate(false).mode(0o600).open(path(dir));
        let mut mark = Self { file: opened.during(operation)?, end: u64::MAX };
        mark.lower(end(db).during(operation)?).during(operation)?;
        Ok(mark)
    }

    /// Before a commit that leaves the last fact here. Where that is earlier than it was, since a session is deleted, the
    /// mark must not be ahead of the database whatever happens.
    pub(super) fn before_commit(&mut self, end: u64) -> std::io::Result<()> {
        if end < self.end { self.lower(end) } else { Ok(()) }
    }

    /// After a commit. Not synced: a crash of the process doesn't lose it, and after a loss of power it is only too low.
    pub(super) fn after_commit(&mut self, end: u64) {
        if end != self.end {
            self.end = end;
            // A mark that stays behind notices less; it is no reason to fail what is committed.
            let _ = self.file.write_all_at(&encode(end), 0);
        }
    }

    fn lower(&mut self, end: u64) -> std::io::Result<()> {
        self.file.write_all_at(&encode(end), 0)?;
        self.file.sync_data()?;
        self.end = end;
        Ok(())
    }
}

/// Refuses a database whose last fact comes before its mark.
pub(super) fn check(dir: &Path, db: &Connection) -> Result<(), Error> {
    let operation = "comparing the database with the mark of its last commit";
    let Some(marked) = read(dir) else { return Ok(()) };
    let has_facts = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'facts'").and_then(|mut it| it.exists([]));
    let found = if has_facts.during(operation)? { end(db).during(operation)? } else { 0 };
    // A server at work lowers the mark before it deletes what was last.
    if found >= marked || read(dir) != Some(marked) {
        return Ok(());
    }
    let mark = path(dir);
    Err(Error::unreadable(
        dir.join("tenure.db").display(),
        format_args!(
            "facts that were acknowledged are missing (its last is row {found}, and row {marked} was written): its \
             write-ahead log tenure.db-wal was cut, damaged or removed, or the database was replaced by an older one. Put \
             the files back, or restore a backup (`tenure restore`); to go on without what is lost, remove {}",
            mark.display()
        ),
    ))
}

/// The row id of the last fact; 0 without one.
pub(super) fn end(db: &Connection) -> rusqlite::Result<u64> {
    let mut last = db.prepare_cached("SELECT id FROM facts ORDER BY id DESC LIMIT 1")?;
    Ok(last.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

fn encode(end: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&end.to_be_bytes());
    bytes[8..].copy_from_slice(&crc32fast::hash(&end.to_be_bytes()).to_be_bytes());
    bytes
}

/// The mark, unless there is none or it was torn.
fn read(dir: &Path) -> Option<u64> {
    let bytes = std::fs::read(path(dir)).ok()?;
    let (end, sum) = bytes.split_first_chunk::<8>()?;
    (sum == crc32fast::hash(end).to_be_bytes()).then(|| u64::from_be_bytes(*end))
}
