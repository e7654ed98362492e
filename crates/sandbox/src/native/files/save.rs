use std::collections::{BTreeSet, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, SeekFrom, Stat, fstat, openat, readlinkat, seek};
use tar::{Builder, EntryType, Header};
use tenure_core::id::SessionId;

use super::stack::Stack;
use super::{owner, pax};
use crate::Error;
use crate::supervisor::SHELL_MARK;
use crate::supervisor::snapshots::{HEAD, LAYER, SNAPSHOTS};

/// What of a session's directory is saved; the rest is made anew.
pub(super) const PARTS: [&str; 5] = [HEAD, "calls", LAYER, SHELL_MARK, SNAPSHOTS];

/// How deep directories may lie in each other: each level takes a descriptor.
pub(super) const MOST_LEVELS: usize = 4_096;

/// How long a path may be: four times as long as any that programs can use. Each thing's is in the archive, and held while what is
/// below it is read, so that without a bound a few directories with long names in each other would make any archive endless.
pub(super) const LONGEST_PATH: usize = 16 * 1024;

/// A file with more data between its holes than this many pieces is saved with zeros from there on.
const MOST_PIECES: usize = 65_536;

/// How many paths of each kind are named.
const MOST_NAMED: usize = 100;

/// What was written of a session's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Files, directories, links and so on.
    pub files: u64,
    /// The bytes of data.
    pub bytes: u64,
    /// What changed or vanished while it was read: it is there as it was found, in part, or not at all.
    pub changed: Noted,
    /// What can't be kept in such a stream, and why.
    pub left_out: Noted,
    /// The sealed layers that the files lie on, and those that the session's snapshots need.
    pub layers: BTreeSet<String>,
}

/// Paths in a session's directory, each with a remark; the first hundred, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<(PathBuf, String)>,
}

impl Noted {
    fn add(&mut self, path: &Path, why: impl Into<String>) {
        self.count += 1;
        if self.first.len() < MOST_NAMED {
            self.first.push((path.to_owned(), why.into()));
        }
    }
}

/// Writes a session's files below a sandbox directory as a tar stream: owners, times to the nanosecond, extended
/// attributes, whiteouts, hard links and holes included, in a fixed order. `None` if it has none. Blocks.
///
/// The sandbox may be alive: what it changes meanwhile is saved as it was found, and noted. Nothing of what lies there is
/// followed or trusted. Sealed layers aren't in it: see [`save_layer`](super::save_layer), and hold a
/// [`KeepLayers`](super::KeepLayers) until they are saved.
pub fn save_files(root: &Path, session: SessionId, to: &mut dyn Write) -> Result<Option<Saved>, Error> {
    let failed = || Error::failed(format!("saving the files of {session}"));
    let at = root.join("sessions").join(session.to_string());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = match openat(CWD, &at, flags, Mode::empty()) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed()(error.into())),
    };
    crate::supervisor::allow_many_files();
    let mut tape = Tape::new(to);
    tape.session(root, dir).and_then(|()| tape.builder.into_inner()?.flush()).map_err(failed())?;
    Ok(Some(tape.saved))
}

pub(super) struct Tape<'w> {
    pub(super) builder: Builder<&'w mut dyn Write>,
    /// Where files with several names were saved first.
    linked: HashMap<(u64, u64), PathBuf>,
    pub(super) saved: Saved,
}

/// A directory that is being read.
pub(super) struct Level {
    pub(super) dir: OwnedFd,
    pub(super) path: PathBuf,
    /// What is still to come, last first.
    pub(super) names: Vec<OsString>,
}

impl<'w> Tape<'w> {
    pub(super) fn new(to: &'w mut dyn Write) -> Self {
        Self { builder: Builder::new(to), linked: HashMap::new(), saved: Saved::default() }
    }

    fn session(&mut self, root: &Path, dir: OwnedFd) -> io::Result<()> {
        let stack = Stack::read(root, &dir)?;
        self.saved.layers = stack.layers;
        if let Some(head) = &stack.head {
            self.add_text(&dir, Path::new(HEAD), head)?;
        }
        if !stack.snapshots.is_empty() {
            let snapshots = Found::open(dir.as_fd(), OsStr::new(SNAPSHOTS))?;
            self.entry(&snapshots, EntryType::Directory, Path::new(SNAPSHOTS), &[], &mut io::empty(), 0)?;
            for (name, text) in &stack.snapshots {
                self.add_text(&snapshots.handle, &Path::new(SNAPSHOTS).join(name), text)?;
            }
        }
        if let Some(layer) = stack.writable {
            let path = PathBuf::from(LAYER);
            if let Some(level) = self.add_found(&layer, path)? {
                self.walk(level)?;
            }
        }
        self.walk(Level { dir, path: PathBuf::new(), names: vec![SHELL_MARK.into(), "calls".into()] })
    }

