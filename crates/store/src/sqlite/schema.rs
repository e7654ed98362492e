//! The tables, and how older ones become them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::During as _;
use crate::error::Error;

/// One script for each version of the schema; a released one never changes.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
];

/// Brings the tables to the newest version, each step in a transaction.
pub(super) fn bring_up_to_date(db: &mut Connection, path: &Path) -> Result<(), Error> {
    let operation = "bringing the database up to date";
    let found = version(db, path)?;
    for (version, script) in (1u32..).zip(MIGRATIONS).skip(found as usize) {
        let step = db.transaction_with_behavior(TransactionBehavior::Immediate).during(operation)?;
        step.execute_batch(script).during(operation)?;
        step.pragma_update(None, "user_version", version).during(operation)?;
        step.commit().during(operation)?;
    }
    Ok(())
}

/// Refuses a database of an older version as well as one of a newer.
pub(super) fn require_current(db: &Connection, path: &Path) -> Result<(), Error> {
    let found = version(db, path)? as usize;
    match found == MIGRATIONS.len() {
        true => Ok(()),
        false => {
            let known = MIGRATIONS.len();
            let why =
                format!("an older version of Tenure wrote it (schema {found}, not {known}); start the server once");
            Err(Error::unreadable(path.display(), why))
        }
    }
}

/// The version of a database's tables, unless it is newer than this build.
pub(super) fn version(db: &Connection, path: &Path) -> Result<u32, Error> {
    let found: u32 =
        db.pragma_query_value(None, "user_version", |row| row.get(0)).during("reading the database's version")?;
    let known = MIGRATIONS.len();
    match found as usize > known {
        true => Err(Error::unreadable(
            path.display(),
            format_args!(
                "a newer version of Tenure wrote it (schema {found}; this one knows {known}); use that version"
            ),
        )),
        false => Ok(found),
    }
}
