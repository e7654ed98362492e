//! Names and values of the client's, as they change.

use tenure_core::session::{MAX_METADATA, Metadata};

use crate::error::Error;

/// Metadata after changes by name, of which `None` removes one.
pub fn merged(current: &Metadata, changes: Vec<(String, Option<String>)>) -> Result<Metadata, Error> {
    let mut merged = current.clone();
    for (name, value) in changes {
        match value {
            Some(value) => drop(merged.insert(name, value)),
            None => drop(merged.remove(&name)),
        }
    }
    // What was stored before there was such a limit may still be changed.
    if merged.len() <= MAX_METADATA.max(current.len()) {
        return Ok(merged);
    }
    let message = format!(
        "expected at most {MAX_METADATA} pairs after the change, got {}; remove some by sending null",
        merged.len()
    );
    Err(Error::invalid("metadata", message))
}
