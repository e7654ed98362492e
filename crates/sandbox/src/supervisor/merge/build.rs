use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod,
    fchown, fsetxattr, fstat, fsync, futimens, linkat, makedev, mkdirat, mknodat, openat,
};
use rustix::io::Errno;

use super::lookup::{Below, Meaning, Source, Stack, open_dir, stat};
use super::marks::Marks;
use crate::supervisor::CANONICAL_BASE;

/// How deep directories may lie in each other: each level takes descriptors.
const MOST_LEVELS: usize = 4_096;

/// What merging came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Merged {
    /// Directories made.
    pub(crate) directories: u64,
    /// Files, links and so on that the layers have in common with the new one.
    pub(crate) shared: u64,
    /// Files that had so many names already that they were copied.
    pub(crate) copied: u64,
}

/// Makes one layer of adjacent ones, given top first, that shows over any others what those do. Files are shared with them by
/// hard links, since nobody writes to a layer. The new one must not be there yet; on failure, what there is of it is to be
/// removed. Blocks.
///
/// What is below them isn't known and may be anything: whiteouts stay, and directories say what shows through them.
pub(crate) fn merge(layers: &[&Path], marks: Marks, to: &Path) -> io::Result<Merged> {
    let layers = layers.iter().map(|at| open_at(at)).collect::<io::Result<Vec<_>>>()?;
    std::fs::create_dir(to)?;
    let out = open_at(to)?;
    let mut parts = BTreeSet::new();
    for layer in &layers {
        for name in names(layer)? {
            // A plain file beside the parts says something of the layer itself.
            if FileType::from_raw_mode(stat(layer, &name)?.st_mode) == FileType::Directory {
                parts.insert(name);
            }
        }
    }
    let mut merged = Merged::default();
    for part in parts {
        let mut roots = Vec::new();
        for (layer, dir) in layers.iter().enumerate() {
            match open_dir(dir, &part) {
                Ok(dir) => roots.push(Source { layer, dir }),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Merging { stack: Stack { marks, roots }, merged: &mut merged }.part(&out, &part)?;
    }
    let top = fstat(&layers[0])?;
    dress(&out, &top, &[])?;
    fsync(&out)?;
    Ok(merged)
}

struct Merging<'m> {
    stack: Stack,
    merged: &'m mut Merged,
}

/// A directory that is being made.
struct Level {
    sources: Vec<Source>,
    /// Whether anything below all of our layers shows through.
    is_open: bool,
    out: OwnedFd,
    marks: Vec<(String, Vec<u8>)>,
    has_whiteouts: bool,
    /// What is still to come.
    names: Vec<Vec<u8>>,
}

impl Merging<'_> {
    fn part(&mut self, out: &OwnedFd, part: &[u8]) -> io::Result<()> {
        let mut roots = Vec::new();
        for Source { layer, dir } in &self.stack.roots {
            roots.push(Source { layer: *layer, dir: dir.try_clone()? });
        }
        let mut levels = vec![self.level(out, part, roots, true, None)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                finish(level, self.stack.marks)?;
                levels.pop();
                continue;
            };
            let next = self.add(level, &name);
            match next.map_err(|error| named(&error, &levels, &name))? {
                Some(_) if levels.len() == MOST_LEVELS => {
                    return Err(io::Error::other(format!("directories lie more than {MOST_LEVELS} deep")));
                }
                Some(next) => levels.push(next),
                None => {}
            }
        }
        Ok(())
    }

    /// Adds what a name means in a directory; gives the directory to go into, if it is one.
    fn add(&mut self, level: &mut Level, name: &[u8]) -> io::Result<Option<Level>> {
        match self.stack.look_up(&level.sources, level.is_open, name)? {
            Meaning::Nothing => Ok(None),
            Meaning::Whiteout if level.is_open => {
                level.has_whiteouts = true;
                mknodat(&level.out, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?;
                if self.stack.marks == Marks::Trusted {
                    let owner = CANONICAL_BASE;
                    let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
                    chownat(&level.out, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                }
                Ok(None)
            }
            // There is nothing left that it could hide, and a directory with nothing below would show it.
            Meaning::Whiteout => Ok(None),
            Meaning::Thing { parent, name: from } => {
                match linkat(&parent, &*from, &level.out, name, AtFlags::empty()) {
                    Ok(()) => self.merged.shared += 1,
                    Err(Errno::MLINK) => {
                        copy(&parent, &from, &level.out, name)?;
                        self.merged.copied += 1;
                    }
                    Err(error) => return Err(error.into()),
                }
                Ok(None)
            }
            Meaning::Directory { sources, below } => {
                let marks = self.stack.marks;
                let mark = match &below {
                    Below::Nothing if level.is_open => Some((marks.opaque(), b"y".to_vec())),
                    Below::Nothing => None,
                    Below::Beside(same) if same == name => None,
                    Below::Beside(at) | Below::At(at) => Some((marks.redirect(), at.clone())),
                };
                self.level(&level.out, name, sources, below != Below::Nothing, mark).map(Some)
            }
        }
    }

    fn level(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        sources: Vec<Source>,
        is_open: bool,
        mark: Option<(String, Vec<u8>)>,
    ) -> io::Result<Level> {
        mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
        self.merged.directories += 1;
        let out = open_dir(parent, name)?;
        let mut all = BTreeSet::new();
        for source in &sources {
            all.extend(names(&source.dir)?);
        }
        let (marks, names) = (mark.into_iter().collect(), all.into_iter().collect());
        Ok(Level { sources, is_open, out, marks, has_whiteouts: false, names })
    }
}

/// Gives a directory that is full the looks of the topmost of those it is made of.
fn finish(level: &Level, marks: Marks) -> io::Result<()> {
    let Some(top) = level.sources.first() else { return Ok(()) };
    let mut attributes = marks.others(&top.dir)?;
    attributes.extend(level.marks.iter().cloned());
    if level.has_whiteouts {
        // Where it turns out that nothing is below, the kernel would list them as devices, unless this is there.
        attributes.push((marks.origin(), Vec::new()));
    }
    dress(&level.out, &fstat(&top.dir)?, &attributes)
}

/// Owner first, since that takes away bits of the mode; the time last, since all else changes it.
fn dress(file: &OwnedFd, looks: &Stat, attributes: &[(String, Vec<u8>)]) -> io::Result<()> {
    fchown(file, Some(Uid::from_raw(looks.st_uid)), Some(Gid::from_raw(looks.st_gid)))?;
    fchmod(file, Mode::from_raw_mode(looks.st_mode & 0o7777))?;
    for (name, value) in attributes {
        fsetxattr(file, name.as_str(), value, XattrFlags::empty())?;
    }
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos.try_into().unwrap_or(0) };
    let times = Timestamps {
        last_access: time(looks.st_atime, looks.st_atime_nsec),
        last_modification: time(looks.st_mtime, looks.st_mtime_nsec),
    };
    Ok(futimens(file, &times)?)
}

