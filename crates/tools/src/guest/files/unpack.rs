//! Unpacking an archive that may have been made to harm whoever does so.
//!
//! Everything is unpacked into a fresh directory beside where it is to be, through no symbolic link and within bounds; only if all
//! of it is good is it moved to its place, entry by entry. So an archive that is refused leaves nothing.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RawMode, fchmod, linkat, mkdirat, openat, renameat, statat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use tar::{Archive, EntryType};

use super::change::{open_directory, remove_tree};
use super::place::{entry, resolve};
use super::{not_made, refused, wrong};
use crate::files::{Name, Outcome, Refused, Told, Why};
use crate::guest::file::{MadeDirectories, make_directories};

/// What an archive may hold.
const MOST_ENTRIES: u64 = 1_000_000;
const MOST_BYTES: u64 = 16 << 30;
const DEEPEST: usize = 128;
/// How much more may come out of a packed archive than went in, beyond the first so many bytes: what is packed more tightly is
/// hardly anything but zeros.
const MOST_RATIO: u64 = 200;
const FREE_BYTES: u64 = 32 << 20;
/// The most bytes that zstd may refer back to, as a power of 2: what its own tool takes unless it is told otherwise.
const MOST_WINDOW_LOG: u32 = 27;

pub(super) fn unpack(workspace: &Path, at: &Name, parents: bool, mut body: impl Read) -> Outcome {
    let unpacked = begin(workspace, at, parents, &mut body);
    if unpacked.is_err() {
        // Whoever sends reads the answer only then.
        let _ = io::copy(&mut body, &mut io::sink());
    }
    unpacked
}

fn begin(workspace: &Path, at: &Name, parents: bool, body: &mut impl Read) -> Outcome {
    let path = resolve(workspace, at)?;
    let made = match parents {
        true => make_directories(&path).map_err(|error| not_made(&path, &error))?,
        false => MadeDirectories::default(),
    };
    let unpacked = into(&path, body);
    if unpacked.is_err() {
        made.take_back();
    }
    unpacked
}

fn into(path: &Path, body: &mut impl Read) -> Outcome {
    let failed = |error: io::Error| refused(path, &error);
    let real = fs::canonicalize(path).map_err(failed)?;
    let target = open_directory(CWD, real.as_os_str()).map_err(failed)?;
    let stage = OsString::from(format!(".tenure-unpacked-{}", std::process::id()));
    mkdirat(&target, &stage, Mode::from_raw_mode(0o700))
        .map_err(|error| not_made(&real.join(&stage), &error.into()))?;
    let staged = open_directory(&target, &stage).map_err(failed).and_then(|staged| {
        let mut unpacking = Unpacking::into(staged, Links::All);
        unpacking.all(body)?;
        // What comes behind the archive's own end is of no use, but if it breaks off there, whoever sends thinks that nothing was done.
        let broken = |_| wrong(Why::Invalid, "the archive broke off before it was complete");
        io::copy(body, &mut io::sink()).map_err(broken)?;
        merge(&unpacking.root, &target, Path::new("")).map_err(|(at, error)| refused(&path.join(at), &error))
    });
    let _ = remove_tree(&target, &stage);
    staged?;
    let metadata = fs::metadata(&real).map_err(failed)?;
    Ok(Told::Written { created: false, entry: entry(path, &metadata) })
}

/// Unpacks an archive of a session into a directory that is there, of whoever runs this; gives how many symbolic links were
/// left out because they would have led out of it.
pub fn unpack_here(directory: &Path, mut source: impl Read) -> io::Result<u64> {
    let target = open_directory(CWD, directory.as_os_str())?;
    let stage = OsString::from(format!(".tenure-unpacked-{}", std::process::id()));
    mkdirat(&target, &stage, Mode::from_raw_mode(0o700))?;
    let unpacked = open_directory(&target, &stage).and_then(|staged| {
        let mut unpacking = Unpacking::into(staged, Links::Inner);
        unpacking.all(&mut source).map_err(|refused| io::Error::other(refused.message))?;
        // To its end: if it breaks off, nothing is to be there.
        io::copy(&mut source, &mut io::sink())?;
        let merged = merge(&unpacking.root, &target, Path::new(""));
        merged.map_err(|(at, error)| io::Error::new(error.kind(), format!("{}: {error}", at.display())))?;
        Ok(unpacking.left_out)
    });
    let _ = remove_tree(&target, &stage);
    unpacked
}

/// Which symbolic links are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    All,
    /// Those that lead to something in the same archive, as they are written.
    Inner,
}

struct Unpacking {
    root: OwnedFd,
    entries: u64,
    bytes: u64,
    links: Links,
    left_out: u64,
    /// Directories with their modes, which they get when nothing comes into them any more.
    directories: Vec<(PathBuf, RawMode)>,
}

