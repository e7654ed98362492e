use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod,
    fchown, futimens, linkat, makedev, mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::supervisor::Standing;

/// Files below one directory. Names in it are strangers': whatever they say, nothing outside is reached.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

/// Whose a file is and what may be done with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looks {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// When it was changed, in seconds of the epoch.
    pub(crate) modified: Option<i64>,
}

/// A place for a file: its directory, which is open, and its name there, which is a plain one.
#[derive(Debug)]
pub(crate) struct Place {
    dir: OwnedFd,
    name: OsString,
}

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

impl Looks {
    /// Root's.
    pub(crate) const fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, modified: None }
    }

    /// As near to these as this builder can give. Where there is but one user, everything is that user's, who is one of the host, too:
    /// no program of a stranger's may run as it for others there.
    pub(super) fn possible(self) -> Self {
        match Standing::ours().has_own_users() {
            true => self,
            false => Self { mode: self.mode & 0o1777, uid: 0, gid: 0, ..self },
        }
    }

    /// Gives them to a file that is open.
    pub(crate) fn give(self, file: impl AsFd) -> io::Result<()> {
        let looks = self.possible();
        fchown(&file, Some(Uid::from_raw(looks.uid)), Some(Gid::from_raw(looks.gid)))?;
        // After the owner, whose change takes the set-user-id bit.
        fchmod(&file, Mode::from_raw_mode(looks.mode & 0o7777))?;
        match looks.modified {
            Some(seconds) => Ok(futimens(&file, &times(seconds))?),
            None => Ok(()),
        }
    }
}

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// The place that a path names, with the directories on the way to it made where they are missing. A link on the way is
    /// followed as if this tree were all there is.
    pub(crate) fn place(&self, path: &Path) -> io::Result<Place> {
        let (parent, name) = split(path)?;
        Ok(Place { dir: self.directory(&parent)?, name })
    }

    /// As above, of what has to be there.
    pub(crate) fn existing_place(&self, path: &Path) -> io::Result<Place> {
        let (parent, name) = split(path)?;
        Ok(Place { dir: self.resolve(&parent)?, name })
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (mut so_far, mut dir) = (PathBuf::new(), self.resolve(Path::new(""))?);
        for component in path.components() {
            so_far.push(component);
            dir = match self.resolve(&so_far) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    mkdirat(&dir, component.as_os_str(), Mode::from_raw_mode(0o755))?;
                    self.resolve(&so_far)?
                }
                found => found?,
            };
        }
        Ok(dir)
    }

    fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.open_at(path, DIRECTORY | OFlags::PATH)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        // The kernel gives up on such a path when something was renamed meanwhile; here nothing else is running.
        Ok(rustix::io::retry_on_intr(|| openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))?)
    }

    /// A short file's text; `None` if there is none, or something else, or more than `most` bytes.
    pub(crate) fn text(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let file = File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK).ok()?);
        let mut text = Vec::new();
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        (is_file && file.take(most + 1).read_to_end(&mut text).is_ok() && text.len() as u64 <= most).then_some(text)
    }

    /// Whether a path leads to anything.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.open_at(path, OFlags::PATH).is_ok()
    }

    /// Removes what a directory has, but for these paths and what leads to them.
    pub(crate) fn clear(&self, path: &Path, but: &HashSet<PathBuf>) -> io::Result<()> {
        match self.resolve(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            dir => clear(&dir?, path, but),
        }
    }
}

/// The directory of a path and its last name. Paths of archives begin at the root, whether they say so or not.
fn split(path: &Path) -> io::Result<(PathBuf, OsString)> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(odd("`..` in a name")),
        }
    }
    let name = plain.file_name().ok_or_else(|| odd("an empty name"))?.to_owned();
    plain.pop();
    Ok((plain, name))
}