fn copy(parent: &OwnedFd, from: &[u8], out: &OwnedFd, to: &[u8]) -> io::Result<()> {
    let looks = stat(parent, from)?;
    if FileType::from_raw_mode(looks.st_mode) != FileType::RegularFile {
        return Err(Errno::MLINK.into());
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = openat(parent, from, flags | OFlags::RDONLY, Mode::empty())?;
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let to = openat(out, to, flags, Mode::from_raw_mode(0o600))?;
    let attributes = Marks::Trusted.others(&from)?;
    let mut to = File::from(to);
    io::copy(&mut File::from(from), &mut to)?;
    dress(&to.into(), &looks, &attributes)
}

fn open_at(path: &Path) -> io::Result<OwnedFd> {
    open_dir(CWD, path.as_os_str().as_bytes())
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("opening {}: {error}", path.display())))
}

fn names(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    // Of its own, so that reading it twice begins twice at the beginning.
    let dir = open_dir(dir, b".")?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn named(error: &io::Error, levels: &[Level], name: &[u8]) -> io::Error {
    let parent =
        levels.last().and_then(|level| std::fs::read_link(format!("/proc/self/fd/{}", level.out.as_raw_fd())).ok());
    let at = parent.unwrap_or_default().join(OsStr::from_bytes(name));
    io::Error::new(error.kind(), format!("merging {}: {error}", at.display()))
}