    /// Saves a small file that was read already.
    fn add_text(&mut self, parent: &OwnedFd, path: &Path, text: &[u8]) -> io::Result<()> {
        match Found::open(parent.as_fd(), path.file_name().unwrap_or_default()) {
            Ok(found) => {
                let length = text.len() as u64;
                self.saved.bytes += length;
                self.entry(&found, EntryType::Regular, path, &[], &mut &*text, length)
            }
            Err(error) => {
                self.note_unread(path, &error);
                Ok(())
            }
        }
    }

    /// Saves what lies below a directory.
    pub(super) fn walk(&mut self, top: Level) -> io::Result<()> {
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if level.path.as_os_str().len() + name.len() >= LONGEST_PATH {
                self.saved
                    .left_out
                    .add(&level.path, format!("something in it has a path of more than {LONGEST_PATH} bytes"));
                continue;
            }
            let path = level.path.join(&name);
            if let Some(next) = self.add(level.dir.as_fd(), &name, path)? {
                if levels.len() < MOST_LEVELS {
                    levels.push(next);
                } else {
                    self.saved.left_out.add(&next.path, format!("its contents lie {MOST_LEVELS} directories deep"));
                }
            }
        }
        Ok(())
    }

    /// Saves one thing; gives the directory to go into, if it is one. Fails only if the stream does.
    fn add(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: PathBuf) -> io::Result<Option<Level>> {
        let found = Found::open(parent, name);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                // The shell's mark and the calls are not there before the first of them.
                if error.kind() != io::ErrorKind::NotFound || path.components().count() > 1 {
                    self.note_unread(&path, &error);
                }
                return Ok(None);
            }
        };
        self.add_found(&found, path)
    }

    fn add_found(&mut self, found: &Found, path: PathBuf) -> io::Result<Option<Level>> {
        match FileType::from_raw_mode(found.stat.st_mode) {
            FileType::Directory => match found.list() {
                Ok((dir, names)) => {
                    self.entry(found, EntryType::Directory, &path, &[], &mut io::empty(), 0)?;
                    return Ok(Some(Level { dir, path, names }));
                }
                Err(error) => self.note_unread(&path, &error),
            },
            FileType::RegularFile => self.add_file(found, &path)?,
            FileType::Symlink => match readlinkat(&found.handle, "", Vec::new()) {
                Ok(target) => {
                    let target = [(pax::LINK, target.as_bytes())];
                    self.entry(found, EntryType::Symlink, &path, &target, &mut io::empty(), 0)?;
                }
                Err(error) => self.note_unread(&path, &error.into()),
            },
            FileType::Fifo => self.entry(found, EntryType::Fifo, &path, &[], &mut io::empty(), 0)?,
            // How an overlay notes that a file of the layer below is deleted.
            FileType::CharacterDevice if found.stat.st_rdev == 0 => {
                self.entry(found, EntryType::Char, &path, &[], &mut io::empty(), 0)?;
            }
            FileType::Socket => self.saved.left_out.add(&path, "a socket; whoever listens there makes it anew"),
            FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
                self.saved.left_out.add(&path, "a device, which no sandbox can make");
            }
        }
        Ok(None)
    }

    fn add_file(&mut self, found: &Found, path: &Path) -> io::Result<()> {
        let inode = (found.stat.st_dev, found.stat.st_ino);
        if let Some(first) = self.linked.get(&inode) {
            let target = first.as_os_str().to_owned();
            return self.entry(found, EntryType::Link, path, &[(pax::LINK, target.as_bytes())], &mut io::empty(), 0);
        }
        let file = match found.reopen(OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => File::from(file),
            Err(error) => {
                self.note_unread(path, &error);
                return Ok(());
            }
        };
        let size = found.stat.st_size as u64;
        let (map, pieces) = match has_holes(&found.stat) {
            true => {
                let pieces = pieces(&file, size);
                (sparse_map(&pieces), pieces)
            }
            false => (Vec::new(), vec![(0, size)]),
        };
        let length = map.len() as u64 + pieces.iter().map(|(_, length)| length).sum::<u64>();
        let mut short = false;
        let mut data =
            map.as_slice().chain(Pieces { file: &file, left: pieces.into_iter(), now: (0, 0), short: &mut short });
        let real_size = size.to_string();
        let mut records: Vec<(&str, &[u8])> = Vec::new();
        if has_holes(&found.stat) {
            records.extend(pax::SPARSE_FORMAT.map(|(key, value)| (key, value.as_bytes())));
            records.push((pax::SPARSE_NAME, path.as_os_str().as_bytes()));
            records.push((pax::SPARSE_SIZE, real_size.as_bytes()));
        }
        self.entry(found, EntryType::Regular, path, &records, &mut data, length)?;
        self.saved.bytes += size;
        if found.stat.st_nlink > 1 {
            self.linked.insert(inode, path.to_owned());
        }
        let now = fstat(&file)?;
        if short || (now.st_size, now.st_mtime, now.st_mtime_nsec) != found.modified() {
            self.saved.changed.add(path, "it was written to while it was read");
        }
        Ok(())
    }

    fn entry(
        &mut self,
        found: &Found,
        kind: EntryType,
        path: &Path,
        more: &[(&str, &[u8])],
        data: &mut dyn Read,
        length: u64,
    ) -> io::Result<()> {
        let mut records = Vec::new();
        pax::write(&mut records, pax::PATH, path.as_os_str().as_bytes());
        pax::write(&mut records, pax::MODIFIED, time_text(&found.stat).as_bytes());
        more.iter().for_each(|(key, value)| pax::write(&mut records, key, value));
        for (name, value) in found.attributes(&mut |why| self.saved.left_out.add(path, why)) {
            pax::write(&mut records, &format!("{}{name}", pax::ATTRIBUTE), &value);
        }
        let mut extended = header(path, EntryType::XHeader, records.len() as u64);
        extended.set_cksum();
        self.builder.append(&extended, records.as_slice())?;

        let mut header = header(path, kind, length);
        header.set_mode(found.stat.st_mode & 0o7777);
        header.set_uid(owner::in_archives(path, found.stat.st_uid).into());
        header.set_gid(owner::in_archives(path, found.stat.st_gid).into());
        header.set_mtime(u64::try_from(found.stat.st_mtime).unwrap_or(0));
        header.set_cksum();
        self.builder.append(&header, data)?;
        self.saved.files += 1;
        Ok(())
    }

    fn note_unread(&mut self, path: &Path, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::NotFound => self.saved.changed.add(path, "it went while it was read"),
            _ => self.saved.left_out.add(path, format!("it can't be read: {error}")),
        }
    }
}

