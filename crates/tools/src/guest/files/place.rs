//! Names and what they stand for.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::wrong;
use crate::files::{Entry, Kind, MOST_PATH_BYTES, Name, Refused, Why};

/// The path that a name stands for.
pub(super) fn resolve(workspace: &Path, name: &Name) -> Result<PathBuf, Refused> {
    let invalid = |message: &str| Err(wrong(Why::Invalid, message));
    let Some(bytes) = name.bytes() else { return invalid("the path isn't escaped as it should be") };
    if bytes.contains(&0) {
        return invalid("a path can't hold a NUL");
    }
    if bytes.len() > MOST_PATH_BYTES {
        return invalid("the path is too long");
    }
    Ok(workspace.join(OsStr::from_bytes(&bytes)))
}

/// The path that a name from the other side of a comparison stands for.
pub(super) fn path_of(name: &Name) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&name.bytes().unwrap_or_default()))
}

/// What there is to say of a file.
pub(super) fn entry(path: &Path, metadata: &Metadata) -> Entry {
    let kind = metadata.file_type();
    let kind = match () {
        () if kind.is_file() => Kind::File,
        () if kind.is_dir() => Kind::Directory,
        () if kind.is_symlink() => Kind::Symlink,
        () => Kind::Other,
    };
    let target = (kind == Kind::Symlink).then(|| std::fs::read_link(path).ok()).flatten();
    Entry {
        name: Name::of(path.as_os_str().as_bytes()),
        kind,
        size: if kind == Kind::File { metadata.len() } else { 0 },
        mode: metadata.mode() & 0o7777,
        modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
        target: target.map(|target| Name::of(target.as_os_str().as_bytes())),
    }
}

/// Changes whenever a file's content may have changed: what is new is another file, or has another time.
pub(super) fn tag(metadata: &Metadata) -> String {
    let changed = (metadata.ctime(), metadata.ctime_nsec());
    format!("{:x}-{:x}-{:x}.{:x}", metadata.ino(), metadata.len(), changed.0, changed.1)
}
