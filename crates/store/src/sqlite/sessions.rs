//! Session rows in the database.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tenure_core::id::{SessionId, TenantId};
use tenure_core::phase::Phase;
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;

use super::append::blob;
use super::facts::{integer, key_of};
use super::list::{self, List};
use super::{During as _, SqliteStore, database, labels};
use crate::error::Error;
use crate::feed::FeedEntry;
use crate::page::Page;
use crate::sessions::{SessionQuery, SessionRow, SessionRows, position, prefix_range};

const COLUMNS: &str = "SELECT s.format, s.summary, d.format, d.body";
const DEFINITION: &str = "JOIN definitions d ON d.session = s.key";

impl SessionRows for SqliteStore {
    fn session(&self, tenant: Option<TenantId>, id: SessionId) -> BoxFuture<'_, Result<Option<SessionRow>, Error>> {
        Box::pin(self.read(move |db| {
            let operation = "reading a session's row";
            let mut select = db
                .prepare_cached(&format!("{COLUMNS} FROM sessions s {DEFINITION} WHERE s.id = ?1"))
                .during(operation)?;
            let mut rows = select.query([blob(id.bits())]).during(operation)?;
            let row = rows.next().during(operation)?.map(read_row).transpose()?;
            Ok(row.filter(|row| tenant.is_none_or(|tenant| row.summary.tenant == tenant)))
        }))
    }

    fn sessions(&self, query: SessionQuery) -> BoxFuture<'_, Result<Page<SessionRow>, Error>> {
        Box::pin(self.read(move |db| {
            let leading = labels::leading(db, query.tenant, &query.labels)?;
            list::page(&lists_of(&query, leading), db, query.order, query.start, query.limit, |row| {
                let row = read_row(row)?;
                Ok((position(&row.summary), row))
            })
        }))
    }

    fn sessions_by_prefix(
        &self,
        tenant: TenantId,
        prefix: String,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(self.read(move |db| {
            let Some((least, greatest)) = prefix_range(&prefix) else { return Ok(Vec::new()) };
            // `+tenant` keeps SQLite from reading all of a tenant's sessions by the other index.
            let sql = "SELECT id FROM sessions WHERE id BETWEEN ?1 AND ?2 AND +tenant = ?3 ORDER BY id LIMIT ?4";
            let values = params![blob(least.bits()), blob(greatest.bits()), blob(tenant.bits()), integer(limit as u64)];
            ids(db, sql, values)
        }))
    }

    fn due(&self, now: Timestamp, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(self.read(move |db| {
            let sql = "SELECT id FROM sessions WHERE wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2";
            ids(db, sql, params![now.as_micros(), integer(limit as u64)])
        }))
    }

    fn next_due(&self) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        Box::pin(self.read(|db| {
            db.prepare_cached("SELECT wake_at FROM sessions WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 1")
                .and_then(|mut next| next.query_row([], |row| row.get(0)).optional())
                .during("looking for the next session that is due")
                .map(|next| next.map(Timestamp::from_micros))
        }))
    }

    fn unsettled(&self, after: Option<SessionId>, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(self.read(move |db| {
            let sql = "SELECT id FROM sessions INDEXED BY sessions_unsettled
                       WHERE unsettled = 1 AND id > ?1 ORDER BY id LIMIT ?2";
            ids(db, sql, params![after_id(after), integer(limit as u64)])
        }))
    }

    fn session_ids(&self, after: Option<SessionId>, limit: usize) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(self.read(move |db| {
            let sql = "SELECT id FROM sessions WHERE id > ?1 ORDER BY id LIMIT ?2";
            ids(db, sql, params![after_id(after), integer(limit as u64)])
        }))
    }

    fn delete_session(&self, session: SessionId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.writer.write_then(
            move |db| {
                let Some(key) = key_of(db, session)? else { return Ok(false) };
                delete(db, session, key).during("deleting a session")?;
                Ok(true)
            },
            move |known, hub| {
                if *known {
                    hub.publish_deletion(session);
                }
            },
        ))
    }

    fn purges(&self) -> BoxFuture<'_, Result<Vec<SessionId>, Error>> {
        Box::pin(self.read(|db| ids(db, "SELECT id FROM purges ORDER BY id", [])))
    }

    fn purge_done(&self, session: SessionId) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.writer.write(move |db| {
            db.execute("DELETE FROM purges WHERE id = ?1", [blob(session.bits())]).during("ending a purge").map(|_| ())
        }))
    }

    fn feed(&self, tenant: TenantId, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<FeedEntry>, Error>> {
        Box::pin(self.read(move |db| {
            let operation = "reading a feed";
            let mut select = db
                .prepare_cached(
                    "SELECT f.position, s.id, f.seq, f.at, f.format, f.kind FROM feed f JOIN sessions s ON s.key = f.session
                     WHERE f.tenant = ?1 AND f.position > ?2 ORDER BY f.position LIMIT ?3",
                )
                .during(operation)?;
            let values = params![blob(tenant.bits()), integer(after), integer(limit as u64)];
            let mut rows = select.query(values).during(operation)?;
            let mut entries = Vec::new();
            while let Some(row) = rows.next().during(operation)? {
                let kind = row.get_ref(5).during(operation)?.as_blob().during(operation)?;
                entries.push(FeedEntry {
                    position: row.get(0).during(operation)?,
                    session: SessionId::from_bits(u128::from_be_bytes(row.get(1).during(operation)?)),
                    seq: row.get(2).during(operation)?,
                    at: Timestamp::from_micros(row.get(3).during(operation)?),
                    kind: database::decode(row.get(4).during(operation)?, kind)?,
                });
            }
            Ok(entries)
        }))
    }
}

