//! Adding facts, prepared by whoever asks and carried out by the writer.

use rusqlite::{Connection, OptionalExtension as _, params};
use tenure_core::content::BlobId;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_core::time::Timestamp;
use tokio::sync::oneshot;

use super::checksum::Sealed;
use super::fork::Copied;
use super::writer::{Ran, Write};
use super::{During as _, facts, labels};
use crate::append::{Append, AppendError, LogEnd};
use crate::error::Error;
use crate::feed::FeedKind;
use crate::formats::{Stored as _, encode};
use crate::sessions::is_unsettled;
use crate::tails::Hub;
use tenure_core::fact::Fact;
use tenure_core::session::Definition;
use tenure_core::summary::Summary;

/// Where a fact's body goes.
pub(super) enum Body {
    /// Into its row.
    Inline(Vec<u8>),
    /// Into a blob that is on the disk already.
    Spilled(BlobId),
}

impl Body {
    fn sealed_bytes(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Spilled(blob) => blob.as_str().as_bytes(),
        }
    }
}

/// An append whose parts are in their stored form.
pub(super) struct PreparedAppend {
    append: Append,
    bodies: Vec<Body>,
    checksums: Vec<u32>,
    summary: Vec<u8>,
    definition: Option<Vec<u8>>,
    /// The facts before it were copied from another session.
    copied: Option<Copied>,
    refused: Option<AppendError>,
    reply: oneshot::Sender<Answer>,
}

/// The answer, with the memory that was used: whoever asked frees it, since the writer's time is everybody's.
pub(super) struct Answer {
    pub(super) result: Result<(), AppendError>,
    _used: (Append, Vec<Body>, Vec<u8>, Option<Vec<u8>>),
}

impl PreparedAppend {
    /// Serialises what isn't yet; `bodies` are those of the facts, in their order.
    pub(super) fn new(
        append: Append,
        bodies: Vec<Body>,
        copied: Option<Copied>,
        reply: oneshot::Sender<Answer>,
    ) -> Self {
        let summary = encode(&append.summary);
        let definition = append.definition.as_deref().map(encode);
        let checksums = append.facts.iter().zip(&bodies).map(|(stored, body)| checksum(stored, body)).collect();
        Self { append, bodies, checksums, summary, definition, copied, refused: None, reply }
    }

    fn write(&self, db: &Connection) -> Result<(), AppendError> {
        let append = &self.append;
        let row = find(db, append.session).during("finding a session")?;
        if row.is_none() && is_purged(db, append.session).during("finding a session")? {
            return Err(AppendError::Gone);
        }
        match (self.copied, &row) {
            (None, row) => append.check_against(row.as_ref().map(|row| row.end))?,
            (Some(_), Some(row)) => return Err(AppendError::Conflict { actual: row.end.seq }),
            (Some(copied), None) => {
                find(db, copied.from).during("finding the session that is copied")?.ok_or(AppendError::Gone)?;
                append.check_against(end_of_copy(db, copied.key()).during("finding the end of the copy")?)?;
            }
        }
        if let Some(answer) = &append.answer {
            facts::check_answer(db, answer).during("looking for an answer")?.map_err(AppendError::KeyTaken)?;
        }
        let key = self.write_row(db, row).during("writing a session's row")?;
        if let Some(answer) = &append.answer {
            facts::keep_answer(db, answer, Some(key)).during("keeping an answer")?;
        }
        self.write_facts(db, key).during("writing facts")?;
        self.write_feed(db, key).during("writing the feed")?;
        Ok(())
    }

