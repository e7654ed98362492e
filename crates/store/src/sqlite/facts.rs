//! Logs in the database.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use tenure_core::content::BlobId;
use tenure_core::fact::StoredFact;
use tenure_core::id::{SessionId, TenantId};
use tenure_core::time::Timestamp;
use tokio::sync::oneshot;

use super::append::{Body, PreparedAppend, blob};
use super::blobs::{BlobFiles, blocking};
use super::checksum::Sealed;
use super::list::{range_conditions, sql_order};
use super::{During as _, SqliteStore, database};
use crate::append::{Append, AppendError};
use crate::error::Error;
use crate::facts::{CachedState, FactQuery, FactStore, Tail};
use crate::fork::Fork;
use crate::formats::encode;
use crate::idempotency::IdempotencyRecord;
use crate::page::TimeRange;
use crate::resources::ResourceError;
use crate::tails::{LOG_PAGE, ReadLog};

/// A body of more bytes goes to a blob.
const INLINE_BYTES: usize = 32 * 1024;

impl FactStore for SqliteStore {
    fn trouble(&self) -> Option<String> {
        self.writer.trouble()
    }

    fn append(&self, append: Append) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(async move {
            append.check()?;
            let bodies = self.bodies(&append).await?;
            let (reply, answer) = oneshot::channel();
            self.writer.submit(Box::new(PreparedAppend::new(append, bodies, None, reply)))?;
            answer.await.during("waiting for an append")?.result
        })
    }

    fn fork(&self, fork: Fork) -> BoxFuture<'_, Result<(), AppendError>> {
        Box::pin(self.copy_and_append(fork))
    }

    fn sweep_forks(&self) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(self.forget_copies())
    }

    fn read_facts(
        &self,
        session: SessionId,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(self.read(move |db| Ok(facts_after(db, &blobs, session, after, limit)?.unwrap_or_default())))
    }

    fn query_facts(&self, query: FactQuery) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(self.read(move |db| {
            let Some(key) = key_of(db, query.session)? else { return Ok(Vec::new()) };
            let (after, before) = places(db, key, &query)?;
            let mut conditions = String::from("session = ? AND seq > ?");
            let mut values = vec![Value::Integer(key), integer(after)];
            if let Some(before) = before {
                conditions.push_str(" AND seq < ?");
                values.push(integer(before));
            }
            if let Some(only) = &query.only {
                conditions.push_str(&format!(" AND kind IN ({})", marks(only.len())));
                values.extend(only.iter().map(|kind| Value::Text((*kind).to_owned())));
            }
            if !query.except.is_empty() {
                conditions.push_str(&format!(" AND kind NOT IN ({})", marks(query.except.len())));
                values.extend(query.except.iter().map(|kind| Value::Text((*kind).to_owned())));
            }
            for skipped in &query.skip {
                conditions.push_str(" AND NOT (seq > ? AND seq <= ?)");
                values.extend([integer(skipped.after), integer(skipped.until)]);
            }
            range_conditions("at", query.at, &mut conditions, &mut values);
            values.push(integer(query.limit as u64));
            let order = sql_order(query.order);
            let sql = format!("SELECT {COLUMNS} FROM facts WHERE {conditions} ORDER BY seq {order} LIMIT ?");
            read_rows(db, &blobs, query.session, &sql, params_from_iter(values))
        }))
    }

    fn read_facts_at(&self, session: SessionId, mut seqs: Vec<u64>) -> BoxFuture<'_, Result<Vec<StoredFact>, Error>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(self.read(move |db| {
            let Some(key) = key_of(db, session)? else { return Ok(Vec::new()) };
            seqs.sort_unstable();
            seqs.dedup();
            let sql = format!("SELECT {COLUMNS} FROM facts WHERE session = ?1 AND seq = ?2");
            let mut found = Vec::with_capacity(seqs.len());
            for seq in seqs {
                found.extend(read_rows(db, &blobs, session, &sql, params![key, integer(seq)])?);
            }
            Ok(found)
        }))
    }

    fn head(&self, session: SessionId) -> BoxFuture<'_, Result<Option<u64>, Error>> {
        Box::pin(self.read(move |db| {
            let mut head = db.prepare_cached("SELECT seq FROM sessions WHERE id = ?1").during("reading a head")?;
            head.query_row([blob(session.bits())], |row| row.get(0)).optional().during("reading a head")
        }))
    }

    fn tail(&self, session: SessionId, after: u64) -> BoxStream<'static, Result<Tail, Error>> {
        let (readers, blobs) = (Arc::clone(&self.readers), Arc::clone(&self.blobs));
        let read: ReadLog = Arc::new(move |session, after| {
            let (readers, blobs) = (Arc::clone(&readers), Arc::clone(&blobs));
            Box::pin(async move { readers.read(move |db| facts_after(db, &blobs, session, after, LOG_PAGE)).await })
        });
        self.tails.0.follow(session, after, read)
    }

    fn save_state(&self, session: SessionId, state: CachedState) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.writer.write(move |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO states (session, seq, format, blob)
                 SELECT key, ?2, ?3, ?4 FROM sessions WHERE id = ?1",
            )
            .and_then(|mut save| save.execute(params![blob(session.bits()), state.seq, state.format, state.blob]))
            .during("saving a state")
            .map(|_| ())
        }))
    }

    fn load_state(&self, session: SessionId) -> BoxFuture<'_, Result<Option<CachedState>, Error>> {
        Box::pin(self.read(move |db| {
            db.prepare_cached(
                "SELECT states.seq, states.format, states.blob FROM sessions JOIN states ON session = key WHERE id = ?1",
            )
            .and_then(|mut load| {
                load.query_row([blob(session.bits())], |row| {
                    Ok(CachedState { seq: row.get(0)?, format: row.get(1)?, blob: row.get(2)? })
                })
                .optional()
            })
            .during("loading a state")
        }))
    }

    fn answer(
        &self,
        tenant: TenantId,
        key: String,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<IdempotencyRecord>, Error>> {
        Box::pin(self.read(move |db| kept_answer(db, tenant, &key, now).during("looking for an answer")))
    }

    fn keep_answer(
        &self,
        answer: IdempotencyRecord,
        session: Option<SessionId>,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        Box::pin(self.writer.write(move |db| {
            check_answer(db, &answer).during("looking for an answer")?.map_err(ResourceError::KeyTaken)?;
            let key = session.map(|session| key_of(db, session)).transpose()?.flatten();
            keep_answer(db, &answer, key).during("keeping an answer")?;
            Ok::<_, ResourceError>(())
        }))
    }

    fn forget_answer(&self, tenant: TenantId, key: String) -> BoxFuture<'_, Result<(), Error>> {
        let forgotten = self.writer.write(move |db| {
            db.prepare_cached("DELETE FROM answers WHERE tenant = ?1 AND key = ?2")
                .and_then(|mut forget| forget.execute(params![blob(tenant.bits()), key]))
                .during("forgetting an answer")
                .map(|_| ())
        });
        Box::pin(forgotten)
    }

    fn sweep_answers(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<usize, Error>> {
        Box::pin(self.writer.write(move |db| {
            db.prepare_cached(
                "DELETE FROM answers WHERE rowid IN
                 (SELECT rowid FROM answers WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
            )
            .and_then(|mut sweep| sweep.execute(params![now.as_micros(), integer(limit as u64)]))
            .during("sweeping answers")
        }))
    }
}

impl SqliteStore {
    /// The bodies of an append's facts, the big ones in blobs.
    pub(super) async fn bodies(&self, append: &Append) -> Result<Vec<Body>, Error> {
        let mut bodies: Vec<Body> = append.facts.iter().map(|stored| Body::Inline(encode(&*stored.fact))).collect();
        for body in &mut bodies {
            if let Body::Inline(bytes) = body
                && bytes.len() > INLINE_BYTES
            {
                let (blobs, bytes) = (Arc::clone(&self.blobs), std::mem::take(bytes));
                *body = Body::Spilled(blocking(move || blobs.put(&bytes)).await?);
            }
        }
        Ok(bodies)
    }
}

/// Whether an answer can be kept: the inner `Err` is one that is in the way.
pub(super) fn check_answer(
    db: &Connection,
    answer: &IdempotencyRecord,
) -> rusqlite::Result<Result<(), Box<IdempotencyRecord>>> {
    if answer.replaces {
        return Ok(Ok(()));
    }
    let kept = kept_answer(db, answer.tenant, &answer.key, answer.created_at)?;
    Ok(kept.map_or(Ok(()), |kept| Err(Box::new(kept))))
}

/// Keeps an answer in the transaction under way.
pub(super) fn keep_answer(db: &Connection, answer: &IdempotencyRecord, session: Option<i64>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO answers (tenant, key, session, fingerprint, status, body, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        blob(answer.tenant.bits()),
        answer.key,
        session,
        answer.fingerprint,
        answer.status,
        answer.body,
        answer.created_at.as_micros(),
        answer.expires_at.as_micros()
    ])?;
    Ok(())
}

