//! Agents, environments and keys in the database.

use futures_core::future::BoxFuture;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use tenure_core::id::{AgentId, EnvironmentId, KeyId, TenantId};
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::time::Timestamp;

use super::append::blob;
use super::facts::{check_answer, integer, keep_answer};
use super::list::{self, List};
use super::{During as _, SqliteStore, database};
use crate::error::Error;
use crate::formats::{Stored, encode};
use crate::idempotency::NewAnswer;
use crate::page::{Page, Position};
use crate::resources::{ResourceError, ResourceQuery, Resources};

const AGENT: &str =
    "SELECT v.format, v.body FROM agents a JOIN agent_versions v ON v.agent = a.id AND v.version = a.version";
const VERSION: &str =
    "SELECT v.format, v.body, a.slug, a.archived_at FROM agents a JOIN agent_versions v ON v.agent = a.id";
const ENVIRONMENT: &str = "SELECT format, body FROM environments";

impl Resources for SqliteStore {
    fn create_agent(&self, record: AgentRecord, answer: NewAnswer) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.change(answer, move |db| {
            let id = blob(record.agent.id.bits());
            refuse_if_any(db, "SELECT 1 FROM agents WHERE id = ?1", [id])?;
            refuse_if_slug_is_taken(db, &record)?;
            db.execute(
                "INSERT INTO agents (id, tenant, slug, version, created_at, archived_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    id,
                    blob(record.tenant.bits()),
                    record.slug,
                    record.agent.version,
                    record.created_at.as_micros(),
                    record.archived_at.map(Timestamp::as_micros)
                ],
            )
            .during("storing an agent")?;
            store_version(db, &record)
        })
    }

    fn agent(&self, tenant: TenantId, id: AgentId) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>> {
        Box::pin(self.read(move |db| {
            one(db, AGENT, "a.tenant = ?1 AND a.id = ?2", params![blob(tenant.bits()), blob(id.bits())])
        }))
    }

    fn agent_version(
        &self,
        tenant: TenantId,
        id: AgentId,
        version: u32,
    ) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>> {
        Box::pin(self.read(move |db| Ok(versions(db, tenant, id, version, version, 1)?.pop())))
    }

    fn agent_by_slug(&self, tenant: TenantId, slug: String) -> BoxFuture<'_, Result<Option<AgentRecord>, Error>> {
        Box::pin(
            self.read(move |db| one(db, AGENT, "a.tenant = ?1 AND a.slug = ?2", params![blob(tenant.bits()), slug])),
        )
    }

    fn update_agent(
        &self,
        expected_version: u32,
        record: AgentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.change(answer, move |db| {
            let (id, tenant) = (blob(record.agent.id.bits()), blob(record.tenant.bits()));
            let sql = "SELECT version, archived_at FROM agents WHERE id = ?1 AND tenant = ?2";
            let found = db.query_row(sql, params![id, tenant], |row| Ok((row.get(0)?, row.get(1)?)));
            let found: Option<(u32, Option<i64>)> = found.optional().during("finding an agent")?;
            let (version, archived_at) = found.ok_or(ResourceError::NotFound)?;
            if version != expected_version || (archived_at.is_some() && record.archived_at.is_none()) {
                return Err(ResourceError::Conflict);
            }
            refuse_if_slug_is_taken(db, &record)?;
            db.execute(
                "UPDATE agents SET slug = ?2, version = ?3, archived_at = ?4 WHERE id = ?1",
                params![id, record.slug, record.agent.version, record.archived_at.map(Timestamp::as_micros)],
            )
            .during("storing an agent")?;
            store_version(db, &record)
        })
    }

    fn agents(&self, query: ResourceQuery) -> BoxFuture<'_, Result<Page<AgentRecord>, Error>> {
        Box::pin(self.read(move |db| {
            list::page(&[list_of(&query, AGENT, "a.")], db, query.order, query.start, query.limit, |row| {
                let agent: AgentRecord = read(row)?;
                Ok((Position { created_at: agent.created_at, id: agent.agent.id.bits() }, agent))
            })
        }))
    }

    fn agent_versions(
        &self,
        tenant: TenantId,
        id: AgentId,
        before: Option<u32>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<AgentRecord>, Error>> {
        let last = before.map_or(u32::MAX, |before| before.saturating_sub(1));
        Box::pin(self.read(move |db| versions(db, tenant, id, 0, last, limit)))
    }

    fn create_environment(
        &self,
        record: EnvironmentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.change(answer, move |db| {
            refuse_if_any(db, "SELECT 1 FROM environments WHERE id = ?1", [blob(record.id.bits())])?;
            store_environment(db, &record)
        })
    }

    fn environment(
        &self,
        tenant: TenantId,
        id: EnvironmentId,
    ) -> BoxFuture<'_, Result<Option<EnvironmentRecord>, Error>> {
        Box::pin(self.read(move |db| {
            one(db, ENVIRONMENT, "tenant = ?1 AND id = ?2", params![blob(tenant.bits()), blob(id.bits())])
        }))
    }

    fn environment_by_name(
        &self,
        tenant: TenantId,
        name: String,
    ) -> BoxFuture<'_, Result<Option<EnvironmentRecord>, Error>> {
        Box::pin(
            self.read(move |db| one(db, ENVIRONMENT, "tenant = ?1 AND name = ?2", params![blob(tenant.bits()), name])),
        )
    }

    fn update_environment(
        &self,
        expected: Timestamp,
        record: EnvironmentRecord,
        answer: NewAnswer,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.change(answer, move |db| {
            let (id, tenant) = (blob(record.id.bits()), blob(record.tenant.bits()));
            let sql = "SELECT updated_at FROM environments WHERE id = ?1 AND tenant = ?2";
            let found: Option<i64> =
                db.query_row(sql, params![id, tenant], |row| row.get(0)).optional().during("finding an environment")?;
            if found.ok_or(ResourceError::NotFound)? != expected.as_micros() {
                return Err(ResourceError::Conflict);
            }
            store_environment(db, &record)
        })
    }

    fn delete_environment(&self, tenant: TenantId, id: EnvironmentId) -> BoxFuture<'_, Result<(), ResourceError>> {
        Box::pin(self.writer.write(move |db| {
            let (id, tenant) = (blob(id.bits()), blob(tenant.bits()));
            let found = exists(db, "SELECT 1 FROM environments WHERE id = ?1 AND tenant = ?2", params![id, tenant])?;
            if !found {
                return Err(ResourceError::NotFound);
            }
            if exists(db, "SELECT 1 FROM sessions WHERE environment = ?1", [id])? {
                return Err(ResourceError::InUse);
            }
            db.execute("DELETE FROM environments WHERE id = ?1", [id]).during("deleting an environment")?;
            Ok(())
        }))
    }

    fn environments(&self, query: ResourceQuery) -> BoxFuture<'_, Result<Page<EnvironmentRecord>, Error>> {
        Box::pin(self.read(move |db| {
            list::page(&[list_of(&query, ENVIRONMENT, "")], db, query.order, query.start, query.limit, |row| {
                let environment: EnvironmentRecord = read(row)?;
                Ok((Position { created_at: environment.created_at, id: environment.id.bits() }, environment))
            })
        }))
    }

    fn create_key(&self, record: KeyRecord, answer: NewAnswer) -> BoxFuture<'_, Result<(), ResourceError>> {
        self.change(answer, move |db| {
            let id = blob(record.id.bits());
            refuse_if_any(db, "SELECT 1 FROM keys WHERE id = ?1 OR hash = ?2", params![id, record.hash])?;
            db.execute(
                "INSERT INTO keys (id, tenant, hash, created_at, format, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    id,
                    blob(record.tenant.bits()),
                    record.hash,
                    record.created_at.as_micros(),
                    KeyRecord::FORMAT,
                    encode(&record)
                ],
            )
            .during("storing a key")?;
            Ok(())
        })
    }

    fn key_by_hash(&self, hash: String) -> BoxFuture<'_, Result<Option<KeyRecord>, Error>> {
        Box::pin(self.read(move |db| one(db, "SELECT format, body FROM keys", "hash = ?1", [hash])))
    }

    fn keys(&self, tenant: TenantId) -> BoxFuture<'_, Result<Vec<KeyRecord>, Error>> {
        Box::pin(self.read(move |db| {
            let sql = "SELECT format, body FROM keys WHERE tenant = ?1 ORDER BY created_at DESC, id DESC";
            all(db, sql, [blob(tenant.bits())], read)
        }))
    }

    fn revoke_key(&self, tenant: TenantId, id: KeyId, at: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.writer.write(move |db| {
            let (tenant, id) = (blob(tenant.bits()), blob(id.bits()));
            let found = one(db, "SELECT format, body FROM keys", "tenant = ?1 AND id = ?2", params![tenant, id])?;
            let Some(mut key): Option<KeyRecord> = found else { return Ok(false) };
            key.revoked_at.get_or_insert(at);
            let values = params![id, KeyRecord::FORMAT, encode(&key)];
            db.execute("UPDATE keys SET format = ?2, body = ?3 WHERE id = ?1", values).during("revoking a key")?;
            Ok(true)
        }))
    }
}

