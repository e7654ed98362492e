//! Opening, reading and replacing files that may have been made to harm whoever does so.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::guest::reason;

/// What a file holds, up to a cap.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it.
    Whole(Vec<u8>),
    /// More than the cap; this is its size, or what was read of a file that doesn't know its size.
    TooLarge(u64),
}

/// Why a file wasn't opened.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It can't be opened.
    Failed(io::Error),
    /// It is no file with content of its own.
    Irregular(&'static str),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Unopened> for String {
    fn from(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Failed(error) => reason(&error),
            Unopened::Irregular(what) => what.to_owned(),
        }
    }
}

/// Opens `path` for reading if it is a regular file. Never waits, not for a FIFO's writer either.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), Unopened> {
    // Opening some devices has effects, so the kind is looked at before, and again on what was opened.
    check_regular(&fs::metadata(path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata))
}

fn check_regular(metadata: &Metadata) -> Result<(), Unopened> {
    if metadata.is_dir() {
        return Err(Unopened::Irregular("is a directory"));
    }
    if !metadata.is_file() {
        return Err(Unopened::Irregular("not a regular file"));
    }
    Ok(())
}

/// Reads a file of at most `cap_bytes`. Files of `/proc` say that they are empty, so what comes counts, not the size.
pub(crate) fn read_whole(file: impl Read, metadata: &Metadata, cap_bytes: u64) -> Result<Content, String> {
    if metadata.len() > cap_bytes {
        return Ok(Content::TooLarge(metadata.len()));
    }
    let mut bytes = Vec::new();
    file.take(cap_bytes + 1).read_to_end(&mut bytes).map_err(|error| reason(&error))?;
    let read = bytes.len() as u64;
    Ok(if read > cap_bytes { Content::TooLarge(read) } else { Content::Whole(bytes) })
}

/// Makes `path` hold `bytes`, creating it and its directories if need be.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if let Some(parent) = path.parent() {
        make_directories(parent).map_err(|error| reason(&error))?;
    }
    replace(path, bytes)
}

/// Makes the file `path` hold `bytes` at once: a reader sees the old content or the new one.
///
/// A symbolic link is followed and stays one; mode and owner stay. The file is replaced by rename, except where that
/// would change more than its content: a file with other hard links, and one whose directory doesn't take the rename
/// (not writable, or the file is a mount point), are written in place. Nothing is synced: what of a sandbox's files
/// outlives the machine is the snapshots' matter.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let target = follow_links(path).map_err(|error| reason(&error))?;
    let before = match fs::symlink_metadata(&target) {
        Ok(metadata) => Some(metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(reason(&error)),
    };
    if let Some(metadata) = &before {
        check_regular(metadata)?;
        // A rename would also replace a file that may not be written.
        writable(&target).map_err(|error| reason(&error))?;
        if metadata.nlink() > 1 {
            return write_in_place(&target, bytes).map_err(|error| reason(&error));
        }
    }
    match replace_by_rename(&target, bytes, before.as_ref()) {
        Ok(()) => Ok(()),
        Err(error) if before.is_some() && only_the_rename_failed(&error) => {
            write_in_place(&target, bytes).map_err(|error| reason(&error))
        }
        Err(error) => Err(reason(&error)),
    }
}

fn only_the_rename_failed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EBUSY | libc::EXDEV | libc::EROFS))
}

/// Directories that were made for something that is to be in them, the outermost first.
#[derive(Debug, Default)]
pub(crate) struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    /// Nothing has come into them: removes them. One in which there is something by now stays.
    pub(crate) fn take_back(&self) {
        self.0.iter().rev().for_each(|made| drop(fs::remove_dir(made)));
    }
}

/// Makes a directory, and those that it is to be in; all or none.
pub(crate) fn make_directories(path: &Path) -> io::Result<MadeDirectories> {
    let mut made = MadeDirectories::default();
    let absent: Vec<&Path> = path.ancestors().take_while(|at| !at.is_dir() && !at.as_os_str().is_empty()).collect();
    for at in absent.into_iter().rev() {
        match DirBuilder::new().mode(0o777).create(at) {
            Ok(()) => made.0.push(at.to_owned()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && at.is_dir() => {}
            Err(error) => {
                made.take_back();
                return Err(match error.kind() {
                    // Something that isn't a directory stands in the way, or a link that leads to none.
                    ErrorKind::AlreadyExists => fs::metadata(at).err().unwrap_or(ErrorKind::NotADirectory.into()),
                    _ => error,
                });
            }
        }
    }
    Ok(made)
}

/// The file at the end of a chain of symbolic links, which need not exist.
pub(crate) fn follow_links(path: &Path) -> io::Result<PathBuf> {
    const MOST_LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(link) = fs::read_link(&target) else { return Ok(target) };
        target = target.parent().unwrap_or(Path::new("/")).join(link);
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}

fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)
}

fn write_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = writable(path)?;
    file.set_len(0)?;
    file.write_all(bytes)
}

fn replace_by_rename(target: &Path, bytes: &[u8], before: Option<&Metadata>) -> io::Result<()> {
    let (temporary, mut file) = temporary_beside(target)?;
    let done = file.write_all(bytes).and_then(|()| {
        if let Some(before) = before {
            // Only root can give a file away; anyone else keeps what they own.
            let made = file.metadata()?;
            if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
                std::os::unix::fs::fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
        }
        fs::rename(&temporary, target)
    });
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

pub(crate) fn temporary_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    const TRIES: u32 = 100;
    for attempt in 0..TRIES {
        // The target's own name is left out: it may be as long as a name can be.
        let path = target.with_file_name(format!(".tenure-{}-{attempt}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o666).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}