/// Counts what has gone in.
struct Counted<R> {
    source: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(into)?;
        self.read.set(self.read.get() + length as u64);
        Ok(length)
    }
}

/// Refuses what swells without measure.
struct Measured<R> {
    source: R,
    /// What has gone in.
    read: Rc<Cell<u64>>,
    given: u64,
}

impl<R: Read> Read for Measured<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(into)?;
        self.given += length as u64;
        if self.given > FREE_BYTES && self.given / MOST_RATIO > self.read.get() {
            return Err(io::Error::other(format!("it swells to more than {MOST_RATIO} times its size")));
        }
        Ok(length)
    }
}

impl Unpacking {
    fn into(root: OwnedFd, links: Links) -> Self {
        Self { root, entries: 0, bytes: 0, links, left_out: 0, directories: Vec::new() }
    }

    fn all(&mut self, body: &mut impl Read) -> Result<(), Refused> {
        let mut beginning = [0; 4];
        let mut known = 0;
        while known < beginning.len() {
            match body.read(&mut beginning[known..]) {
                Ok(0) => break,
                Ok(length) => known += length,
                Err(error) => return Err(unreadable(&error)),
            }
        }
        let whole = beginning[..known].chain(body);
        let read = Rc::<Cell<u64>>::default();
        let counted = Counted { source: whole, read: read.clone() };
        match beginning {
            [0x1f, 0x8b, ..] => self.entries(Measured { source: MultiGzDecoder::new(counted), read, given: 0 }),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let mut source = zstd::Decoder::new(counted).map_err(|error| unreadable(&error))?;
                // What needs more memory than this to be unpacked is refused.
                source.window_log_max(MOST_WINDOW_LOG).map_err(|error| unreadable(&error))?;
                self.entries(Measured { source, read, given: 0 })
            }
            _ => self.entries(counted).map_err(|refused| match self.entries {
                0 => {
                    wrong(Why::Invalid, "the archive can't be read: expected tar, as it is or packed with gzip or zstd")
                }
                _ => refused,
            }),
        }
    }

    fn entries(&mut self, source: impl Read) -> Result<(), Refused> {
        let mut archive = Archive::new(source);
        for entry in archive.entries().map_err(|error| unreadable(&error))? {
            let mut entry = entry.map_err(|error| unreadable(&error))?;
            let name = entry.path_bytes().into_owned();
            let shown = Name::of(&name).path;
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                return Err(wrong(
                    Why::Invalid,
                    format!("{shown}: an archive may have {MOST_ENTRIES} entries at most"),
                ));
            }
            let path = inner(&name).map_err(|why| wrong(Why::Invalid, format!("{shown}: {why}")))?;
            self.entry(&mut entry, &path).map_err(|trouble| match trouble {
                Trouble::Wrong(why) => wrong(Why::Invalid, format!("{shown}: {why}")),
                Trouble::Io(error) => Refused {
                    message: format!("{shown}: {}", super::super::reason(&error)),
                    ..refused(Path::new(""), &error)
                },
            })?;
        }
        // From the inside out, since a directory may not let anything in any more.
        for (path, mode) in std::mem::take(&mut self.directories).into_iter().rev() {
            let done = self.directory_of(&path).and_then(|at| Ok(fchmod(&at, Mode::from_raw_mode(mode))?));
            done.map_err(|error| refused(&path, &error))?;
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &Path) -> Result<(), Trouble> {
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        let kind = entry.header().entry_type();
        let Some(name) = path.file_name() else {
            return if kind == EntryType::Directory { Ok(()) } else { Err(Trouble::Wrong("it has no name")) };
        };
        let parent = self.make(path.parent().unwrap_or(Path::new("")))?;
        match kind {
            EntryType::Directory => {
                let made = mkdirat(&parent, name, Mode::from_raw_mode(0o700));
                match made {
                    Ok(()) | Err(Errno::EXIST) => drop(open_directory(&parent, name)?),
                    Err(error) => return Err(error.into()),
                }
                self.directories.push((path.to_owned(), mode));
            }
            EntryType::Regular | EntryType::Continuous => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                drop_old(&parent, name)?;
                let mut file = File::from(openat(&parent, name, flags, Mode::from_raw_mode(0o600))?);
                let room = MOST_BYTES.saturating_sub(self.bytes);
                let written = io::copy(&mut entry.take(room + 1), &mut file)?;
                self.bytes += written;
                if written > room {
                    return Err(Trouble::Wrong("with it the archive holds more than 16 GiB"));
                }
                fchmod(&file, Mode::from_raw_mode(mode))?;
                set_time(&file, entry.header().mtime().unwrap_or(0));
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or(Trouble::Wrong("it is a link to nowhere"))?;
                if target.is_empty() || target.contains(&0) {
                    return Err(Trouble::Wrong("it is a link to nowhere"));
                }
                if self.links == Links::Inner && !leads_inside(path, &target) {
                    self.left_out += 1;
                    return Ok(());
                }
                drop_old(&parent, name)?;
                // It leads where it leads: nothing of this archive is written through it.
                symlinkat(OsStr::from_bytes(&target), &parent, name)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or(Trouble::Wrong("it is a link to nowhere"))?;
                let target = inner(&target)
                    .map_err(|_| Trouble::Wrong("it is a hard link to something outside of the archive"))?;
                let from = self.directory_of(target.parent().unwrap_or(Path::new("")));
                let from = from.map_err(|_| Trouble::Wrong("it is a hard link to what isn't in the archive"))?;
                let linked = target.file_name().unwrap_or_default();
                let kind =
                    statat(&from, linked, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
                if kind != Ok(FileType::RegularFile) {
                    return Err(Trouble::Wrong("it is a hard link to what is no file of the archive"));
                }
                drop_old(&parent, name)?;
                linkat(&from, linked, &parent, name, AtFlags::empty())?;
            }
            EntryType::Char | EntryType::Block => return Err(Trouble::Wrong("it is a device")),
            EntryType::Fifo => return Err(Trouble::Wrong("it is a FIFO")),
            EntryType::XGlobalHeader | EntryType::XHeader => {}
            _ => return Err(Trouble::Wrong("it is of a kind that isn't known here")),
        }
        Ok(())
    }

    /// The directory at this path, made if need be; through no symbolic link.
    fn make(&self, path: &Path) -> Result<OwnedFd, Trouble> {
        let mut at = self.root.try_clone()?;
        for name in path.iter() {
            match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at = match open_directory(&at, name) {
                Ok(below) => below,
                Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENOTDIR)) => {
                    return Err(Trouble::Wrong("what it is in is a link or a file"));
                }
                Err(error) => return Err(error.into()),
            };
        }
        Ok(at)
    }

    fn directory_of(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut at = self.root.try_clone()?;
        for name in path.iter() {
            at = open_directory(&at, name)?;
        }
        Ok(at)
    }
}

