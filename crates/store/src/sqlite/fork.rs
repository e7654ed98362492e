//! Copying the beginning of a log. It is done in batches, so that nobody else's write waits long, under a key that no
//! session has; the last step, which adds what is the new session's own, gives it its row.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use tenure_core::id::SessionId;
use tokio::sync::oneshot;

use super::append::{PreparedAppend, blob};
use super::blobs::BlobFiles;
use super::checksum::Sealed;
use super::facts::{COLUMNS, integer, key_of, read_row};
use super::{During as _, SqliteStore};
use crate::append::AppendError;
use crate::error::Error;
use crate::failpoint;
use crate::fork::Fork;

/// Facts copied at once: a few milliseconds of the writer's time.
const BATCH: u64 = 2_000;

/// Which copy the last step completes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) number: i64,
    pub(super) from: SessionId,
}

impl Copied {
    /// The key of its rows, which no other session ever has.
    pub(super) fn key(self) -> i64 {
        -self.number
    }
}

impl SqliteStore {
    pub(super) async fn copy_and_append(&self, fork: Fork) -> Result<(), AppendError> {
        fork.check()?;
        let Fork { from, append } = fork;
        let id = append.session;
        let number = self.writer.write(move |db| begin(db, id)).await?;
        let copied = Copied { number, from };
        let done = async {
            self.copy(copied, id, append.expected_seq).await?;
            failpoint::reach("fork_before_commit");
            let bodies = self.bodies(&append).await?;
            let (reply, answer) = oneshot::channel();
            self.writer.submit(Box::new(PreparedAppend::new(append, bodies, Some(copied), reply)))?;
            answer.await.during("waiting for a fork")?.result
        };
        let done = done.await;
        if done.is_err() {
            // What can't be removed now is removed at the next start.
            drop(self.forget_copy(number).await);
        }
        done
    }

    async fn copy(&self, copied: Copied, to: SessionId, until: u64) -> Result<(), AppendError> {
        let mut after = 0;
        while after < until {
            let blobs = Arc::clone(&self.blobs);
            let last = until.min(after + BATCH);
            let rows = self.read(move |db| rows(db, &blobs, copied.from, to, after, last)).await?;
            match rows.last() {
                Some(row) if row.seq == last => {}
                Some(_) | None => return Err(AppendError::Gone),
            }
            after = last;
            self.writer.write(move |db| insert(db, copied.key(), &rows).during("copying facts")).await?;
            failpoint::reach("fork_batch");
        }
        Ok(())
    }

    /// Removes what was copied for a fork that came to nothing.
    async fn forget_copy(&self, number: i64) -> Result<(), Error> {
        let operation = "removing an unfinished fork";
        let key = -number;
        loop {
            let removed = self.writer.write(move |db| {
                db.prepare_cached("DELETE FROM facts WHERE id IN (SELECT id FROM facts WHERE session = ?1 LIMIT ?2)")
                    .and_then(|mut delete| delete.execute(params![key, integer(BATCH)]))
                    .during(operation)
            });
            if removed.await? == 0 {
                break;
            }
        }
        let rest = self.writer.write(move |db| {
            db.execute("DELETE FROM named_blobs WHERE session = ?1", [key])
                .and_then(|_| db.execute("DELETE FROM forks WHERE number = ?1", [number]))
                .during(operation)
                .map(|_| ())
        });
        rest.await
    }

    pub(super) async fn forget_copies(&self) -> Result<usize, Error> {
        let last = self.last_fork;
        let unfinished: Vec<i64> = self
            .read(move |db| {
                db.prepare_cached("SELECT number FROM forks WHERE number <= ?1")
                    .and_then(|mut select| select.query_map([last], |row| row.get(0))?.collect())
                    .during("looking for unfinished forks")
            })
            .await?;
        for number in &unfinished {
            self.forget_copy(*number).await?;
        }
        Ok(unfinished.len())
    }
}

/// The number of the newest fork that ever was begun and not ended.
pub(super) fn last_fork(db: &Connection) -> Result<i64, Error> {
    let last: Option<i64> = db
        .query_row("SELECT max(number) FROM forks", [], |row| row.get(0))
        .optional()
        .during("counting forks")?
        .flatten();
    Ok(last.unwrap_or(0))
}

fn begin(db: &Connection, id: SessionId) -> Result<i64, Error> {
    db.execute("INSERT INTO forks (id) VALUES (?1)", [blob(id.bits())]).during("beginning a fork")?;
    Ok(db.last_insert_rowid())
}

/// A fact as it is stored, for another session.
struct CopiedRow {
    seq: u64,
    at: i64,
    format: u32,
    kind: String,
    item: Option<[u8; 16]>,
    body: Option<Vec<u8>>,
    spilled: Option<String>,
    checksum: u32,
    named: Vec<String>,
}

fn rows(
    db: &Connection,
    blobs: &BlobFiles,
    from: SessionId,
    to: SessionId,
    after: u64,
    last: u64,
) -> Result<Vec<CopiedRow>, Error> {
    let operation = "reading facts to copy";
    let Some(key) = key_of(db, from)? else { return Ok(Vec::new()) };
    let sql = format!("SELECT {COLUMNS} FROM facts WHERE session = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq");
    let mut select = db.prepare_cached(&sql).during(operation)?;
    let mut found = select.query(params![key, integer(after), integer(last)]).during(operation)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().during(operation)? {
        // Checks it, and tells which blobs it names.
        let fact = read_row(row, blobs, from)?;
        let body: Option<Vec<u8>> = row.get(4).during(operation)?;
        let spilled: Option<String> = row.get(5).during(operation)?;
        let named = fact.fact.blobs().map(|blob| blob.as_str().to_owned()).chain(spilled.clone()).collect();
        let (at, format) = (row.get(1).during(operation)?, row.get(2).during(operation)?);
        let (kind, item): (String, _) = (row.get(3).during(operation)?, row.get(6).during(operation)?);
        let sealed = Sealed {
            session: to,
            seq: fact.seq,
            at_micros: at,
            format,
            kind: &kind,
            item,
            body: body.as_deref().or(spilled.as_deref().map(str::as_bytes)).unwrap_or_default(),
        };
        let checksum = sealed.checksum();
        rows.push(CopiedRow { seq: fact.seq, at, format, kind, item, body, spilled, checksum, named });
    }
    Ok(rows)
}

fn insert(db: &Connection, key: i64, rows: &[CopiedRow]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO facts (session, seq, at, format, kind, item_id, body, blob, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let mut name = db.prepare_cached("INSERT OR IGNORE INTO named_blobs (blob, session) VALUES (?1, ?2)")?;
    for row in rows {
        let CopiedRow { seq, at, format, kind, item, body, spilled, checksum, named } = row;
        insert.execute(params![key, seq, at, format, kind, item, body, spilled, checksum])?;
        for blob in named {
            name.execute(params![blob, key])?;
        }
    }
    Ok(())
}
