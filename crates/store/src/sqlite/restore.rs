//! Making a copied database one that a server may go on with.

use std::path::Path;

use rusqlite::params;
use tenure_core::time::Timestamp;

use super::{During as _, database, schema};
use crate::error::Error;

/// Begins a new generation in the database of a folder that nobody has open, and says which. Two restores of one
/// backup differ, since it is never less than the milliseconds of the time given. Blocks.
///
/// # Errors
///
/// [`Error::Unreadable`] when a newer version of Tenure wrote the database.
pub fn begin_generation(dir: &Path, restored_at: Timestamp) -> Result<u64, Error> {
    let operation = "beginning a new generation";
    let path = dir.join("tenure.db");
    let mut db = database::open_writable(&path)?;
    schema::bring_up_to_date(&mut db, &path)?;
    let millis = u64::try_from(restored_at.as_micros() / 1_000).unwrap_or(0);
    let generation = millis.max(database::generation(&db)? + 1);
    db.execute("UPDATE installation SET generation = ?1", params![generation]).during(operation)?;
    db.close().map_err(|(_, error)| Error::internal(operation, error))?;
    Ok(generation)
}
