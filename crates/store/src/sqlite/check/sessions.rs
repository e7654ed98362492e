//! Each session: its log, and what follows from it.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, params};
use tenure_core::id::SessionId;
use tenure_core::past::{self, Rewind};
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;

use super::super::append::blob;
use super::super::{During as _, database, facts, labels};
use super::whole::{Checking, REPAIR, RESTORE};
use crate::check::{Finding, Part, Replay};
use crate::error::Error;
use crate::facts::CachedState;
use crate::sessions::{SessionRow, is_unsettled};

const OPERATION: &str = "checking a session";

/// Sessions one after the other, each as of one moment.
pub(super) fn check(checking: &mut Checking<'_>, replay: &mut dyn Replay) -> Result<(), Error> {
    let db = checking.db;
    let mut last = i64::MIN;
    loop {
        checking.go_on()?;
        let moment = db.unchecked_transaction().during(OPERATION)?;
        let next: Option<(i64, [u8; 16])> = db
            .prepare_cached("SELECT key, id FROM sessions WHERE key > ?1 ORDER BY key LIMIT 1")
            .and_then(|mut next| next.query_row([last], |row| Ok((row.get(0)?, row.get(1)?))).optional())
            .during(OPERATION)?;
        let Some((key, id)) = next else { return Ok(()) };
        last = key;
        one(checking, replay, key, SessionId::from_bits(u128::from_be_bytes(id)))?;
        checking.checked.sessions += 1;
        drop(moment);
    }
}

fn one(checking: &mut Checking<'_>, replay: &mut dyn Replay, key: i64, session: SessionId) -> Result<(), Error> {
    let db = checking.db;
    let row = row(checking, key, session)?;
    let kept = db
        .prepare_cached("SELECT seq, format, blob FROM states WHERE session = ?1")
        .and_then(|mut kept| {
            kept.query_row([key], |row| Ok(CachedState { seq: row.get(0)?, format: row.get(1)?, blob: row.get(2)? }))
                .optional()
        })
        .during(OPERATION)?;
    replay.begin(session, &rewinds(checking, key, session)?, kept);
    let log = log(checking, replay, key, session)?;
    references(checking, key, session, &log)?;
    if !log.whole {
        return Ok(());
    }
    for disagreement in replay.end(row.as_ref()) {
        let (meaning, remedy, repairable) = match disagreement.part {
            Part::State => ("waking the session may begin from a wrong state", REPAIR, true),
            Part::Row | Part::Definition => ("lists and statuses show what isn't so", REPAIR, true),
            _ => ("the log makes no sense from there on", RESTORE, false),
        };
        let finding = Finding::new(disagreement.part, disagreement.what, meaning, remedy).of(session);
        checking.find(Finding { repairable, ..finding });
    }
    let end = row.map(|row| row.summary.seq);
    if end.is_some_and(|end| end != log.last) {
        let what = format!("the row says that the log ends at {}, but it ends at {}", end.unwrap_or(0), log.last);
        let meaning = match end > Some(log.last) {
            true => "facts at the log's end are missing",
            false => "the session takes no more facts",
        };
        checking.find(Finding::new(Part::Log, what, meaning, RESTORE).of(session).at(log.last));
    }
    Ok(())
}

/// The row, if it can be read; its columns must say what its summary says.
fn row(checking: &mut Checking<'_>, key: i64, session: SessionId) -> Result<Option<SessionRow>, Error> {
    let stored = match stored_row(checking.db, key) {
        Ok(stored) => stored,
        Err(error) => {
            let meaning = "the session can't be listed or woken";
            checking.find(Finding::new(Part::Row, error.to_string(), meaning, REPAIR).of(session).repairable());
            return Ok(None);
        }
    };
    let Some(definition) = stored.definition else {
        let what = "its definition is missing or can't be read";
        let meaning = "the session isn't listed any more";
        checking.find(Finding::new(Part::Definition, what, meaning, REPAIR).of(session).repairable());
        return Ok(None);
    };
    let summary = stored.summary;
    let wanted = Columns::of(&summary);
    if stored.columns != wanted {
        let what = format!("the row's columns say {:?}, its summary {wanted:?}", stored.columns);
        let meaning = "lists leave the session out, or have it in the wrong place; a restart may not take it up";
        checking.find(Finding::new(Part::Row, what, meaning, REPAIR).of(session).repairable());
    }
    Ok(Some(SessionRow { summary, definition: definition.into() }))
}

