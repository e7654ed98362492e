//! Copying a layer whose owner stands still: everything that an overlay's upper layer can hold, as it is. Nothing in it is
//! followed or trusted.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags, chmodat, chownat,
    copy_file_range, fstat, ftruncate, ioctl_ficlone, lgetxattr, linkat, llistxattr, lsetxattr, mkdirat, mknodat,
    openat, readlinkat, seek, statat, symlinkat, utimensat,
};

/// How deep directories may lie in each other: each level takes two descriptors.
const MOST_LEVELS: usize = 4_096;

/// What each file, directory or link counts for at least: making one takes about as long as copying so much.
const LEAST_BYTES: u64 = 4_096;

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum NotCopied {
    /// It would have been more than allowed: so many bytes, as far as they were counted.
    TooMuch(u64),
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for NotCopied {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Finds out whether a layer may be copied, without doing it.
pub(crate) fn weigh(from: &Path, most: Option<u64>, shares: bool) -> Result<(), NotCopied> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = openat(CWD, from, flags, Mode::empty())?;
    let mut copier = Copier { most, shares, bytes: 0, weight: 0, seen: HashSet::new(), links: None };
    copier.directory(&from, None, 0)
}

/// Copies a layer to a new directory; gives the bytes of its files.
pub(crate) fn copy(from: &Path, to: &Path, most: Option<u64>, shares: bool) -> Result<u64, NotCopied> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = openat(CWD, from, flags, Mode::empty())?;
    let links = to.with_extension("links");
    for made in [to, &links] {
        mkdirat(CWD, made, Mode::from_raw_mode(0o700))?;
    }
    let open = |at: &Path| openat(CWD, at, flags, Mode::empty());
    let (target, links_fd) = (open(to)?, open(&links)?);
    let mut copier = Copier { most, shares, bytes: 0, weight: 0, seen: HashSet::new(), links: Some(links_fd) };
    let copied = copier.directory(&from, Some(&target), 0).and_then(|()| {
        let found = fstat(&from)?;
        Ok(Metadata::of(&self_path(&from), &found)?.give(&self_path(&target), &found)?)
    });
    let swept = std::fs::remove_dir_all(&links);
    copied?;
    swept?;
    Ok(copier.bytes)
}

/// Whether files in a directory can share what they hold with copies of them.
pub(crate) fn can_share(dir: &Path) -> bool {
    let names = ["one", "two"].map(|name| dir.join(format!("share-{name}-{}", std::process::id())));
    let shared = || -> io::Result<()> {
        std::fs::write(&names[0], [1; 8192])?;
        Ok(ioctl_ficlone(File::create(&names[1])?, File::open(&names[0])?)?)
    };
    let can = shared().is_ok();
    names.iter().for_each(|name| drop(std::fs::remove_file(name)));
    can
}

struct Copier {
    most: Option<u64>,
    /// Whether the file system can share, so that what files hold costs nothing.
    shares: bool,
    bytes: u64,
    weight: u64,
    /// Files with several names that have been met.
    seen: HashSet<(u64, u64)>,
    /// Where each of them has a name by its number, for the next to be linked to. Without this, nothing is copied.
    links: Option<OwnedFd>,
}

