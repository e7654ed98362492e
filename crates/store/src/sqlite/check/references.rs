//! What refers to sessions.

use rusqlite::Row;
use tenure_core::id::SessionId;

use super::super::{During as _, database};
use super::whole::{Checking, RESTORE};
use crate::check::{Finding, Part};
use crate::error::Error;
use crate::feed::FeedKind;

const OPERATION: &str = "checking what refers to sessions";

/// The tables with rows of sessions, by their session's key, each with what its rows are.
const TABLES: [(&str, Part, &str); 7] = [
    ("facts", Part::Log, "facts"),
    ("definitions", Part::Definition, "a definition"),
    ("states", Part::State, "a kept state"),
    ("named_blobs", Part::BlobReference, "named blobs"),
    ("feed", Part::Feed, "entries of the feed"),
    ("answers", Part::Row, "kept answers"),
    ("labels", Part::Row, "labels"),
];

pub(super) fn check(checking: &mut Checking<'_>) -> Result<(), Error> {
    // Each statement sees one moment, so that a session made or deleted meanwhile is no finding.
    for (table, part, rows) in TABLES {
        // From one key to the next by the index, instead of over all rows.
        let sql = format!(
            "WITH RECURSIVE keys (key) AS (
                 SELECT min(session) FROM {table}
                 UNION ALL
                 SELECT (SELECT min(session) FROM {table} WHERE session > keys.key) FROM keys WHERE keys.key IS NOT NULL)
             SELECT key FROM keys WHERE key IS NOT NULL AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.key = keys.key)
             AND NOT EXISTS (SELECT 1 FROM forks WHERE forks.number = -keys.key)"
        );
        each(checking, &sql, |row| {
            let key: i64 = row.get(0)?;
            let what = format!("there are {rows} of a session that doesn't exist (key {key} in table `{table}`)");
            let meaning = "what was deleted isn't wholly gone, or a session's row is lost";
            Ok(Some(Finding::new(
                part,
                what,
                meaning,
                "restore a backup if the session should be there; else no harm is done",
            )))
        })?;
    }
    each(checking, "SELECT p.id FROM purges p JOIN sessions s ON s.id = p.id", |row| {
        let session = SessionId::from_bits(u128::from_be_bytes(row.get(0)?));
        let what = "the session is there, but is also among those that were deleted";
        let meaning = "its files may be cleared away at the next start";
        Ok(Some(Finding::new(Part::Purge, what, meaning, RESTORE).of(session)))
    })?;
    let sql = "SELECT f.position, f.tenant, f.seq, f.format, f.kind, s.id, s.tenant, s.seq
               FROM feed f JOIN sessions s ON s.key = f.session ORDER BY f.position";
    each(checking, sql, |row| {
        let (position, seq, end): (u64, u64, u64) = (row.get(0)?, row.get(2)?, row.get(7)?);
        let tenants: ([u8; 16], [u8; 16]) = (row.get(1)?, row.get(6)?);
        let fault = if tenants.0 != tenants.1 {
            "is in another tenant's feed than its session".to_owned()
        } else if seq == 0 || seq > end {
            format!("tells of fact {seq}, and the log ends at {end}")
        } else {
            match database::decode::<FeedKind>(row.get(3)?, row.get_ref(4)?.as_blob()?) {
                Ok(_) => return Ok(None),
                Err(error) => format!("can't be read: {error}"),
            }
        };
        let session = SessionId::from_bits(u128::from_be_bytes(row.get(5)?));
        let meaning = "who reads the feed stops there, or is told what isn't so";
        let what = format!("entry {position} of the feed {fault}");
        Ok(Some(Finding::new(Part::Feed, what, meaning, RESTORE).of(session).at(seq)))
    })
}

/// Tells what `judge` finds in the rows of a query. Rows that can't be read were told of with the database.
fn each(
    checking: &mut Checking<'_>,
    sql: &str,
    judge: impl Fn(&Row<'_>) -> rusqlite::Result<Option<Finding>>,
) -> Result<(), Error> {
    let db = checking.db;
    let mut select = db.prepare(sql).during(OPERATION)?;
    let mut rows = select.query([]).during(OPERATION)?;
    loop {
        checking.go_on()?;
        match rows.next().map(|row| row.map(&judge).transpose()) {
            Ok(Ok(Some(Some(finding)))) => checking.find(finding),
            Ok(Ok(Some(None))) => {}
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) | Err(error) => {
                let meaning = "some of it can't be read";
                let what = format!("{OPERATION} found what can't be read: {error}");
                checking.find(Finding::new(Part::Database, what, meaning, RESTORE));
                return Ok(());
            }
        }
    }
}
