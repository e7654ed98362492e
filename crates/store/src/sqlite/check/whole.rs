//! The whole check: the database itself, then each session, then what joins them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::super::blobs::{BlobFiles, SweepLock};
use super::super::{During as _, database, mark, schema};
use super::{blobs, references, resources, sessions};
use crate::check::{Checked, Finding, Part, Replay};
use crate::error::Error;
use crate::seal::MasterKey;

/// How many faults of its own the database tells at most.
const DATABASE_FAULTS: usize = 100;

/// The instructions of SQLite between two looks at the order to stop.
const STEPS: i32 = 10_000;

pub(super) const RESTORE: &str = "restore a backup from before it happened (`tenure restore`)";
pub(super) const REPAIR: &str = "`tenure check --repair` writes it anew from the log";

/// What to check, and how.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// The folder of the store, or of a backup.
    pub dir: PathBuf,
    /// The key that seals secrets; `None` is the one in `master.key` of the folder, and without one secrets aren't
    /// looked at.
    pub master_key: Option<MasterKey>,
    /// Whether nobody changes the folder meanwhile: then it is read without a lock, and may be on a read-only medium.
    pub unchanging: bool,
    /// Set by somebody else to end it early, with an error.
    pub stop: Arc<AtomicBool>,
}

/// What a check has at hand.
pub(super) struct Checking<'a> {
    pub(super) db: &'a Connection,
    pub(super) blobs: &'a BlobFiles,
    pub(super) dir: &'a Path,
    pub(super) stop: &'a AtomicBool,
    pub(super) checked: Checked,
    pub(super) found: &'a mut dyn FnMut(Finding),
}

impl Checking<'_> {
    pub(super) fn find(&mut self, finding: Finding) {
        (self.found)(finding);
    }

    pub(super) fn go_on(&self) -> Result<(), Error> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::internal("checking", "it was stopped")),
            false => Ok(()),
        }
    }
}

/// Checks the store of a folder, also while a server has it open, and changes nothing. Tells each thing that is
/// damaged and goes on. One session at a time is in memory, and no more of it than its state. Blocks.
///
/// # Errors
///
/// When it can't be checked: there is no database, another version wrote it, the disk fails.
pub fn check(
    options: &CheckOptions,
    replay: &mut dyn Replay,
    found: &mut dyn FnMut(Finding),
) -> Result<Checked, Error> {
    let CheckOptions { dir, master_key, unchanging, stop } = options;
    let path = dir.join("tenure.db");
    let db = match unchanging {
        true => database::open_unchanging(&path)?,
        false => database::open_readable_anywhere(&path)?,
    };
    let ordered = Arc::clone(stop);
    db.progress_handler(STEPS, Some(move || ordered.load(Ordering::Relaxed))).during("preparing a check")?;
    let lost = lost_facts(dir, &db)?;
    let is_lost = lost.is_some();
    lost.into_iter().for_each(&mut *found);
    match schema::require_current(&db, &path) {
        // So much is lost that nothing is left to check.
        Err(_) if is_lost => return Ok(Checked::default()),
        current => current?,
    }
    let blobs_dir = dir.join("blobs");
    // Before anything is read, so that no sweep takes a blob that what is read names.
    let _unswept = SweepLock::keep_from_sweeping(&blobs_dir)?;
    let blobs = BlobFiles::at(blobs_dir);
    let mut checking = Checking { db: &db, blobs: &blobs, dir, stop, checked: Checked::default(), found };
    database_itself(&mut checking)?;
    sessions::check(&mut checking, replay)?;
    references::check(&mut checking)?;
    blobs::check(&mut checking)?;
    resources::check(&mut checking, master_key.as_ref())?;
    Ok(checking.checked)
}

/// What is told when the database ends before what was acknowledged.
fn lost_facts(dir: &Path, db: &Connection) -> Result<Option<Finding>, Error> {
    match mark::check(dir, db) {
        Ok(()) => Ok(None),
        Err(Error::Unreadable { why, .. }) => {
            let meaning = "the last facts of some sessions are missing, and the server doesn't start";
            let remedy = "put tenure.db-wal back, or restore a backup (`tenure restore`)";
            let finding = Finding::new(Part::Database, why, meaning, remedy);
            Ok(Some(Finding { path: Some(dir.join("tenure.db-wal")), ..finding }))
        }
        Err(error) => Err(error),
    }
}

fn database_itself(checking: &mut Checking<'_>) -> Result<(), Error> {
    let operation = "checking the database";
    let mut pragma = checking.db.prepare(&format!("PRAGMA integrity_check({DATABASE_FAULTS})")).during(operation)?;
    let mut rows = pragma.query([]).during(operation)?;
    loop {
        checking.go_on()?;
        // A page that can't be read ends the list with an error, which is a finding as well.
        let fault: String = match rows.next().and_then(|row| row.map(|row| row.get(0)).transpose()) {
            Ok(Some(fault)) if fault == "ok" => continue,
            Ok(Some(fault)) => fault,
            Ok(None) => return Ok(()),
            Err(error) => error.to_string(),
        };
        let is_error = fault.contains("malformed") || fault.contains("disk I/O");
        let meaning = "SQLite's own structures contradict each other: sessions may be missing or read wrongly";
        let finding = Finding::new(Part::Database, format!("the database is damaged: {fault}"), meaning, RESTORE);
        checking.find(Finding { path: Some(checking.dir.join("tenure.db")), ..finding });
        if is_error {
            return Ok(());
        }
    }
}
