//! Writing anew what follows from a log.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rusqlite::{Connection, OptionalExtension as _, params};
use tenure_core::id::SessionId;
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;

use super::super::append::blob;
use super::super::blobs::BlobFiles;
use super::super::{During as _, database, labels, schema};
use super::sessions;
use super::whole::Checking;
use crate::check::{Checked, Replay};
use crate::error::Error;
use crate::formats::{Stored as _, encode};
use crate::sessions::{SessionRow, is_unsettled};

const OPERATION: &str = "repairing a session";

/// Writes the rows, definitions and named blobs of these sessions anew from their logs, and forgets their kept states,
/// which are then made anew as well. Sessions whose log isn't whole are left as they are. Says how many were mended.
/// Nobody else may have the folder open. Blocks.
///
/// # Errors
///
/// When the database can't be written.
pub fn repair(dir: &Path, damaged: &[SessionId], replay: &mut dyn Replay) -> Result<usize, Error> {
    let path = dir.join("tenure.db");
    let mut db = database::open_writable(&path)?;
    schema::require_current(&db, &path)?;
    let blobs = BlobFiles::at(dir.join("blobs"));
    let mut mended = 0;
    for session in damaged {
        let change = db.transaction().during(OPERATION)?;
        let key: Option<i64> = change
            .query_row("SELECT key FROM sessions WHERE id = ?1", [blob(session.bits())], |row| row.get(0))
            .optional()
            .during(OPERATION)?;
        let Some(key) = key else { continue };
        let log = {
            let mut checking = Checking {
                db: &change,
                blobs: &blobs,
                dir,
                stop: &AtomicBool::new(false),
                checked: Checked::default(),
                found: &mut |_| {},
            };
            let rewinds = sessions::rewinds(&checking, key, *session)?;
            replay.begin(*session, &rewinds, None);
            sessions::log(&mut checking, replay, key, *session)?
        };
        if let Some(row) = replay.row().filter(|_| log.whole) {
            write(&change, key, &row, &log.blobs).during(OPERATION)?;
            change.commit().during(OPERATION)?;
            mended += 1;
        }
    }
    db.close().map_err(|(_, error)| Error::internal(OPERATION, error))?;
    Ok(mended)
}

fn write(
    db: &Connection,
    key: i64,
    row: &SessionRow,
    blobs: &std::collections::HashSet<String>,
) -> rusqlite::Result<()> {
    let SessionRow { summary, definition } = row;
    db.execute(
        "UPDATE sessions SET tenant = ?2, created_at = ?3, agent = ?4, agent_version = ?5, environment = ?6, seq = ?7,
         last_at = ?8, phase = ?9, archived = ?10, unsettled = ?11, wake_at = ?12, format = ?13, summary = ?14
         WHERE key = ?1",
        params![
            key,
            blob(summary.tenant.bits()),
            summary.created_at.as_micros(),
            blob(summary.agent.bits()),
            summary.agent_version,
            blob(summary.environment.bits()),
            summary.seq,
            summary.updated_at.as_micros(),
            summary.phase().name(),
            summary.archived_at().is_some(),
            is_unsettled(summary),
            summary.wake_at.map(Timestamp::as_micros),
            Summary::FORMAT,
            encode(summary)
        ],
    )?;
    db.execute(
        "INSERT OR REPLACE INTO definitions (session, format, body) VALUES (?1, ?2, ?3)",
        params![key, Definition::FORMAT, encode(&**definition)],
    )?;
    labels::write(db, key, summary)?;
    db.execute("DELETE FROM states WHERE session = ?1", [key])?;
    db.execute("DELETE FROM named_blobs WHERE session = ?1", [key])?;
    for blob in blobs {
        db.execute("INSERT INTO named_blobs (blob, session) VALUES (?1, ?2)", params![blob, key])?;
    }
    Ok(())
}
