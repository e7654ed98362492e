use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    linkat, makedev, mkdirat, mknodat, openat, setxattr, symlinkat, utimensat,
};
use tar::{Archive, EntryType};
use tenure_core::id::SessionId;

use super::save::PARTS;
use super::{owner, pax, stack};
use crate::Error;

/// Reads back what [`save_files`](super::save_files) wrote, as the files of a session that has none. If the stream isn't
/// whole, nothing is left of it. Blocks.
///
/// Nothing in the stream can reach out of the session's directory. It isn't synced:
/// [`mark_restored`](super::mark_restored) does that for all sessions together.
pub fn load_files(root: &Path, session: SessionId, from: &mut dyn Read) -> Result<(), Error> {
    let failed = || Error::failed(format!("restoring the files of {session}"));
    let sessions = root.join("sessions");
    let (to, loading) = (sessions.join(session.to_string()), root.join(format!("loading-{session}")));
    let mut load = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&sessions)?;
        if to.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the session has files already"));
        }
        remove(&loading)?;
        std::fs::create_dir(&loading)?;
        let dir = openat(CWD, &loading, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        crate::supervisor::allow_many_files();
        Loading::new(dir, |part| PARTS.iter().any(|known| part == *known)).read(from)?;
        stack::refuse_malformed(&loading)?;
        std::fs::rename(&loading, &to)
    };
    load().map_err(|error| {
        let _ = remove(&loading);
        failed()(error)
    })
}

pub(super) fn remove(dir: &Path) -> io::Result<()> {
    match crate::removal::remove_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) struct Loading {
    /// The directories down to the one that is being filled; the session's own first.
    levels: Vec<Level>,
    /// What paths may begin with.
    may_begin: fn(&OsStr) -> bool,
}

struct Level {
    name: PathBuf,
    dir: OwnedFd,
    /// What it is to look like once it is full.
    shown: Option<Looks>,
}

/// All that a stream says of a thing but its name and data.
struct Looks {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: Timespec,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Loading {
    /// Fills a directory, which is empty.
    pub(super) fn new(dir: OwnedFd, may_begin: fn(&OsStr) -> bool) -> Self {
        Self { levels: vec![Level { name: PathBuf::new(), dir, shown: None }], may_begin }
    }

    pub(super) fn read(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut archive = Archive::new(from);
        let mut records = None;
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            if entry.header().entry_type() == EntryType::XHeader {
                let size = entry.header().entry_size()?;
                if size > pax::MOST_BYTES {
                    return Err(bad("an entry's records are too long"));
                }
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                if bytes.len() as u64 != size {
                    return Err(bad("the stream is cut short"));
                }
                records = Some(pax::read(&bytes)?);
            } else {
                let records = records.take().ok_or_else(|| bad("an entry has no records"))?;
                self.make(&mut entry, records)?;
            }
        }
        self.leave(0)?;
        if records.is_some() {
            return Err(bad("the stream is cut short"));
        }
        // A stream that was cut between two entries lacks its end.
        let mut end = [0; 512];
        let from = archive.into_inner();
        from.read_exact(&mut end).map_err(|_| bad("the stream is cut short"))?;
        io::copy(from, &mut io::sink()).map(drop)
    }

    fn make<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, records: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let header = entry.header();
        let (kind, size) = (header.entry_type(), header.entry_size()?);
        let number = |number: u64| u32::try_from(number).map_err(|_| bad("an owner is out of range"));
        let (mode, uid, gid) = (header.mode()? & 0o7777, number(header.uid()?)?, number(header.gid()?)?);
        let mut attributes = Vec::new();
        let mut known: HashMap<String, Vec<u8>> = HashMap::new();
        for (key, value) in records {
            match key.strip_prefix(pax::ATTRIBUTE) {
                Some(name) => attributes.push((name.to_owned(), value)),
                None => drop(known.insert(key, value)),
            }
        }
        let modified = known.get(pax::MODIFIED).and_then(|text| parse_time(text)).ok_or_else(|| bad("a time"))?;
        let looks = Looks { mode, uid, gid, modified, attributes };
        let path = known.get(pax::PATH).map(|path| Path::new(OsStr::from_bytes(path)));
        let (parents, name) =
            path.and_then(|path| parts(path, self.may_begin)).ok_or_else(|| bad("a path leads elsewhere"))?;
        self.go_to(&parents)?;
        let parent = self.levels.last().map(|level| level.dir.as_fd()).ok_or_else(|| bad("nowhere"))?;
        let link = known.get(pax::LINK).map(|target| OsStr::from_bytes(target));
        match kind {
            EntryType::Directory => {
                mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir = openat(parent, name, flags, Mode::empty())?;
                self.levels.push(Level { name: PathBuf::from(name), dir, shown: Some(looks) });
                return Ok(());
            }
            EntryType::Regular => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
                match known.get(pax::SPARSE_SIZE) {
                    Some(size) => write_pieces(entry, &file, parse(size)?)?,
                    None => write_all(entry, &file, size)?,
                }
            }
            EntryType::Symlink => symlinkat(link.ok_or_else(|| bad("a link has no target"))?, parent, name)?,
            EntryType::Link => {
                let (parents, first) = link
                    .map(Path::new)
                    .and_then(|link| parts(link, self.may_begin))
                    .ok_or_else(|| bad("a link leads elsewhere"))?;
                let first_parent = self.open_beneath(&parents)?;
                linkat(&first_parent, first, parent, name, AtFlags::empty())?;
                // It looks as the first of its names does.
                return Ok(());
            }
            EntryType::Fifo => mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
            EntryType::Char if header_device(entry.header())? == (0, 0) => {
                mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?;
            }
            _ => return Err(bad("an entry is of a kind that isn't saved")),
        }
        looks.give(parent, name)
    }

    /// Has the directory of these names as the one that is being filled. They come in the order of a walk, each before
    /// what is in it.
    fn go_to(&mut self, parents: &[&OsStr]) -> io::Result<()> {
        let open = self.levels[1..].iter().zip(parents).take_while(|(level, name)| level.name.as_os_str() == **name);
        let shared = open.count();
        self.leave(shared)?;
        if self.levels.len() != parents.len() + 1 {
            return Err(bad("an entry comes before the directory it is in"));
        }
        Ok(())
    }

    /// Finishes the directories beyond so many.
    fn leave(&mut self, kept: usize) -> io::Result<()> {
        while self.levels.len() > kept + 1 {
            let Some(Level { name, shown, .. }) = self.levels.pop() else { break };
            if let (Some(looks), Some(parent)) = (shown, self.levels.last()) {
                looks.give(parent.dir.as_fd(), name.as_os_str())?;
            }
        }
        Ok(())
    }

    fn open_beneath(&self, parents: &[&OsStr]) -> io::Result<OwnedFd> {
        let mut dir = self.levels[0].dir.try_clone()?;
        for name in parents {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            dir = openat(&dir, *name, flags, Mode::empty())?;
        }
        Ok(dir)
    }
}

