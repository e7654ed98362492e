//! What keeps the store from writing, told apart from what is wrong with a single write.

use std::error::Error as StdError;
use std::io;
use std::sync::{Mutex, PoisonError};

use rusqlite::ErrorCode;

use crate::error::Error;

/// Why writes fail at present.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    pub(super) fn reason(&self) -> Option<String> {
        self.lock().clone()
    }

    pub(super) fn is_there(&self) -> bool {
        self.lock().is_some()
    }

    /// A commit came to this. The log says when trouble begins and ends, not how often somebody met it.
    pub(super) fn note(&self, committed: &Result<(), Error>) {
        let mut reason = self.lock();
        match committed {
            Ok(()) => {
                if reason.take().is_some() {
                    tracing::info!("the store writes again");
                }
            }
            Err(error) => {
                let now = cause(error);
                if reason.as_ref() != Some(&now) {
                    tracing::error!(reason = now, "the store can't write; it goes on trying");
                }
                *reason = Some(now);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cause(error: &Error) -> String {
    match error {
        Error::Unavailable { reason } => reason.clone(),
        other => match other.source() {
            Some(source) => format!("{other}: {source}"),
            None => other.to_string(),
        },
    }
}

/// What an operator can mend, and until then every write meets: a full, read-only or failing disk, a database that
/// somebody else holds. `None` for every other error.
pub(super) fn reason(operation: &str, error: &(dyn StdError + 'static)) -> Option<String> {
    let why = if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
        match error.sqlite_error_code()? {
            ErrorCode::DiskFull => "the disk is full".to_owned(),
            ErrorCode::ReadOnly => "the database can't be written (read-only file system, or no permission)".to_owned(),
            ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => format!("the disk fails ({error})"),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another program holds the database".to_owned(),
            _ => return None,
        }
    } else {
        let error = error.downcast_ref::<io::Error>()?;
        match error.kind() {
            io::ErrorKind::StorageFull => "the disk is full".to_owned(),
            io::ErrorKind::QuotaExceeded => "the disk quota is used up".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::FileTooLarge => error.to_string(),
            _ => return None,
        }
    };
    Some(format!("{operation}: {why}"))
}