    fn write_row(&self, db: &Connection, row: Option<Row>) -> rusqlite::Result<i64> {
        let row_now = &self.append.summary;
        let (phase, archived) = (row_now.phase().name(), row_now.archived_at().is_some());
        let (unsettled, wake_at) = (is_unsettled(row_now), row_now.wake_at.map(Timestamp::as_micros));
        let at = self.append.facts.last().map_or(row_now.updated_at, |last| last.at).as_micros();
        let labels_before = row.as_ref().map_or_else(String::new, |row| row.labels.clone());
        let key = match row {
            Some(row) => {
                // Columns with an index are named only when they change: SQLite would rewrite the index's entries.
                if row.phase == phase && row.unsettled == unsettled && row.wake_at == wake_at {
                    db.prepare_cached(
                        "UPDATE sessions SET seq = ?2, last_at = ?3, format = ?4, summary = ?5 WHERE key = ?1",
                    )?
                    .execute(params![row.key, row_now.seq, at, Summary::FORMAT, self.summary])?;
                } else {
                    db.prepare_cached(
                        "UPDATE sessions SET seq = ?2, last_at = ?3, phase = ?4, archived = ?5, format = ?6, summary = ?7,
                         unsettled = ?8, wake_at = ?9 WHERE key = ?1",
                    )?
                    .execute(params![
                        row.key, row_now.seq, at, phase, archived, Summary::FORMAT, self.summary, unsettled, wake_at
                    ])?;
                }
                row.key
            }
            None => {
                db.prepare_cached(
                    "INSERT INTO sessions (id, tenant, created_at, agent, agent_version, environment, seq, last_at, phase,
                     archived, unsettled, wake_at, format, summary, key)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
                )?
                .execute(params![
                    blob(row_now.session.bits()),
                    blob(row_now.tenant.bits()),
                    row_now.created_at.as_micros(),
                    blob(row_now.agent.bits()),
                    row_now.agent_version,
                    blob(row_now.environment.bits()),
                    row_now.seq,
                    at,
                    phase,
                    archived,
                    unsettled,
                    wake_at,
                    Summary::FORMAT,
                    self.summary,
                    self.copied.map(Copied::key)
                ])?;
                let key = db.last_insert_rowid();
                if let Some(copied) = self.copied {
                    db.execute("DELETE FROM forks WHERE number = ?1", [copied.number])?;
                }
                key
            }
        };
        if labels_before != labels::joined(row_now) {
            labels::write(db, key, row_now)?;
        }
        if let Some(definition) = &self.definition {
            db.prepare_cached("INSERT OR REPLACE INTO definitions (session, format, body) VALUES (?1, ?2, ?3)")?
                .execute(params![key, Definition::FORMAT, definition])?;
        }
        Ok(key)
    }

    fn write_facts(&self, db: &Connection, key: i64) -> rusqlite::Result<()> {
        let mut insert = db.prepare_cached(
            "INSERT INTO facts (session, seq, at, format, kind, item_id, body, blob, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for ((stored, body), checksum) in self.append.facts.iter().zip(&self.bodies).zip(&self.checksums) {
            let StoredFact { seq, at, fact, .. } = stored;
            let (inline, spilled) = match body {
                Body::Inline(bytes) => (Some(bytes), None),
                Body::Spilled(blob) => (None, Some(blob)),
            };
            insert.execute(params![
                key,
                seq,
                at.as_micros(),
                Fact::FORMAT,
                fact.kind(),
                fact.item().map(|item| blob(item.bits())),
                inline,
                spilled.map(BlobId::as_str),
                checksum
            ])?;
            for named in fact.blobs().chain(spilled) {
                db.prepare_cached("INSERT OR IGNORE INTO named_blobs (blob, session) VALUES (?1, ?2)")?
                    .execute(params![named.as_str(), key])?;
            }
        }
        Ok(())
    }

    fn write_feed(&self, db: &Connection, key: i64) -> rusqlite::Result<()> {
        let Append { summary, facts, feed, .. } = &self.append;
        let at = facts.last().map_or(summary.updated_at, |last| last.at);
        for kind in feed {
            db.prepare_cached(
                "INSERT INTO feed (tenant, session, seq, at, format, kind) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                blob(summary.tenant.bits()),
                key,
                summary.seq,
                at.as_micros(),
                FeedKind::FORMAT,
                encode(kind)
            ])?;
        }
        Ok(())
    }
}

impl Write for PreparedAppend {
    fn size(&self) -> usize {
        let inline = |body: &Body| match body {
            Body::Inline(bytes) => bytes.len(),
            Body::Spilled(_) => 0,
        };
        self.summary.len() + self.bodies.iter().map(inline).sum::<usize>()
    }

    /// It looks at everything before it writes.
    fn refuses_late(&self) -> bool {
        false
    }

    fn run(&mut self, db: &Connection) -> Ran {
        self.refused = self.write(db).err();
        match &self.refused {
            None => Ran::Wrote,
            Some(AppendError::Internal(_)) => Ran::Broke,
            Some(_) => Ran::Refused,
        }
    }

    fn finish(self: Box<Self>, committed: Result<(), Error>, hub: &Hub) {
        let Self { mut append, bodies, checksums: _, summary, definition, copied: _, refused, reply } = *self;
        let result = match (committed, refused) {
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(refused)) => Err(refused),
            (Ok(()), None) => {
                metrics::counter!("tenure_facts_appended_total").increment(append.facts.len() as u64);
                hub.publish(append.session, || std::mem::take(&mut append.facts).into());
                Ok(())
            }
        };
        // Whoever asked may have stopped waiting.
        let _ = reply.send(Answer { result, _used: (append, bodies, summary, definition) });
    }
}

fn checksum(stored: &StoredFact, body: &Body) -> u32 {
    let StoredFact { session, seq, at, fact } = stored;
    let sealed = Sealed {
        session: *session,
        seq: *seq,
        at_micros: at.as_micros(),
        format: Fact::FORMAT,
        kind: fact.kind(),
        item: fact.item().map(|item| blob(item.bits())),
        body: body.sealed_bytes(),
    };
    sealed.checksum()
}

/// An id's bits as they are stored: in the order of the ids.
pub(super) fn blob(bits: u128) -> [u8; 16] {
    bits.to_be_bytes()
}

struct Row {
    key: i64,
    end: LogEnd,
    /// Also says whether it is archived.
    phase: String,
    unsettled: bool,
    wake_at: Option<i64>,
    labels: String,
}

fn find(db: &Connection, session: SessionId) -> rusqlite::Result<Option<Row>> {
    db.prepare_cached("SELECT key, seq, last_at, phase, unsettled, wake_at, labels FROM sessions WHERE id = ?1")?
        .query_row([blob(session.bits())], |row| {
            let end = LogEnd { seq: row.get(1)?, at: Timestamp::from_micros(row.get(2)?) };
            Ok(Row {
                key: row.get(0)?,
                end,
                phase: row.get(3)?,
                unsettled: row.get(4)?,
                wake_at: row.get(5)?,
                labels: row.get(6)?,
            })
        })
        .optional()
}

fn end_of_copy(db: &Connection, key: i64) -> rusqlite::Result<Option<LogEnd>> {
    db.prepare_cached("SELECT seq, at FROM facts WHERE session = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row([key], |row| Ok(LogEnd { seq: row.get(0)?, at: Timestamp::from_micros(row.get(1)?) }))
        .optional()
}

fn is_purged(db: &Connection, session: SessionId) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM purges WHERE id = ?1")?.exists([blob(session.bits())])
}