impl Looks {
    /// Owner first, since that takes away bits of the mode and some attributes; the time last, since all else changes it.
    fn give(&self, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let handle = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let is_link = FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) == FileType::Symlink;
        let (uid, gid) = (owner::on_disk(self.uid), owner::on_disk(self.gid));
        if uid.is_some() || gid.is_some() {
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let at = format!("/proc/self/fd/{}", handle.as_raw_fd());
        for (name, value) in &self.attributes {
            let Some(name) = owner::mark_on_disk(name, is_link)? else { continue };
            setxattr(&at, &*name, value, XattrFlags::empty())
                .map_err(|error| io::Error::other(format!("the attribute {name} can't be set: {error}")))?;
        }
        // After the attributes, which can't be given to what can't be written.
        if !is_link {
            chmodat(CWD, &at, Mode::from_raw_mode(self.mode), AtFlags::empty())?;
        }
        let times =
            Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: self.modified };
        Ok(utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// The directories a path goes through, and its last name, if it stays within what is saved.
fn parts(path: &Path, may_begin: fn(&OsStr) -> bool) -> Option<(Vec<&OsStr>, &OsStr)> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => return None,
        }
    }
    let name = names.pop()?;
    let first = names.first().copied().unwrap_or(name);
    may_begin(first).then_some((names, name))
}

fn write_all(entry: &mut impl Read, mut file: &File, size: u64) -> io::Result<()> {
    match io::copy(entry, &mut file)? {
        written if written == size => Ok(()),
        _ => Err(bad("the stream is cut short")),
    }
}

fn write_pieces(entry: &mut impl Read, file: &File, size: u64) -> io::Result<()> {
    let mut map = SparseMap { entry, block: [0; 512], at: 512 };
    let count = map.number()?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push((map.number()?, map.number()?));
    }
    let mut buffer = vec![0; 1 << 16];
    for (mut at, mut left) in pieces {
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            entry.read_exact(&mut buffer[..most])?;
            file.write_all_at(&buffer[..most], at)?;
            (at, left) = (at + most as u64, left - most as u64);
        }
    }
    file.set_len(size)
}

/// GNU tar's map of a file with holes: decimal numbers, a line each, padded to a block.
struct SparseMap<'e, R> {
    entry: &'e mut R,
    block: [u8; 512],
    at: usize,
}

impl<R: Read> SparseMap<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut text = Vec::new();
        loop {
            if self.at == self.block.len() {
                self.entry.read_exact(&mut self.block)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return parse(&text),
                _ if text.len() > 20 => return Err(bad("a number is too long")),
                _ => text.push(byte),
            }
        }
    }
}

fn header_device(header: &tar::Header) -> io::Result<(u32, u32)> {
    Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
}

fn parse(text: &[u8]) -> io::Result<u64> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| bad("a number is malformed"))
}

fn parse_time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (is_before, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (seconds, nanos) = text.split_once('.').unwrap_or((text, "0"));
    // Neither has a sign of its own.
    if ![seconds, nanos].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{nanos:0<9}").get(..9)?.parse().ok()?;
    Some(match (is_before, nanos) {
        (false, nanos) => Timespec { tv_sec: seconds, tv_nsec: nanos },
        (true, 0) => Timespec { tv_sec: -seconds, tv_nsec: 0 },
        (true, nanos) => Timespec { tv_sec: -seconds - 1, tv_nsec: 1_000_000_000 - nanos },
    })
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use rustix::fs::Timespec;

    use super::parse_time;

    #[test]
    fn a_time_has_one_sign_at_most() {
        let time = |tv_sec, tv_nsec| Some(Timespec { tv_sec, tv_nsec });
        assert_eq!(parse_time(b"12.5"), time(12, 500_000_000));
        assert_eq!(parse_time(b"-12.5"), time(-13, 500_000_000));
        assert_eq!(parse_time(b"-9223372036854775807.1"), time(i64::MIN, 900_000_000));
        for odd in ["--9223372036854775808", "--1", "+1", "1.-5", "1.+5", ".", "9223372036854775808"] {
            assert_eq!(parse_time(odd.as_bytes()), None, "{odd}");
        }
    }
}
