//! What a session's files are made of, as a backup reads it and a restore accepts it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tenure_core::id::SnapshotId;

use super::save::Found;
use crate::supervisor::head::{Head, Noted};
use crate::supervisor::snapshots::{HEAD, LAYER, LAYERS, SNAPSHOTS};

/// How often it is read anew when it changes meanwhile.
const ATTEMPTS: u32 = 1_000;

/// A session's stack as of one moment, with the writable layer that belongs to it, whatever happens to that later.
pub(super) struct Stack {
    /// The file that names it.
    pub(super) head: Option<Vec<u8>>,
    pub(super) writable: Option<Found>,
    pub(super) snapshots: Vec<(OsString, Vec<u8>)>,
    /// The sealed layers that it and the snapshots need.
    pub(super) layers: BTreeSet<String>,
}

impl Stack {
    pub(super) fn read(root: &Path, session_dir: &OwnedFd) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let writable = found(session_dir, LAYER)?;
            let head = text(session_dir, HEAD)?;
            let named = head.as_deref().map(Head::parse).transpose()?.unwrap_or_default();
            let layers: Vec<String> = named.layers.iter().map(ToString::to_string).collect();
            // A layer that is about to be sealed is named already, and lies where it was written.
            let sealed = layers.iter().filter(|layer| root.join(LAYERS).join(layer).is_dir()).cloned().collect();
            let snapshots = snapshots(session_dir)?;
            let again = (found(session_dir, LAYER)?, text(session_dir, HEAD)?);
            let is_same = |before: &Option<Found>, now: &Option<Found>| {
                before.as_ref().map(|found| found.stat.st_ino) == now.as_ref().map(|found| found.stat.st_ino)
            };
            if is_same(&writable, &again.0) && head == again.1 {
                let mut stack = Self { head, writable, snapshots, layers: sealed };
                for (name, text) in &stack.snapshots {
                    let noted = Noted::parse(text).map_err(|error| {
                        io::Error::new(error.kind(), format!("snapshot {}: {error}", name.display()))
                    })?;
                    stack.layers.extend(noted.head.layers.iter().map(ToString::to_string));
                }
                return Ok(stack);
            }
        }
        Err(io::Error::other("its stack of layers keeps changing"))
    }
}

fn found(dir: &OwnedFd, name: &str) -> io::Result<Option<Found>> {
    match Found::open(dir.as_fd(), OsStr::new(name)) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn snapshots(session_dir: &OwnedFd) -> io::Result<Vec<(OsString, Vec<u8>)>> {
    let Some(dir) = found(session_dir, SNAPSHOTS)? else { return Ok(Vec::new()) };
    let (dir, names) = dir.list()?;
    let mut snapshots = Vec::new();
    for name in names.into_iter().rev() {
        let Some(is_one) = name.to_str().filter(|name| name.parse::<SnapshotId>().is_ok()) else { continue };
        // One may be forgotten meanwhile.
        if let Some(text) = text(&dir, is_one)? {
            snapshots.push((name, text));
        }
    }
    Ok(snapshots)
}

/// The longest that a file which names a stack may be.
const LONGEST: u64 = 1 << 20;

fn text(dir: &OwnedFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => std::fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() || file.metadata()?.len() > LONGEST {
        return Err(io::Error::other(format!("{name} isn't a file that names layers")));
    }
    let mut text = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, LONGEST), &mut text)?;
    Ok(Some(text))
}

/// Accepts a session's directory that came from elsewhere if what names stacks in it can be read.
pub(super) fn refuse_malformed(session_dir: &Path) -> io::Result<()> {
    let dir = openat(CWD, session_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    if let Some(head) = text(&dir, HEAD)? {
        Head::parse(&head)?;
    }
    let Some(snapshots) = found(&dir, SNAPSHOTS)? else { return Ok(()) };
    let (snapshots, names) = snapshots.list()?;
    for name in names {
        let parsed = name.to_str().filter(|name| name.parse::<SnapshotId>().is_ok());
        let parsed = parsed.map(|name| text(&snapshots, name)).transpose()?.flatten().map(|text| Noted::parse(&text));
        parsed.transpose()?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} isn't a snapshot", name.display()))
        })?;
    }
    Ok(())
}