/// What a row says again, for its indexes.
#[derive(Debug, PartialEq, Eq)]
struct Columns {
    session: SessionId,
    tenant: [u8; 16],
    created_at: i64,
    agent: [u8; 16],
    agent_version: u32,
    environment: [u8; 16],
    seq: u64,
    phase: String,
    archived: bool,
    unsettled: bool,
    wake_at: Option<i64>,
    labels: String,
    listed_under: Vec<Listed>,
}

/// A row of the table of labels.
type Listed = (String, [u8; 16], i64, [u8; 16]);

impl Columns {
    fn of(summary: &Summary) -> Self {
        Self {
            session: summary.session,
            tenant: blob(summary.tenant.bits()),
            created_at: summary.created_at.as_micros(),
            agent: blob(summary.agent.bits()),
            agent_version: summary.agent_version,
            environment: blob(summary.environment.bits()),
            seq: summary.seq,
            phase: summary.phase().name().to_owned(),
            archived: summary.archived_at().is_some(),
            unsettled: is_unsettled(summary),
            wake_at: summary.wake_at.map(Timestamp::as_micros),
            labels: labels::joined(summary),
            listed_under: summary.labels.iter().map(|label| listed(label, summary)).collect(),
        }
    }
}

fn listed(label: &str, summary: &Summary) -> Listed {
    let (tenant, id) = (blob(summary.tenant.bits()), blob(summary.session.bits()));
    (label.to_owned(), tenant, summary.created_at.as_micros(), id)
}

struct StoredRow {
    columns: Columns,
    summary: Summary,
    definition: Option<Definition>,
}

