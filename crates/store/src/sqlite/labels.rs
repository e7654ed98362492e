//! The labels of sessions, as lists look for them.

use rusqlite::{Connection, params};
use tenure_core::id::TenantId;
use tenure_core::summary::Summary;

use super::During as _;
use super::append::blob;
use crate::error::Error;

/// Fewer sessions than this are few.
const FEW: u32 = 100;

/// A session's labels as its row has them. None contains a space.
pub(super) fn joined(summary: &Summary) -> String {
    let labels: Vec<&str> = summary.labels.iter().map(String::as_str).collect();
    labels.join(" ")
}

/// Writes a session's labels anew.
pub(super) fn write(db: &Connection, key: i64, summary: &Summary) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sessions SET labels = ?2 WHERE key = ?1")?.execute(params![key, joined(summary)])?;
    db.prepare_cached("DELETE FROM labels WHERE session = ?1")?.execute([key])?;
    for label in &summary.labels {
        db.prepare_cached("INSERT INTO labels (tenant, label, created_at, id, session) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
            blob(summary.tenant.bits()),
            label,
            summary.created_at.as_micros(),
            blob(summary.session.bits()),
            key
        ])?;
    }
    Ok(())
}

/// Of the labels that are looked for together, the one to go along: one that few sessions have, if there is such.
pub(super) fn leading(db: &Connection, tenant: TenantId, labels: &[String]) -> Result<usize, Error> {
    let operation = "looking for the rarest label";
    if labels.len() < 2 {
        return Ok(0);
    }
    let mut many = db
        .prepare_cached("SELECT 1 FROM labels WHERE tenant = ?1 AND label = ?2 LIMIT 1 OFFSET ?3")
        .during(operation)?;
    for (at, label) in labels.iter().enumerate() {
        if !many.exists(params![blob(tenant.bits()), label, FEW]).during(operation)? {
            return Ok(at);
        }
    }
    Ok(0)
}