/// The path without what means nothing; `None` if it leads out, or nowhere.
pub(crate) fn plain(path: &[u8]) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    match split(path) {
        Ok((parent, name)) => Some(parent.join(name)),
        Err(_) => None,
    }
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

impl Place {
    /// What is there, links not followed.
    pub(crate) fn found(&self) -> io::Result<Option<FileType>> {
        match statat(&self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes whatever is there, with all that is in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove(&self.dir, &self.name)
    }

    /// Makes a directory, or gives one that is there these looks.
    pub(crate) fn make_directory(&self, looks: Looks) -> io::Result<()> {
        let looks = looks.possible();
        match self.found()? {
            Some(FileType::Directory) => {}
            found => {
                if found.is_some() {
                    self.remove()?;
                }
                mkdirat(&self.dir, &self.name, Mode::from_raw_mode(0o700))?;
            }
        }
        self.give_owner(looks)?;
        chmodat(&self.dir, &self.name, Mode::from_raw_mode(looks.mode & 0o7777), AtFlags::empty())?;
        self.give_time(looks)
    }

    /// Makes a file with all that can be read.
    pub(crate) fn make_file(&self, from: &mut dyn Read, looks: Looks) -> io::Result<()> {
        self.make_way()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.dir, &self.name, flags, Mode::from_raw_mode(0o600))?);
        let mut chunk = [0; 64 * 1024];
        loop {
            match from.read(&mut chunk)? {
                0 => break,
                read => file.write_all(&chunk[..read])?,
            }
        }
        looks.give(&file)
    }

    pub(crate) fn make_symlink(&self, target: &[u8], looks: Looks) -> io::Result<()> {
        let looks = looks.possible();
        self.make_way()?;
        symlinkat(OsStr::from_bytes(target), &self.dir, &self.name)?;
        self.give_owner(looks)?;
        self.give_time(looks)
    }

    /// Gives a file that is there another name here.
    pub(crate) fn make_link(&self, to: &Self) -> io::Result<()> {
        self.make_way()?;
        Ok(linkat(&to.dir, &to.name, &self.dir, &self.name, AtFlags::empty())?)
    }

    pub(crate) fn make_fifo(&self, looks: Looks) -> io::Result<()> {
        let looks = looks.possible();
        self.make_way()?;
        mknodat(&self.dir, &self.name, FileType::Fifo, Mode::from_raw_mode(0o600), makedev(0, 0))?;
        self.give_owner(looks)?;
        chmodat(&self.dir, &self.name, Mode::from_raw_mode(looks.mode & 0o7777), AtFlags::empty())?;
        self.give_time(looks)
    }

    fn make_way(&self) -> io::Result<()> {
        match self.found()? {
            Some(_) => self.remove(),
            None => Ok(()),
        }
    }

    fn give_owner(&self, looks: Looks) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(looks.uid), Gid::from_raw(looks.gid));
        Ok(chownat(&self.dir, &self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn give_time(&self, looks: Looks) -> io::Result<()> {
        match looks.modified {
            Some(seconds) => Ok(utimensat(&self.dir, &self.name, &times(seconds), AtFlags::SYMLINK_NOFOLLOW)?),
            None => Ok(()),
        }
    }
}

fn times(seconds: i64) -> Timestamps {
    let at = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: at, last_modification: at }
}

fn remove(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let inner = openat(dir, name, DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())?;
    for entry in names(&inner)? {
        remove(&inner, &entry)?;
    }
    Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

fn clear(dir: &OwnedFd, path: &Path, but: &HashSet<PathBuf>) -> io::Result<()> {
    let open = openat(dir, ".", DIRECTORY | OFlags::RDONLY, Mode::empty())?;
    for name in names(&open)? {
        let inner_path = path.join(&name);
        if !but.contains(&inner_path) {
            remove(&open, &name)?;
        } else if let Ok(inner) = openat(&open, &name, DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()) {
            clear(&inner, &inner_path, but)?;
        }
    }
    Ok(())
}

fn names(dir: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}
