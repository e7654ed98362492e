//! Unpacks one layer of an image over the layers below it.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tar::{Archive, Entry, EntryType};

use super::tree::{Looks, Tree, plain};
use crate::Packing;
use crate::supervisor::RANGE;

/// How much a layer may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Its entries.
    pub(crate) entries: u64,
    /// The bytes of the archive, and those of the files in it.
    pub(crate) bytes: u64,
    /// As above for each byte of the packed file, beyond the first [`FREE_BYTES`].
    pub(crate) ratio: u64,
    /// The bytes of all names together.
    pub(crate) name_bytes: u64,
}

impl Bounds {
    /// Those that hold.
    pub(crate) const OURS: Self = Self { entries: 1_000_000, bytes: 32 << 30, ratio: 200, name_bytes: 128 << 20 };
}

/// A small archive may be packed as well as it likes.
const FREE_BYTES: u64 = 64 << 20;
/// Names that say something about the layer instead of being in it.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const OTHER_MARK: &[u8] = b".wh..wh.";

/// Why a layer isn't unpacked.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is at fault.
    Layer(String),
    /// This machine is.
    Here(io::Error),
}

impl Refusal {
    fn layer(why: impl fmt::Display) -> Self {
        Self::Layer(why.to_string())
    }
}

/// Unpacks a layer's file into a tree, which has what the layers below have.
pub(crate) fn unpack(
    tree: &Tree,
    packed: File,
    packing: Packing,
    diff_id: &str,
    bounds: Bounds,
) -> Result<(), Refusal> {
    let length = packed.metadata().map_err(Refusal::Here)?.len();
    let most = bounds.bytes.min(FREE_BYTES.saturating_add(length.saturating_mul(bounds.ratio)));
    let archive: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(BufReader::with_capacity(128 * 1024, packed)),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(128 * 1024, packed))),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(packed).map_err(Refusal::Here)?),
    };
    let excess = Cell::new(false);
    let mut measured = Measured { archive, hash: Sha256::new(), left: most, excess: &excess };
    let mut unpacking =
        Unpacking { tree, bounds, most, written: 0, entries: 0, names: 0, unpacked: HashSet::new(), times: Vec::new() };
    let unpacked = unpacking.all(&mut measured);
    // What follows the archive's end belongs to what the digest is of.
    let drained = unpacked.and_then(|()| io::copy(&mut measured, &mut io::sink()).map(drop).map_err(broken));
    let measured = measured.hash.finalize();
    if excess.get() {
        return Err(Refusal::layer(format_args!("unpacked it is more than {most} bytes, from {length} packed ones")));
    }
    drained?;
    let found = measured.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"));
    if found != diff_id {
        return Err(Refusal::layer(format_args!("unpacked its digest is {found}, and should be {diff_id}")));
    }
    unpacking.give_times()
}

/// An archive that can't be read on. What is written answers with other errors.
fn broken(error: io::Error) -> Refusal {
    Refusal::layer(format_args!("its archive can't be read: {error}"))
}

/// The archive on its way, counted and digested.
struct Measured<'m> {
    archive: Box<dyn Read>,
    hash: Sha256,
    left: u64,
    excess: &'m Cell<bool>,
}

impl Read for Measured<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(into)?;
        self.hash.update(&into[..read]);
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.excess.set(true);
                return Err(io::Error::other("it is too long"));
            }
        }
        Ok(read)
    }
}

struct Unpacking<'t> {
    tree: &'t Tree,
    bounds: Bounds,
    most: u64,
    written: u64,
    entries: u64,
    names: u64,
    /// What this layer has, and the directories on the way to it. Its whiteouts don't mean those.
    unpacked: HashSet<PathBuf>,
    times: Vec<(PathBuf, Looks)>,
}