fn stored_row(db: &Connection, key: i64) -> Result<StoredRow, Error> {
    let operation = "reading the session's row";
    let mut select = db
        .prepare_cached(
            "SELECT id, tenant, created_at, agent, agent_version, environment, seq, phase, archived, unsettled, wake_at,
             format, summary, labels FROM sessions WHERE key = ?1",
        )
        .during(operation)?;
    let mut rows = select.query([key]).during(operation)?;
    let row = rows.next().during(operation)?.ok_or_else(|| Error::internal(operation, "it is gone"))?;
    let listed_under = db
        .prepare_cached("SELECT label, tenant, created_at, id FROM labels WHERE session = ?1 ORDER BY label")
        .and_then(|mut select| {
            select.query_map([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
        })
        .during(operation)?;
    let columns = (|| {
        Ok(Columns {
            session: SessionId::from_bits(u128::from_be_bytes(row.get(0)?)),
            tenant: row.get(1)?,
            created_at: row.get(2)?,
            agent: row.get(3)?,
            agent_version: row.get(4)?,
            environment: row.get(5)?,
            seq: row.get(6)?,
            phase: row.get(7)?,
            archived: row.get(8)?,
            unsettled: row.get(9)?,
            wake_at: row.get(10)?,
            labels: row.get(13)?,
            listed_under,
        })
    })();
    let columns = columns.map_err(|error: rusqlite::Error| Error::internal(operation, error))?;
    let summary = database::decode(
        row.get(11).during(operation)?,
        row.get_ref(12).during(operation)?.as_blob().during(operation)?,
    )?;
    let mut select = db.prepare_cached("SELECT format, body FROM definitions WHERE session = ?1").during(operation)?;
    let mut rows = select.query([key]).during(operation)?;
    let definition = match rows.next().during(operation)? {
        Some(row) => {
            let body = row.get_ref(1).during(operation)?.as_blob().during(operation)?;
            database::decode(row.get(0).during(operation)?, body).ok()
        }
        None => None,
    };
    Ok(StoredRow { columns, summary, definition })
}

/// Where a log goes back, as far as that can be read.
pub(super) fn rewinds(checking: &Checking<'_>, key: i64, session: SessionId) -> Result<Vec<Rewind>, Error> {
    let sql =
        format!("SELECT {} FROM facts WHERE session = ?1 AND kind = 'session_rewound' ORDER BY seq", facts::COLUMNS);
    let mut select = checking.db.prepare_cached(&sql).during(OPERATION)?;
    let mut rows = select.query([key]).during(OPERATION)?;
    let mut found = Vec::new();
    // What is damaged is told of when the log is read.
    while let Ok(Some(row)) = rows.next() {
        found.extend(facts::read_row(row, checking.blobs, session).ok());
    }
    Ok(past::rewinds(&found))
}

/// What came of reading a log.
pub(super) struct Log {
    /// The place of the last fact that was read.
    last: u64,
    /// Whether all of it could be read and nothing was missing.
    pub(super) whole: bool,
    /// The blobs its facts are in or name.
    pub(super) blobs: HashSet<String>,
}

/// Replays a log as far as it is whole, and tells what isn't.
pub(super) fn log(
    checking: &mut Checking<'_>,
    replay: &mut dyn Replay,
    key: i64,
    session: SessionId,
) -> Result<Log, Error> {
    let sql = format!("SELECT {} FROM facts WHERE session = ?1 ORDER BY seq", facts::COLUMNS);
    let mut select = checking.db.prepare_cached(&sql).during(OPERATION)?;
    let mut rows = select.query([key]).during(OPERATION)?;
    let mut log = Log { last: 0, whole: true, blobs: HashSet::new() };
    let mut at = Timestamp::from_micros(i64::MIN);
    loop {
        checking.go_on()?;
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(log),
            Err(error) => {
                let what = format!("the log can't be read beyond fact {}: {error}", log.last);
                let meaning = "what comes after it can't be had";
                checking.find(Finding::new(Part::Log, what, meaning, RESTORE).of(session).at(log.last));
                log.whole = false;
                return Ok(log);
            }
        };
        checking.checked.facts += 1;
        let seq: u64 = row.get(0).during(OPERATION)?;
        if seq != log.last + 1 {
            let what = match seq - log.last {
                0..=2 => format!("fact {} is missing", log.last + 1),
                _ => format!("the facts {} to {} are missing", log.last + 1, seq - 1),
            };
            let meaning = "what they said is lost, and the session's state can't be known";
            checking.find(Finding::new(Part::Log, what, meaning, RESTORE).of(session).at(log.last + 1));
            log.whole = false;
        }
        log.last = seq;
        let spilled: Option<String> = row.get(5).during(OPERATION)?;
        log.blobs.extend(spilled);
        let fact = match facts::read_row(row, checking.blobs, session) {
            Ok(fact) => fact,
            Err(error) => {
                let meaning = "neither it nor what comes after it can be shown, and the session doesn't wake";
                checking.find(Finding::new(Part::Log, error.to_string(), meaning, RESTORE).of(session).at(seq));
                log.whole = false;
                continue;
            }
        };
        if fact.at < at {
            let what = format!("fact {seq} is earlier than the one before it");
            let meaning = "queries by time may leave it out";
            checking.find(Finding::new(Part::Log, what, meaning, RESTORE).of(session).at(seq));
        }
        at = at.max(fact.at);
        let kind = row.get_ref(3).during(OPERATION)?.as_str().during(OPERATION)?;
        let item: Option<[u8; 16]> = row.get(6).during(OPERATION)?;
        if kind != fact.fact.kind() || item != fact.fact.item().map(|item| blob(item.bits())) {
            let what =
                format!("fact {seq} is filed as another kind (`{kind}`) or under another item than its body says");
            let meaning = "lists leave it out, or show it where it doesn't belong";
            checking.find(Finding::new(Part::Log, what, meaning, RESTORE).of(session).at(seq));
        }
        log.blobs.extend(fact.fact.blobs().map(|blob| blob.as_str().to_owned()));
        if log.whole {
            replay.fact(&fact);
        }
    }
}

/// What a session is said to name is what its facts name.
fn references(checking: &mut Checking<'_>, key: i64, session: SessionId, log: &Log) -> Result<(), Error> {
    let named: HashSet<String> = checking
        .db
        .prepare_cached("SELECT blob FROM named_blobs WHERE session = ?1")
        .and_then(|mut named| named.query_map(params![key], |row| row.get(0))?.collect())
        .during(OPERATION)?;
    for blob in log.blobs.difference(&named) {
        let what = format!("the log names blob {blob}, but the list of named blobs doesn't");
        let meaning = "the next sweep may remove the blob";
        checking.find(Finding::new(Part::BlobReference, what, meaning, REPAIR).of(session).repairable());
    }
    if log.whole {
        for blob in named.difference(&log.blobs) {
            let what = format!("blob {blob} is said to be named by the session, but its log doesn't");
            let meaning = "the blob is kept though nobody needs it";
            checking.find(Finding::new(Part::BlobReference, what, meaning, REPAIR).of(session).repairable());
        }
    }
    Ok(())
}