fn kept_answer(
    db: &Connection,
    tenant: TenantId,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<IdempotencyRecord>> {
    db.prepare_cached(
        "SELECT fingerprint, status, body, created_at, expires_at FROM answers
         WHERE tenant = ?1 AND key = ?2 AND expires_at > ?3",
    )?
    .query_row(params![blob(tenant.bits()), key, now.as_micros()], |row| {
        Ok(IdempotencyRecord {
            tenant,
            key: key.to_owned(),
            fingerprint: row.get(0)?,
            status: row.get(1)?,
            body: row.get(2)?,
            created_at: Timestamp::from_micros(row.get(3)?),
            expires_at: Timestamp::from_micros(row.get(4)?),
            replaces: false,
        })
    })
    .optional()
}

/// The key of a session's row, if there is one.
pub(super) fn key_of(db: &Connection, session: SessionId) -> Result<Option<i64>, Error> {
    let operation = "finding a session";
    let mut find = db.prepare_cached("SELECT key FROM sessions WHERE id = ?1").during(operation)?;
    find.query_row([blob(session.bits())], |row| row.get(0)).optional().during(operation)
}

/// Where a query lies in its log: after which place, and before which, if it has such a bound. Times don't decrease along a
/// log, so that those asked for are found by halving instead of by reading everything before them.
fn places(db: &Connection, key: i64, query: &FactQuery) -> Result<(u64, Option<u64>), Error> {
    let FactQuery { mut after, mut before, at: TimeRange { gt, gte, lt, lte }, .. } = *query;
    let operation = "looking for a time in a log";
    let mut at = db.prepare_cached("SELECT at FROM facts WHERE session = ?1 AND seq = ?2").during(operation)?;
    // How many facts come before the first of which this holds.
    let mut before_first = |holds: &dyn Fn(Timestamp) -> bool| {
        let end: u64 = db
            .prepare_cached("SELECT seq FROM sessions WHERE key = ?1")
            .and_then(|mut end| end.query_row([key], |row| row.get(0)))
            .during(operation)?;
        let (mut low, mut high) = (0, end);
        while low < high {
            let middle = low + (high - low) / 2;
            let time = at.query_row(params![key, integer(middle + 1)], |row| row.get(0)).during(operation)?;
            if holds(Timestamp::from_micros(time)) { high = middle } else { low = middle + 1 }
        }
        Ok::<u64, Error>(low)
    };
    if let Some(gt) = gt {
        after = after.max(before_first(&|at| at > gt)?);
    }
    if let Some(gte) = gte {
        after = after.max(before_first(&|at| at >= gte)?);
    }
    if let Some(lt) = lt {
        before = Some(before_first(&|at| at >= lt)?.saturating_add(1).min(before.unwrap_or(u64::MAX)));
    }
    if let Some(lte) = lte {
        before = Some(before_first(&|at| at > lte)?.saturating_add(1).min(before.unwrap_or(u64::MAX)));
    }
    Ok((after, before))
}

/// A place or a limit as SQLite takes it; what is too big for it is as good as its biggest.
pub(super) fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Question marks for so many values.
pub(super) fn marks(values: usize) -> String {
    vec!["?"; values].join(", ")
}

pub(super) const COLUMNS: &str = "seq, at, format, kind, body, blob, item_id, checksum";

/// `None` when there is no such session.
fn facts_after(
    db: &Connection,
    blobs: &BlobFiles,
    session: SessionId,
    after: u64,
    limit: usize,
) -> Result<Option<Vec<StoredFact>>, Error> {
    let Some(key) = key_of(db, session)? else { return Ok(None) };
    let sql = format!("SELECT {COLUMNS} FROM facts WHERE session = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3");
    read_rows(db, blobs, session, &sql, params![key, integer(after), integer(limit as u64)]).map(Some)
}

fn read_rows(
    db: &Connection,
    blobs: &BlobFiles,
    session: SessionId,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<StoredFact>, Error> {
    let operation = "reading facts";
    let mut select = db.prepare_cached(sql).during(operation)?;
    let mut rows = select.query(values).during(operation)?;
    let mut facts = Vec::new();
    while let Some(row) = rows.next().during(operation)? {
        facts.push(read_row(row, blobs, session)?);
    }
    Ok(facts)
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read_row(row: &Row<'_>, blobs: &BlobFiles, session: SessionId) -> Result<StoredFact, Error> {
    let operation = "reading a fact";
    let seq: u64 = row.get(0).during(operation)?;
    let at_micros = row.get(1).during(operation)?;
    let format = row.get(2).during(operation)?;
    let kind = row.get_ref(3).during(operation)?.as_str().during(operation)?;
    let inline = row.get_ref(4).during(operation)?.as_blob_or_null().during(operation)?;
    let spilled = row.get_ref(5).during(operation)?.as_str_or_null().during(operation)?;
    let item = row.get(6).during(operation)?;
    let checksum: Option<u32> = row.get(7).during(operation)?;
    let unreadable = |why: &str| Error::unreadable(format_args!("fact {seq} (`{kind}`) of session {session}"), why);

    let body = inline.or_else(|| spilled.map(str::as_bytes)).ok_or_else(|| unreadable("it has no body"))?;
    let sealed = Sealed { session, seq, at_micros, format, kind, item, body };
    if checksum.is_some_and(|checksum| checksum != sealed.checksum()) {
        return Err(unreadable("it is damaged: its checksum is of other bytes"));
    }
    let fact = match inline {
        Some(bytes) => database::decode_fact(format, kind, seq, bytes)?,
        None => {
            let bytes = match spilled.and_then(BlobId::from_hex) {
                Some(blob) => blobs.get(&blob)?,
                None => None,
            };
            let bytes = bytes.ok_or_else(|| unreadable("the blob it is in is missing"))?;
            database::decode_fact(format, kind, seq, &bytes)?
        }
    };
    Ok(StoredFact { session, seq, at: Timestamp::from_micros(at_micros), fact: Arc::new(fact) })
}