impl Unpacking<'_> {
    fn all(&mut self, from: &mut dyn Read) -> Result<(), Refusal> {
        let mut archive = Archive::new(from);
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            self.count(&entry)?;
            self.one(&mut entry)?;
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry<'_, &mut dyn Read>) -> Result<(), Refusal> {
        self.entries += 1;
        self.names += entry.path_bytes().len() as u64 + entry.link_name_bytes().map_or(0, |name| name.len() as u64);
        if self.entries > self.bounds.entries {
            return Err(Refusal::layer(format_args!("it has more than {} entries", self.bounds.entries)));
        }
        if self.names > self.bounds.name_bytes {
            return Err(Refusal::layer("its names are too long, all together"));
        }
        Ok(())
    }

    fn one(&mut self, entry: &mut Entry<'_, &mut dyn Read>) -> Result<(), Refusal> {
        let name = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        // The root itself is what it is.
        let is_root = name.split(|byte| *byte == b'/').all(|part| part.is_empty() || part == b".");
        if is_root || matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let shown = || Shown(&name);
        let path = plain(&name)
            .ok_or_else(|| Refusal::layer(format_args!("it has the entry {}, which would lead out of it", shown())))?;
        let last = path.file_name().unwrap_or_default().as_bytes();
        if last.starts_with(WHITEOUT) {
            return self.white_out(&path, last).map_err(|error| at(&shown(), error));
        }
        let looks = looks(entry).map_err(|why| Refusal::layer(format_args!("its entry {} {why}", shown())))?;
        let done = match kind {
            EntryType::Directory => self.place(&path).and_then(|place| place.make_directory(looks)),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.written = self.written.saturating_add(entry.size());
                if self.written > self.most {
                    return Err(Refusal::layer(format_args!("its files are more than {} bytes", self.most)));
                }
                self.place(&path).and_then(|place| place.make_file(entry, looks))
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                self.place(&path).and_then(|place| place.make_symlink(&target, looks))
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let to = plain(&target).ok_or_else(|| {
                    let target = Shown(&target);
                    Refusal::layer(format_args!("its entry {} links to {target}, which would lead out of it", shown()))
                })?;
                let to = self.tree.existing_place(&to);
                to.and_then(|to| self.place(&path).and_then(|place| place.make_link(&to)))
            }
            EntryType::Fifo => self.place(&path).and_then(|place| place.make_fifo(looks)),
            // A sandbox has its own devices, and no right to make others; as with others who have none, they are left out.
            EntryType::Block | EntryType::Char => return Ok(()),
            _ => return Ok(()),
        };
        done.map_err(|error| at(&shown(), error))?;
        if kind == EntryType::Directory {
            self.times.push((path.clone(), looks));
        }
        self.remember(&path);
        Ok(())
    }

    fn place(&self, path: &Path) -> io::Result<super::tree::Place> {
        self.tree.place(path)
    }

    fn remember(&mut self, path: &Path) {
        for part in path.ancestors() {
            if !self.unpacked.insert(part.to_owned()) {
                return;
            }
        }
    }

    fn white_out(&self, path: &Path, last: &[u8]) -> io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if last == OPAQUE {
            return self.tree.clear(parent, &self.unpacked);
        }
        if last.starts_with(OTHER_MARK) {
            return Ok(());
        }
        let hidden = &last[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it hides nothing that could be there"));
        }
        let hidden = parent.join(OsStr::from_bytes(hidden));
        if self.unpacked.contains(&hidden) {
            return match self.tree.clear(&hidden, &self.unpacked) {
                // A file of this layer, which is all there is.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(()),
                cleared => cleared,
            };
        }
        match self.tree.existing_place(&hidden) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            place => place?.remove(),
        }
    }

    /// Directories get theirs last, since filling them changes it.
    fn give_times(&self) -> Result<(), Refusal> {
        for (path, looks) in &self.times {
            let gone =
                |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            match self.tree.existing_place(path).and_then(|place| place.give_time(*looks)) {
                Err(error) if !gone(&error) => return Err(at(&Shown(path.as_os_str().as_bytes()), error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

fn looks(entry: &Entry<'_, &mut dyn Read>) -> Result<Looks, String> {
    let header = entry.header();
    let number = |read: io::Result<u64>, what: &str| read.map_err(|_| format!("has no {what} that can be read"));
    let (uid, gid) = (number(header.uid(), "owner")?, number(header.gid(), "group")?);
    let most = u64::from(RANGE) - 1;
    if uid > most || gid > most {
        return Err(format!("belongs to user {uid} and group {gid}; a sandbox has those up to {most}"));
    }
    let mode = header.mode().map_err(|_| "has no mode that can be read".to_owned())?;
    let modified = header.mtime().ok().and_then(|at| i64::try_from(at).ok()).filter(|at| *at <= LATEST);
    Ok(Looks { mode, uid: uid as u32, gid: gid as u32, modified })
}

/// The latest time that file systems of today can keep.
const LATEST: i64 = 15_032_385_535;

/// What went wrong with an entry: a full disk is no fault of the layer's.
fn at(entry: &Shown<'_>, error: io::Error) -> Refusal {
    let here = [libc::ENOSPC, libc::EDQUOT, libc::EIO, libc::EROFS, libc::EMFILE, libc::ENFILE, libc::ENOMEM];
    match error.raw_os_error() {
        Some(code) if here.contains(&code) => Refusal::Here(error),
        Some(_) | None => Refusal::layer(format_args!("its entry {entry} can't be made: {error}")),
    }
}

/// A stranger's name, fit for a message.
struct Shown<'n>(&'n [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.0);
        let start: String = text.chars().take(200).collect();
        write!(f, "`{}`", start.escape_debug())
    }
}
