//! Finding what a name means in a stack of layers, as the kernel does (`fs/overlayfs/namei.c`).

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::marks::{Marks, Said};

/// A directory of one layer.
#[derive(Debug)]
pub(super) struct Source {
    /// Which layer, the top one being 0.
    pub(super) layer: usize,
    pub(super) dir: OwnedFd,
}

/// What a name means in a directory that several layers make up.
#[derive(Debug)]
pub(super) enum Meaning {
    /// No layer has it.
    Nothing,
    /// It is deleted.
    Whiteout,
    /// Something that isn't a directory, in this directory of one of the layers, under this name.
    Thing { parent: OwnedFd, name: Vec<u8> },
    /// A directory that these layers make up, top first.
    Directory { sources: Vec<Source>, below: Below },
}

/// What of the layers below all of ours shows through a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Below {
    /// Nothing does.
    Nothing,
    /// The directory of this name in what shows through the parent.
    Beside(Vec<u8>),
    /// The one at this path from the root.
    At(Vec<u8>),
}

/// A stack of layers.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) marks: Marks,
    /// Their roots, top first.
    pub(super) roots: Vec<Source>,
}

impl Stack {
    /// What a name means in a directory that these layers make up. `is_open` says whether anything below all of ours shows
    /// through that.
    pub(super) fn look_up(&self, parent: &[Source], is_open: bool, name: &[u8]) -> io::Result<Meaning> {
        let mut search =
            Search { marks: self.marks, wanted: name.to_vec(), stop: false, is_whiteout: false, is_dir: false };
        let mut sources = Vec::new();
        let (mut list, mut at, mut from_root) = (parent, 0, false);
        while !search.stop && at < list.len() {
            let Source { layer, dir } = &list[at];
            at += 1;
            match search.layer(dir)? {
                None => continue,
                Some(Hit::Thing(parent, name)) => return Ok(Meaning::Thing { parent, name }),
                Some(Hit::Directory(dir)) => sources.push(Source { layer: *layer, dir }),
            }
            if search.is_absolute() && !from_root {
                // What is below is to be found by its path, in all layers below this one.
                from_root = true;
                list = &self.roots;
                at = list.iter().take_while(|root| root.layer <= *layer).count();
            }
        }
        if sources.is_empty() {
            return Ok(if search.is_whiteout { Meaning::Whiteout } else { Meaning::Nothing });
        }
        let below = match (search.stop, search.is_absolute()) {
            (true, _) => Below::Nothing,
            (false, true) => Below::At(search.wanted),
            (false, false) if is_open => Below::Beside(search.wanted),
            (false, false) => Below::Nothing,
        };
        Ok(Meaning::Directory { sources, below })
    }
}

/// A lookup on its way down.
struct Search {
    marks: Marks,
    /// A name in the parent, or a path from the root.
    wanted: Vec<u8>,
    /// Lower layers don't count any more.
    stop: bool,
    is_whiteout: bool,
    is_dir: bool,
}

enum Hit {
    Thing(OwnedFd, Vec<u8>),
    Directory(OwnedFd),
}

impl Search {
    fn is_absolute(&self) -> bool {
        self.wanted.starts_with(b"/")
    }

    /// Looks into one layer, from the parent's directory in it or from its root.
    fn layer(&mut self, base: &OwnedFd) -> io::Result<Option<Hit>> {
        if !self.is_absolute() {
            return self.part(base, 0..self.wanted.len());
        }
        // What is before the part may change on the way, what is behind it doesn't.
        let mut behind = self.wanted.len() - 1;
        let mut dir = base.try_clone()?;
        loop {
            let start = self.wanted.len() - behind;
            let length = self.wanted[start..].iter().take_while(|byte| **byte != b'/').count();
            let is_last = start + length == self.wanted.len();
            match self.part(&dir, start..start + length)? {
                Some(Hit::Directory(next)) if !is_last => dir = next,
                hit => return Ok(hit),
            }
            behind -= length + 1;
        }
    }

    /// Looks for one part of what is wanted.
    fn part(&mut self, base: &OwnedFd, part: Range<usize>) -> io::Result<Option<Hit>> {
        let (name, is_last) = (self.wanted[part.clone()].to_vec(), part.end == self.wanted.len());
        let found = match stat(base, &name) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if is_whiteout(&found) {
            self.stop = true;
            self.is_whiteout = true;
            return Ok(None);
        }
        if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
            self.stop = true;
            let counts = !self.is_dir && is_last;
            return match counts {
                true => Ok(Some(Hit::Thing(base.try_clone()?, name))),
                false => Ok(None),
            };
        }
        let dir = open_dir(base, &name)?;
        self.is_dir |= is_last;
        match self.marks.read(&dir)? {
            Said::Nothing => {}
            Said::Opaque => self.stop = true,
            Said::Redirect(to) => {
                // A directory may have been moved out of one that is opaque since.
                self.stop &= to[0] != b'/';
                let start = if to[0] == b'/' { 0 } else { part.start };
                self.wanted.splice(start..part.end, to);
            }
        }
        Ok(Some(Hit::Directory(dir)))
    }
}

/// How an overlay notes that something of the layers below is deleted.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn stat(dir: &OwnedFd, name: &[u8]) -> Result<Stat, Errno> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn open_dir(base: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(base, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