/// The name is for readers that don't know the records that follow.
fn header(path: &Path, kind: EntryType, length: u64) -> Header {
    let mut header = Header::new_ustar();
    let name = path.as_os_str().as_bytes();
    if let Some(ustar) = header.as_ustar_mut() {
        let shown = &name[..name.len().min(ustar.name.len())];
        ustar.name[..shown.len()].copy_from_slice(shown);
        ustar.dev_major = *b"0000000\0";
        ustar.dev_minor = *b"0000000\0";
    }
    header.set_entry_type(kind);
    header.set_size(length);
    header
}

fn time_text(stat: &Stat) -> String {
    // The nanoseconds count forward even before 1970; tar's text is a plain decimal number.
    match (stat.st_mtime, stat.st_mtime_nsec) {
        (seconds @ 0.., nanos) => format!("{seconds}.{nanos:09}"),
        (seconds, 0) => format!("{seconds}"),
        (seconds, nanos) => format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos),
    }
}

/// Something in a directory, held by a descriptor, so that what is said of it is said of one thing.
pub(super) struct Found {
    pub(super) handle: OwnedFd,
    pub(super) stat: Stat,
}

impl Found {
    pub(super) fn open(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        let handle = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&handle)?;
        Ok(Self { handle, stat })
    }

    /// The same thing, opened to be read.
    fn reopen(&self, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(openat(CWD, self.magic(), flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// A path to exactly this, whatever its name means by now.
    fn magic(&self) -> String {
        format!("/proc/self/fd/{}", self.handle.as_raw_fd())
    }

    fn modified(&self) -> (i64, i64, u64) {
        (self.stat.st_size, self.stat.st_mtime, self.stat.st_mtime_nsec)
    }

    /// The directory, and the names in it, last first.
    pub(super) fn list(&self) -> io::Result<(OwnedFd, Vec<OsString>)> {
        Self::list_of(&self.handle)
    }

    /// As [`list`](Self::list), of a directory that is held already.
    pub(super) fn list_of(handle: &OwnedFd) -> io::Result<(OwnedFd, Vec<OsString>)> {
        let dir = openat(handle, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok((dir, names))
    }

    /// Its extended attributes, by name.
    fn attributes(&self, left_out: &mut dyn FnMut(String)) -> Vec<(String, Vec<u8>)> {
        let at = self.magic();
        let mut list = Vec::with_capacity(65_536);
        if let Err(error) = rustix::fs::listxattr(&at, rustix::buffer::spare_capacity(&mut list)) {
            if error != rustix::io::Errno::OPNOTSUPP {
                left_out(format!("its attributes can't be read: {error}"));
            }
            return Vec::new();
        }
        let mut attributes = Vec::new();
        for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let mut value = Vec::with_capacity(65_536);
            let read = CString::new(name)
                .map_err(|_| rustix::io::Errno::INVAL)
                .and_then(|name| rustix::fs::getxattr(&at, &name, rustix::buffer::spare_capacity(&mut value)));
            match (String::from_utf8(name.to_vec()), read) {
                (Ok(name), Ok(_)) if !name.contains('=') => attributes.push((owner::mark_in_archives(name), value)),
                // It went meanwhile.
                (_, Err(rustix::io::Errno::NODATA)) => {}
                (_, _) => left_out(format!("its attribute {}", String::from_utf8_lossy(name))),
            }
        }
        attributes.sort_unstable();
        attributes
    }
}

fn has_holes(stat: &Stat) -> bool {
    (stat.st_blocks as u64) * 512 < stat.st_size as u64
}

/// Where a file has data, as offsets and lengths.
fn pieces(file: &File, size: u64) -> Vec<(u64, u64)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(data) = seek(file, SeekFrom::Data(at)) else { break };
        let end = match pieces.len() < MOST_PIECES {
            true => seek(file, SeekFrom::Hole(data)).unwrap_or(size).min(size),
            false => size,
        };
        if data >= end {
            break;
        }
        pieces.push((data, end - data));
        at = end;
    }
    // The last one says how long the file is.
    if pieces.last().is_none_or(|(at, length)| at + length < size) {
        pieces.push((size, 0));
    }
    pieces
}