impl Copier {
    fn directory(&mut self, from: &OwnedFd, to: Option<&OwnedFd>, level: usize) -> Result<(), NotCopied> {
        if level > MOST_LEVELS {
            return Err(NotCopied::Failed(io::Error::other("its directories are too deep")));
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let found = match statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => found,
                // While it is only weighed, it may change.
                Err(rustix::io::Errno::NOENT) if to.is_none() => continue,
                Err(error) => return Err(error.into()),
            };
            self.entry(from, to, name, &found, level)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: Option<&OwnedFd>,
        name: &OsStr,
        found: &Stat,
        level: usize,
    ) -> Result<(), NotCopied> {
        let kind = FileType::from_raw_mode(found.st_mode);
        let has_names = kind == FileType::RegularFile && found.st_nlink > 1;
        let is_first = !has_names || self.seen.insert((found.st_dev, found.st_ino));
        self.weigh(found, kind, is_first)?;
        let number = found.st_ino.to_string();
        if let (Some(to), Some(links), false) = (to, &self.links, is_first) {
            linkat(links, number.as_str(), to, name, AtFlags::empty())?;
            return Ok(());
        }
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below = match openat(from, name, flags, Mode::empty()) {
                Ok(below) => below,
                Err(_) if to.is_none() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let target = match to {
                Some(to) => {
                    mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                    Some(openat(to, name, flags, Mode::empty())?)
                }
                None => None,
            };
            self.directory(&below, target.as_ref(), level + 1)?;
        } else if let Some(to) = to {
            self.leaf(from, to, name, found, kind)?;
        }
        if let Some(to) = to {
            Metadata::of(&path_in(from, name), found)?.give(&path_in(to, name), found)?;
            if let (true, Some(links)) = (has_names, &self.links) {
                linkat(to, name, links, number.as_str(), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn weigh(&mut self, found: &Stat, kind: FileType, is_first: bool) -> Result<(), NotCopied> {
        let held = match kind == FileType::RegularFile && is_first {
            true => (found.st_size as u64).min(found.st_blocks as u64 * 512),
            false => 0,
        };
        self.bytes += held;
        self.weight += if self.shares { LEAST_BYTES } else { held.max(LEAST_BYTES) };
        match self.most.is_some_and(|most| self.weight > most) {
            true => Err(NotCopied::TooMuch(self.weight)),
            false => Ok(()),
        }
    }

    fn leaf(&self, from: &OwnedFd, to: &OwnedFd, name: &OsStr, found: &Stat, kind: FileType) -> io::Result<()> {
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let source = openat(from, name, OFlags::RDONLY | flags, Mode::empty())?;
                let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
                let target = openat(to, name, made, Mode::from_raw_mode(0o600))?;
                if self.shares && ioctl_ficlone(&target, &source).is_ok() {
                    return Ok(());
                }
                copy_data(&source, &target, found.st_size as u64)
            }
            FileType::Symlink => Ok(symlinkat(readlinkat(from, name, Vec::new())?, to, name)?),
            // A whiteout; no sandbox can make another device.
            FileType::CharacterDevice | FileType::Fifo | FileType::Socket => {
                Ok(mknodat(to, name, kind, Mode::from_raw_mode(0o600), found.st_rdev)?)
            }
            FileType::BlockDevice | FileType::Directory | FileType::Unknown => {
                Err(io::Error::other("it has something that no layer can have"))
            }
        }
    }
}

/// Copies what lies between the holes.
fn copy_data(source: &OwnedFd, target: &OwnedFd, size: u64) -> io::Result<()> {
    ftruncate(target, size)?;
    let mut at = 0;
    while at < size {
        let begin = match seek(source, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(rustix::io::Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, SeekFrom::Hole(begin))?;
        let (mut read, mut written) = (begin, begin);
        while read < end {
            let wanted = usize::try_from(end - read).unwrap_or(usize::MAX).min(1 << 30);
            match copy_file_range(source, Some(&mut read), target, Some(&mut written), wanted) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        at = end;
    }
    Ok(())
}

/// What a name of a file has beside what the file holds.
struct Metadata {
    attributes: Vec<(CString, Vec<u8>)>,
}

impl Metadata {
    fn of(at: &Path, found: &Stat) -> io::Result<Self> {
        let mut attributes = Vec::new();
        if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
            let mut names = vec![0; 65_536];
            let length = match llistxattr(at, &mut names) {
                Ok(length) => length,
                Err(rustix::io::Errno::OPNOTSUPP) => 0,
                Err(error) => return Err(error.into()),
            };
            for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                let name = CString::new(name)?;
                let mut value = vec![0; 65_536];
                let length = lgetxattr(at, &name, &mut value)?;
                value.truncate(length);
                attributes.push((name, value));
            }
        }
        Ok(Self { attributes })
    }

    fn give(&self, at: &Path, found: &Stat) -> io::Result<()> {
        let owner = (rustix::fs::Uid::from_raw(found.st_uid), rustix::fs::Gid::from_raw(found.st_gid));
        chownat(CWD, at, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        for (name, value) in &self.attributes {
            lsetxattr(at, name, value, XattrFlags::empty())?;
        }
        if FileType::from_raw_mode(found.st_mode) != FileType::Symlink {
            chmodat(CWD, at, Mode::from_raw_mode(found.st_mode & 0o7777), AtFlags::empty())?;
        }
        let time = |seconds: i64, nanoseconds: u64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
        let times = Timestamps {
            last_access: time(found.st_atime, found.st_atime_nsec),
            last_modification: time(found.st_mtime, found.st_mtime_nsec),
        };
        Ok(utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// A name in an open directory, as a path on which calls that take no directory can act without following it.
fn path_in(directory: &OwnedFd, name: &OsStr) -> PathBuf {
    self_path(directory).join(name)
}

/// An open directory itself.
fn self_path(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_fd().as_raw_fd()))
}
