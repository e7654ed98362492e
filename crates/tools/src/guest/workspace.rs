//! Where an op works: how paths are read, and how long it may take.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::guest::Order;

/// The directory relative paths start from, and the bounds of one op.
#[derive(Debug)]
pub(crate) struct Workspace<'w> {
    root: &'w Path,
    /// When walks and searches give what they have.
    pub(crate) give_up_at: Instant,
    /// How much text an op may give.
    pub(crate) output_cap_bytes: usize,
}

impl<'w> Workspace<'w> {
    /// Starts the clock of the op.
    pub(crate) fn new(root: &'w Path, order: &Order) -> Self {
        let give_up_at = Instant::now() + Duration::from_millis(order.give_up_after_ms);
        Self { root, give_up_at, output_cap_bytes: order.output_cap_bytes }
    }

    /// The file or directory `path` names.
    pub(crate) fn resolve(&self, tool: &str, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() {
            return Err(format!("{tool}: the path is empty"));
        }
        if path.contains('\0') {
            return Err(format!("{tool}: {path:?}: a path can't hold a NUL"));
        }
        Ok(self.root.join(path))
    }

    /// The directory to search: `path`, or the workspace itself.
    pub(crate) fn search_root(&self, tool: &str, path: Option<&str>) -> Result<PathBuf, String> {
        match path {
            None | Some("" | ".") => Ok(self.root.to_owned()),
            Some(path) => self.resolve(tool, path),
        }
    }
}

/// Why a file operation failed, in the words every tool uses.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::NotADirectory => "not a directory".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::AlreadyExists => "file already exists".to_owned(),
        ErrorKind::StorageFull => "no space left".to_owned(),
        ErrorKind::ReadOnlyFilesystem => "read-only file system".to_owned(),
        ErrorKind::InvalidFilename => "file name too long".to_owned(),
        _ if error.raw_os_error() == Some(libc::ELOOP) => "too many levels of symbolic links".to_owned(),
        _ => {
            // "Input/output error (os error 5)" is too much for a model.
            let text = error.to_string().to_lowercase();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}
