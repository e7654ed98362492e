//! Removing and renaming.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, openat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::place::resolve;
use super::{refused, wrong};
use crate::files::{Name, Outcome, Told, Why};
use crate::guest::file::make_directories;

/// How deep a tree is followed by its names; what is deeper is moved up first.
const DEEPEST: usize = 64;

pub(super) fn remove(workspace: &Path, at: &Name, recursive: bool) -> Outcome {
    let path = resolve(workspace, at)?;
    let failed = |error: io::Error| refused(&path, &error);
    let metadata = fs::symlink_metadata(&path).map_err(failed)?;
    let whole = fs::canonicalize(&path).is_ok_and(|real| real == workspace || workspace.starts_with(&real));
    if metadata.is_dir() && whole {
        let message = format!("{}: can't be removed as a whole; name what is in it", path.display());
        return Err(wrong(Why::Invalid, message));
    }
    match (metadata.is_dir(), recursive) {
        (false, _) => fs::remove_file(&path).map_err(failed)?,
        (true, false) => fs::remove_dir(&path).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => {
                let message = format!("{}: is a directory that isn't empty; say `recursive`", path.display());
                wrong(Why::Conflict, message)
            }
            _ => failed(error),
        })?,
        (true, true) => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(wrong(Why::Invalid, format!("{}: it doesn't end in a name", path.display())));
            };
            let removed = open_directory(CWD, parent.as_os_str()).and_then(|parent| remove_tree(&parent, name));
            removed.map_err(failed)?;
        }
    }
    Ok(Told::Done)
}

/// Removes a directory with all in it, through no symbolic link.
pub(super) fn remove_tree(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let top = open_directory(parent, name)?;
    let mut moved = 0;
    clear(&top, &top, 0, &mut moved)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn clear(directory: &OwnedFd, top: &OwnedFd, depth: usize, moved: &mut u32) -> io::Result<()> {
    // Again until it is empty: what was moved up may have come after the place that was just read.
    loop {
        let mut found = false;
        for name in names(directory)? {
            found = true;
            let name = OsStr::from_bytes(name.as_bytes());
            match unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(Errno::ISDIR) => {}
                Err(error) => return Err(error.into()),
            }
            if depth >= DEEPEST {
                *moved += 1;
                renameat(directory, name, top, format!(".tenure-removed-{moved}"))?;
                continue;
            }
            match open_directory(directory, name) {
                Ok(below) => clear(&below, top, depth + 1, moved)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            match unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !found {
            return Ok(());
        }
    }
}

fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        // A directory without end is cleared in parts.
        if names.len() >= 10_000 {
            break;
        }
    }
    Ok(names)
}

/// Opens a directory that isn't a symbolic link.
pub(super) fn open_directory(at: impl std::os::fd::AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(openat(at, name, flags, Mode::empty())?)
}

pub(super) fn rename(workspace: &Path, from: &Name, to: &Name, replace: bool, parents: bool) -> Outcome {
    let (from, to) = (resolve(workspace, from)?, resolve(workspace, to)?);
    fs::symlink_metadata(&from).map_err(|error| refused(&from, &error))?;
    if let (true, Some(parent)) = (parents, to.parent()) {
        make_directories(parent).map_err(|error| refused(parent, &error))?;
    }
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, &from, CWD, &to, flags) {
        Ok(()) => Ok(Told::Done),
        Err(Errno::XDEV) => {
            let message = format!("{}: is on another file system; copy it instead", to.display());
            Err(wrong(Why::Conflict, message))
        }
        Err(Errno::INVAL) => Err(wrong(Why::Invalid, format!("{}: can't be moved into itself", from.display()))),
        Err(error) => Err(refused(&to, &error.into())),
    }
}
