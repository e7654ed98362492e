//! Removing and renaming.

use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, RenameFlags, fstat, openat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::place::resolve;
use super::{refused, wrong};
use crate::files::{Name, Outcome, Told, Why};
use crate::guest::file::{MadeDirectories, make_directories};

/// How many levels of a tree are held open at once.
const MOST_OPEN: usize = 64;

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
    clear(top, 0)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn clear(directory: OwnedFd, depth: usize) -> io::Result<()> {
    if depth >= MOST_OPEN {
        return clear_step_by_step(directory);
    }
    // Again until it is empty: a directory without end is read in parts.
    loop {
        let mut found = false;
        for name in names(&directory)? {
            found = true;
            let name = OsStr::from_bytes(name.as_bytes());
            if !is_directory_left(&directory, name)? {
                continue;
            }
            match open_directory(&directory, name) {
                Ok(below) => clear(below, depth + 1)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            remove_empty(&directory, name)?;
        }
        if !found {
            return Ok(());
        }
    }
}

/// The same with one level open at a time, which is left upwards again. It isn't shortened by moving what is deep down to the top: a
/// directory that a sealed layer has can't be moved from everywhere.
fn clear_step_by_step(top: OwnedFd) -> io::Result<()> {
    let mut here = top;
    let mut entered: Vec<(OsString, (u64, u64))> = Vec::new();
    loop {
        if let Some(name) = first_directory_left(&here)? {
            let below = open_directory(&here, &name)?;
            entered.push((name, identity(&here)?));
            here = below;
            continue;
        }
        let Some((name, above)) = entered.pop() else { return Ok(()) };
        here = open_directory(&here, OsStr::new(".."))?;
        // It may have been moved meanwhile.
        if identity(&here)? != above {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        remove_empty(&here, &name)?;
    }
}

/// Removes what is in a directory until a directory comes, and gives that.
fn first_directory_left(directory: &OwnedFd) -> io::Result<Option<OsString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." && is_directory_left(directory, name)? {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

/// Removes it, unless it is a directory.
fn is_directory_left(directory: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn remove_empty(directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let found = fstat(directory)?;
    Ok((found.st_dev, found.st_ino))
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
    let made = match (parents, to.parent()) {
        (true, Some(parent)) => make_directories(parent).map_err(|error| refused(parent, &error))?,
        (true, None) | (false, _) => MadeDirectories::default(),
    };
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    match renameat_with(CWD, &from, CWD, &to, flags).inspect_err(|_| made.take_back()) {
        Ok(()) => Ok(Told::Done),
        Err(Errno::XDEV) => {
            let message = format!("{}: is on another file system; copy it instead", to.display());
            Err(wrong(Why::Conflict, message))
        }
        Err(Errno::INVAL) => Err(wrong(Why::Invalid, format!("{}: can't be moved into itself", from.display()))),
        Err(error) => Err(refused(&to, &error.into())),
    }
}