/// One list for each phase asked for, or one for all. With labels it is the list of the leading one.
fn lists_of(query: &SessionQuery, leading: usize) -> Vec<List> {
    if let Some(label) = query.labels.get(leading) {
        return vec![labelled(query, label)];
    }
    match &query.phases {
        None => vec![list_of(query, None)],
        Some(phases) => {
            let wanted = Phase::ALL.into_iter().filter(|phase| phases.contains(phase));
            wanted.map(|phase| list_of(query, Some(phase))).collect()
        }
    }
}

fn list_of(query: &SessionQuery, phase: Option<Phase>) -> List {
    let SessionQuery { tenant, agent, created, include_archived, .. } = query;
    // SQLite knows too little of the data to choose: each of these is in the list's order.
    let index = match (phase, agent) {
        (Some(_), _) => "sessions_by_phase",
        (None, Some(_)) => "sessions_by_agent",
        (None, None) if *include_archived => "sessions_by_creation",
        (None, None) => "sessions_unarchived",
    };
    let select = format!("{COLUMNS} FROM sessions s INDEXED BY {index} {DEFINITION}");
    let mut conditions = String::from("s.tenant = ?");
    let mut values = vec![Value::Blob(blob(tenant.bits()).to_vec())];
    if let Some(phase) = phase {
        conditions.push_str(" AND s.phase = ?");
        values.push(Value::Text(phase.name().to_owned()));
    }
    further(query, &mut conditions, &mut values);
    List { select, table: "s.", created: *created, conditions, values }
}

/// The sessions that have a label, and all the others that are asked for.
fn labelled(query: &SessionQuery, label: &str) -> List {
    // The order of the tables is the order in which they are read.
    let select = format!(
        "{COLUMNS} FROM labels l CROSS JOIN sessions s ON s.key = l.session CROSS JOIN definitions d ON d.session = s.key"
    );
    let tenant = Value::Blob(blob(query.tenant.bits()).to_vec());
    let mut conditions = String::from("l.tenant = ? AND l.label = ?");
    let mut values = vec![tenant, Value::Text(label.to_owned())];
    for other in query.labels.iter().filter(|other| *other != label) {
        conditions.push_str(
            " AND EXISTS (SELECT 1 FROM labels o WHERE o.tenant = l.tenant AND o.label = ? AND o.created_at = l.created_at
             AND o.id = l.id)",
        );
        values.push(Value::Text(other.clone()));
    }
    if let Some(phases) = &query.phases {
        let marks = vec!["?"; phases.len()].join(", ");
        conditions.push_str(&format!(" AND s.phase IN ({marks})"));
        values.extend(phases.iter().map(|phase| Value::Text(phase.name().to_owned())));
    }
    further(query, &mut conditions, &mut values);
    List { select, table: "l.", created: query.created, conditions, values }
}

/// The conditions that need no index of their own.
fn further(query: &SessionQuery, conditions: &mut String, values: &mut Vec<Value>) {
    let SessionQuery { agent, agent_version, environment, include_archived, .. } = query;
    if let Some(agent) = agent {
        conditions.push_str(" AND s.agent = ?");
        values.push(Value::Blob(blob(agent.bits()).to_vec()));
    }
    if let Some(version) = agent_version {
        conditions.push_str(" AND s.agent_version = ?");
        values.push(Value::Integer(i64::from(*version)));
    }
    if let Some(environment) = environment {
        conditions.push_str(" AND s.environment = ?");
        values.push(Value::Blob(blob(environment.bits()).to_vec()));
    }
    if !include_archived {
        conditions.push_str(" AND s.archived = 0");
    }
}

fn read_row(row: &Row<'_>) -> Result<SessionRow, Error> {
    let operation = "reading a session's row";
    let summary = row.get_ref(1).during(operation)?.as_blob().during(operation)?;
    let definition = row.get_ref(3).during(operation)?.as_blob().during(operation)?;
    Ok(SessionRow {
        summary: database::decode::<Summary>(row.get(0).during(operation)?, summary)?,
        definition: Arc::new(database::decode::<Definition>(row.get(2).during(operation)?, definition)?),
    })
}

fn ids(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<SessionId>, Error> {
    let read = |row: &Row<'_>| row.get(0).map(|id| SessionId::from_bits(u128::from_be_bytes(id)));
    db.prepare_cached(sql)
        .and_then(|mut select| select.query_map(values, read)?.collect())
        .during("reading the ids of sessions")
}

/// The bound for ids after one; an empty one is before all.
fn after_id(after: Option<SessionId>) -> Vec<u8> {
    after.map(|id| blob(id.bits()).to_vec()).unwrap_or_default()
}

fn delete(db: &Connection, session: SessionId, key: i64) -> rusqlite::Result<()> {
    for sql in [
        "DELETE FROM facts WHERE session = ?1",
        "DELETE FROM definitions WHERE session = ?1",
        "DELETE FROM states WHERE session = ?1",
        "DELETE FROM named_blobs WHERE session = ?1",
        "DELETE FROM answers WHERE session = ?1",
        "DELETE FROM feed WHERE session = ?1",
        "DELETE FROM labels WHERE session = ?1",
        "DELETE FROM sessions WHERE key = ?1",
    ] {
        db.prepare_cached(sql)?.execute([key])?;
    }
    db.prepare_cached("INSERT OR IGNORE INTO purges (id) VALUES (?1)")?.execute([blob(session.bits())])?;
    Ok(())
}