enum Trouble {
    Wrong(&'static str),
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

fn unreadable(error: &io::Error) -> Refused {
    wrong(Why::Invalid, format!("the archive can't be read: {}", super::super::reason(error)))
}

/// A name within the archive.
fn inner(name: &[u8]) -> Result<PathBuf, &'static str> {
    if name.contains(&0) {
        return Err("its name holds a NUL");
    }
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(name)).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("its name has `..` in it"),
            Component::RootDir | Component::Prefix(_) => return Err("its name begins with a slash"),
        }
    }
    match path.iter().count() > DEEPEST {
        true => Err("it is too deep"),
        false => Ok(path),
    }
}

/// Whether a link at this path of an archive leads to a place in it.
fn leads_inside(path: &Path, target: &[u8]) -> bool {
    let mut depth = path.iter().count().saturating_sub(1);
    for part in Path::new(OsStr::from_bytes(target)).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// A later entry of the same name takes the place of an earlier one.
fn drop_old(parent: &OwnedFd, name: &OsStr) -> Result<(), Trouble> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => Err(Trouble::Wrong("it takes the place of a directory of the same archive")),
        Err(error) => Err(error.into()),
    }
}

fn set_time(file: &File, seconds: u64) {
    let time = std::time::SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    time.into_iter().for_each(|time| drop(file.set_modified(time)));
}

/// Moves everything in `from` into `to`: a directory that is there already gets what comes, everything else is replaced.
fn merge(from: &OwnedFd, to: &OwnedFd, at: &Path) -> Result<(), (PathBuf, io::Error)> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| (path, error)
    };
    let entries = Dir::read_from(from).map_err(|error| failed(at)(error.into()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(at)(error.into()))?;
        names.push(entry.file_name().to_owned());
    }
    for name in names.iter().filter(|name| name.as_c_str() != c"." && name.as_c_str() != c"..") {
        let name = OsStr::from_bytes(name.as_bytes());
        let path = at.join(name);
        let is_directory = |at: &OwnedFd| {
            let kind = statat(at, name, AtFlags::SYMLINK_NOFOLLOW);
            kind.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
        };
        if is_directory(from) && is_directory(to) {
            let below = open_directory(from, name).and_then(|from| Ok((from, open_directory(to, name)?)));
            let (from, to) = below.map_err(failed(&path))?;
            merge(&from, &to, &path)?;
        } else {
            renameat(from, name, to, name).map_err(|error| failed(&path)(error.into()))?;
        }
    }
    Ok(())
}