/// GNU tar's map of the pieces that follow, padded to a block.
fn sparse_map(pieces: &[(u64, u64)]) -> Vec<u8> {
    let mut map = format!("{}\n", pieces.len());
    pieces.iter().for_each(|(at, length)| map.push_str(&format!("{at}\n{length}\n")));
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(512), 0);
    map
}

/// Reads pieces of a file: all that was promised of it, with zeros for what is gone.
struct Pieces<'f> {
    file: &'f File,
    left: std::vec::IntoIter<(u64, u64)>,
    now: (u64, u64),
    short: &'f mut bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.now.1 == 0 {
            match self.left.next() {
                Some(piece) => self.now = piece,
                None => return Ok(0),
            }
        }
        let (at, length) = self.now;
        let most = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        let read = match self.file.read_at(&mut buffer[..most], at) {
            Ok(0) | Err(_) => {
                *self.short = true;
                buffer[..most].fill(0);
                most
            }
            Ok(read) => read,
        };
        self.now = (at + read as u64, length - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

    use super::{Found, LONGEST_PATH, Level, PathBuf, Tape};

    #[test]
    fn what_has_a_path_that_nobody_could_use_is_left_out_and_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top: OwnedFd = openat(CWD, dir.path(), flags, Mode::empty()).expect("opened");
        let (mut at, name) = (top.try_clone().expect("again"), "d".repeat(255));
        for _ in 0..100 {
            mkdirat(&at, &name, Mode::from_raw_mode(0o755)).expect("made");
            at = openat(&at, &name, flags, Mode::empty()).expect("opened");
        }
        let (top, names) = Found::list_of(&top).expect("listed");
        let mut archive = Vec::new();
        let mut tape = Tape::new(&mut archive);
        tape.walk(Level { dir: top, path: PathBuf::new(), names }).expect("written");
        let (files, left_out) = (tape.saved.files, tape.saved.left_out.clone());
        drop(tape);
        assert_eq!((files, left_out.count), (LONGEST_PATH as u64 / 256, 1));
    }
}
