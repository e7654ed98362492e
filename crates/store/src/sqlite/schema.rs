//! The tables, and how older ones become them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::During as _;
use crate::error::Error;

/// One script for each version of the schema; a released one never changes.
const MIGRATIONS: &[&str] = &[include_str!("migrations/1.sql"), include_str!("migrations/2.sql")];

/// Brings the tables to the newest version, each step in a transaction.
pub(super) fn bring_up_to_date(db: &mut Connection, path: &Path) -> Result<(), Error> {
    let operation = "bringing the database up to date";
    let found: u32 = db.pragma_query_value(None, "user_version", |row| row.get(0)).during(operation)?;
    if found as usize > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        return Err(Error::unreadable(
            path.display(),
            format_args!(
                "a newer version of Tenure wrote it (schema {found}; this one knows {known}); use that version"
            ),
        ));
    }
    for (version, script) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate).during(operation)?;
        step.execute_batch(script).during(operation)?;
        step.pragma_update(None, "user_version", version).during(operation)?;
        step.commit().during(operation)?;
    }
    Ok(())
}