impl SqliteStore {
    /// Keeps the answer and carries out the change, or neither.
    fn change(
        &self,
        answer: NewAnswer,
        change: impl Fn(&Connection) -> Result<(), ResourceError> + Send + 'static,
    ) -> BoxFuture<'_, Result<(), ResourceError>> {
        Box::pin(self.writer.write(move |db| {
            if let Some(answer) = &answer {
                check_answer(db, answer).during("looking for an answer")?.map_err(ResourceError::KeyTaken)?;
                keep_answer(db, answer, None).during("keeping an answer")?;
            }
            change(db)
        }))
    }
}

fn refuse_if_any(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<(), ResourceError> {
    if exists(db, sql, values)? { Err(ResourceError::NameTaken) } else { Ok(()) }
}

fn exists(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<bool, Error> {
    db.prepare_cached(sql).and_then(|mut select| select.exists(values)).during("looking for a resource")
}

fn refuse_if_slug_is_taken(db: &Connection, record: &AgentRecord) -> Result<(), ResourceError> {
    let values = params![blob(record.tenant.bits()), record.slug, blob(record.agent.id.bits())];
    refuse_if_any(db, "SELECT 1 FROM agents WHERE tenant = ?1 AND slug = ?2 AND id <> ?3", values)
}

fn store_version(db: &Connection, record: &AgentRecord) -> Result<(), ResourceError> {
    db.execute(
        "INSERT OR REPLACE INTO agent_versions (agent, version, format, body) VALUES (?1, ?2, ?3, ?4)",
        params![blob(record.agent.id.bits()), record.agent.version, AgentRecord::FORMAT, encode(record)],
    )
    .during("storing an agent's version")?;
    Ok(())
}

fn store_environment(db: &Connection, record: &EnvironmentRecord) -> Result<(), ResourceError> {
    let (id, tenant) = (blob(record.id.bits()), blob(record.tenant.bits()));
    let sql = "SELECT 1 FROM environments WHERE tenant = ?1 AND name = ?2 AND id <> ?3";
    refuse_if_any(db, sql, params![tenant, record.name, id])?;
    db.execute(
        "INSERT OR REPLACE INTO environments (id, tenant, name, created_at, updated_at, archived_at, format, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id,
            tenant,
            record.name,
            record.created_at.as_micros(),
            record.updated_at.as_micros(),
            record.archived_at.map(Timestamp::as_micros),
            EnvironmentRecord::FORMAT,
            encode(record)
        ],
    )
    .during("storing an environment")?;
    Ok(())
}

/// An agent's versions from `first` to `last`, newest first.
fn versions(
    db: &Connection,
    tenant: TenantId,
    id: AgentId,
    first: u32,
    last: u32,
    limit: usize,
) -> Result<Vec<AgentRecord>, Error> {
    let sql = format!(
        "{VERSION} WHERE a.tenant = ?1 AND a.id = ?2 AND v.version BETWEEN ?3 AND ?4 ORDER BY v.version DESC LIMIT ?5"
    );
    let values = params![blob(tenant.bits()), blob(id.bits()), first, last, integer(limit as u64)];
    all(db, &sql, values, |row| {
        let mut agent: AgentRecord = read(row)?;
        agent.slug = row.get(2).during("reading an agent")?;
        let archived_at: Option<i64> = row.get(3).during("reading an agent")?;
        agent.archived_at = archived_at.map(Timestamp::from_micros);
        Ok(agent)
    })
}

fn list_of(query: &ResourceQuery, select: &str, table: &'static str) -> List {
    let mut conditions = format!("{table}tenant = ?");
    let values = vec![Value::Blob(blob(query.tenant.bits()).to_vec())];
    if !query.include_archived {
        conditions.push_str(&format!(" AND {table}archived_at IS NULL"));
    }
    List { select: select.to_owned(), table, created: query.created, conditions, values }
}

fn one<T: Stored>(
    db: &Connection,
    select: &str,
    condition: &str,
    values: impl rusqlite::Params,
) -> Result<Option<T>, Error> {
    Ok(all(db, &format!("{select} WHERE {condition}"), values, read)?.pop())
}

fn all<T>(
    db: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let operation = "reading resources";
    let mut select = db.prepare_cached(sql).during(operation)?;
    let mut rows = select.query(values).during(operation)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().during(operation)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// Reads a value from a row that begins with its format and body.
fn read<T: Stored>(row: &Row<'_>) -> Result<T, Error> {
    let body = row.get_ref(1).during("reading a resource")?.as_blob().during("reading a resource")?;
    database::decode(row.get(0).during("reading a resource")?, body)
}
