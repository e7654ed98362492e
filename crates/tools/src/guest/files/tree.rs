//! A tree of files from its root on, each directory before what is in it, in order of names.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfsMountFlags};

use super::list::names;
use super::place::{entry, tag};
use crate::files::{Kind, Name, Offered};
use crate::guest::WORKSPACE;

/// What isn't kept in any snapshot.
const NEVER_KEPT: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];

/// Whether nothing is known of how this place was before.
pub(super) fn is_never_kept(workspace: &Path, path: &Path) -> bool {
    workspace == Path::new(WORKSPACE) && NEVER_KEPT.iter().any(|never| path.starts_with(never))
}

/// What is still to come of a tree.
pub(super) struct Tree<'w> {
    workspace: &'w Path,
    root: PathBuf,
    begun: bool,
    levels: Vec<Level>,
    /// The last one that was shown, if it is fixed.
    fixed: Option<PathBuf>,
}

/// A directory in which there is more to look at.
struct Level {
    path: PathBuf,
    device: u64,
    names: std::vec::IntoIter<OsString>,
    /// The rest of the path to go on after.
    after: Vec<OsString>,
}

impl<'w> Tree<'w> {
    /// All of it.
    pub(super) fn new(workspace: &'w Path, root: PathBuf) -> Self {
        Self { workspace, root, begun: false, levels: Vec::new(), fixed: None }
    }

    /// What comes after this path below it, and nothing else.
    pub(super) fn go_on_after(&mut self, path: &Path) {
        self.begun = true;
        self.levels.clear();
        if let Ok(metadata) = fs::symlink_metadata(&self.root)
            && metadata.is_dir()
            && let Ok(names) = names(&self.root)
        {
            let after = path.iter().map(OsStr::to_owned).collect();
            let level = Level { path: PathBuf::new(), device: metadata.dev(), names: names.into_iter(), after };
            self.levels.push(level);
        }
    }

    /// Has what is in the last one that was shown come next, though it is fixed.
    pub(super) fn enter(&mut self) {
        let Some(path) = self.fixed.take() else { return };
        let at = self.at(&path);
        if let (Ok(metadata), Ok(names)) = (fs::symlink_metadata(&at), names(&at)) {
            self.levels.push(Level { path, device: metadata.dev(), names: names.into_iter(), after: Vec::new() });
        }
    }

    /// The next one, with its path below the root.
    pub(super) fn next(&mut self) -> Option<Offered> {
        if !std::mem::replace(&mut self.begun, true) {
            return self.show(PathBuf::new(), Vec::new(), true);
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let seen = level.after.first().map(|first| name.as_bytes().cmp(first.as_bytes()));
            if seen.is_some_and(std::cmp::Ordering::is_lt) {
                continue;
            }
            let path = level.path.join(&name);
            let is_last_shown = seen.is_some_and(std::cmp::Ordering::is_eq);
            let after = if is_last_shown { level.after.split_off(1) } else { Vec::new() };
            if seen.is_some() {
                level.after.clear();
            }
            let shown = self.show(path, after, !is_last_shown);
            if shown.is_some() {
                return shown;
            }
        }
    }

    /// Looks at one of them, and has what is in it come next; nothing if it is gone, or isn't wanted itself.
    fn show(&mut self, path: PathBuf, after: Vec<OsString>, wanted: bool) -> Option<Offered> {
        let at = self.at(&path);
        if is_never_kept(self.workspace, &at) {
            return None;
        }
        let metadata = fs::symlink_metadata(&at).ok()?;
        let device = self.levels.last().map(|level| level.device);
        let mut offered = Offered {
            entry: entry(&at, &metadata),
            tag: tag(&metadata),
            special: None,
            unreadable: None,
            fixed: metadata.is_dir() && device != Some(metadata.dev()) && is_read_only(&at),
        };
        offered.entry.name = Name::of(path.as_os_str().as_bytes());
        if offered.entry.kind == Kind::Other {
            offered.special = Some((metadata.mode() & libc::S_IFMT, metadata.rdev()));
        }
        self.fixed = offered.fixed.then(|| path.clone());
        if metadata.is_dir() && (!offered.fixed || !wanted) {
            match names(&at) {
                Ok(names) => {
                    self.levels.push(Level { path, device: metadata.dev(), names: names.into_iter(), after });
                }
                Err(_) => offered.unreadable = Some(rustix::fs::access(&at, Access::EXEC_OK).is_ok()),
            }
        }
        wanted.then_some(offered)
    }

    /// Where one of them is.
    pub(super) fn at(&self, path: &Path) -> PathBuf {
        match path.as_os_str().is_empty() {
            true => self.root.clone(),
            false => self.root.join(path),
        }
    }
}

/// Whether nobody here can have changed anything below it.
fn is_read_only(at: &Path) -> bool {
    rustix::fs::statvfs(at).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}
