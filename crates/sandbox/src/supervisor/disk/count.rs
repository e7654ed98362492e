use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};
use serde::{Deserialize, Serialize};

use crate::guest::process_tree::Snapshot;

/// What a sandbox has on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl Count {
    /// More than anybody can have.
    pub(crate) const MAX: Self = Self { bytes: u64::MAX, inodes: u64::MAX };

    /// Whether it is more of either.
    pub(crate) fn is_beyond(self, most: Self) -> bool {
        self.bytes > most.bytes || self.inodes > most.inodes
    }
}

/// How deep directories may be nested: each level is held open while what is below it is counted. What is deeper can't be
/// counted, and so is too much.
const MOST_LEVELS: usize = 4_096;

/// How many open files and parts of memory are looked at. Copies of them take next to nothing to make, and each takes a while to look
/// at: who has more can't be counted while it goes on writing, and so has too much.
const MOST_LOOKS: usize = 1 << 20;

/// Counts what lies in these directories, and the files that processes below the keeper have open or in their memory although
/// they are removed. The tree may be changed by whoever it belongs to meanwhile: no link is followed, and nothing but
/// directories is opened. It ends as soon as there is more than `enough`: who makes files faster than they can be counted must not
/// keep it from its end.
pub(crate) fn count(dirs: &[PathBuf], keeper: Option<i32>, enough: Count) -> Count {
    count_looking(dirs, keeper, enough, MOST_LOOKS)
}

fn count_looking(dirs: &[PathBuf], keeper: Option<i32>, enough: Count, looks_left: usize) -> Count {
    let mut counting = Counting { enough, looks_left, ..Counting::default() };
    for dir in dirs {
        if let Ok(top) = open_dir(CWD, dir) {
            counting.tree(top);
        }
    }
    for pid in keeper.map(|keeper| Snapshot::take().all_below(keeper)).unwrap_or_default() {
        counting.removed_files(pid);
    }
    counting.count
}

#[derive(Debug, Default)]
struct Counting {
    count: Count,
    enough: Count,
    /// Files that have several names, or are removed: each is counted once.
    seen: HashSet<(u64, u64)>,
    /// How much more is looked at of what processes have.
    looks_left: usize,
}

impl Counting {
    fn tree(&mut self, top: OwnedFd) {
        let Ok(top) = Dir::new(top) else { return };
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut()
            && !self.count.is_beyond(self.enough)
        {
            let Some(entry) = level.read() else {
                levels.pop();
                continue;
            };
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(at) = level.fd() else { continue };
            let Ok(found) = statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            self.add(found.st_dev, found.st_ino, found.st_nlink as _, found.st_blocks as u64);
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                continue;
            }
            match open_dir(at, name) {
                Ok(_) if levels.len() == MOST_LEVELS => self.count.inodes = u64::MAX,
                Ok(below) => levels.extend(Dir::new(below)),
                // Gone, or a link by now.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                Err(_) => self.count.inodes = u64::MAX,
            }
        }
    }

    fn removed_files(&mut self, pid: i32) {
        if self.count.is_beyond(self.enough) {
            return;
        }
        let open = entries(&format!("/proc/{pid}/fd"));
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        let removed =
            maps.lines().filter(|line| line.ends_with(" (deleted)")).filter_map(|line| line.split(' ').next());
        let mapped: Vec<PathBuf> =
            removed.map(|range| PathBuf::from(format!("/proc/{pid}/map_files/{}", trimmed(range)))).collect();
        // Reading a line takes much less.
        let looks = open.len() + maps.lines().count() / 8;
        match self.looks_left.checked_sub(looks) {
            Some(left) => self.looks_left = left,
            None => {
                self.count.inodes = u64::MAX;
                self.looks_left = 0;
                return;
            }
        }
        for path in open.into_iter().chain(mapped) {
            if self.count.is_beyond(self.enough) {
                return;
            }
            let Ok(found) = std::fs::metadata(&path) else { continue };
            if found.is_file() && found.nlink() == 0 && is_on_overlay(&path) {
                self.add(found.dev(), found.ino(), 2, found.blocks());
            }
        }
    }

    fn add(&mut self, dev: u64, ino: u64, names: u64, blocks: u64) {
        if names > 1 && !self.seen.insert((dev, ino)) {
            return;
        }
        self.count.bytes = self.count.bytes.saturating_add(blocks * 512);
        self.count.inodes = self.count.inodes.saturating_add(1);
    }
}

/// Names in `map_files` have no leading zeros.
fn trimmed(range: &str) -> String {
    let parts: Vec<&str> = range.split('-').map(|part| part.trim_start_matches('0')).collect();
    parts.join("-")
}

/// A file in memory is none on the disk.
fn is_on_overlay(path: &Path) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type == OVERLAYFS_SUPER_MAGIC)
}

fn entries(dir: &str) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(at, name, flags, Mode::empty())
}

/// What a file system has in use, and what is left of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) used: Count,
    pub(crate) free: Count,
    pub(crate) total_bytes: u64,
}

impl Room {
    pub(crate) fn of(dir: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        let used = Count {
            bytes: found.f_blocks.saturating_sub(found.f_bfree).saturating_mul(found.f_frsize),
            inodes: found.f_files.saturating_sub(found.f_ffree),
        };
        // btrfs makes them as they are needed, and says 0.
        let inodes = if found.f_files == 0 { u64::MAX } else { found.f_favail };
        let free = Count { bytes: found.f_bavail.saturating_mul(found.f_frsize), inodes };
        Ok(Self { used, free, total_bytes: found.f_blocks.saturating_mul(found.f_frsize) })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Count, count};

    #[test]
    fn everything_is_counted_once_and_no_link_is_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let of = |names: &[&str]| count(&names.iter().map(|name| at(name)).collect::<Vec<PathBuf>>(), None, Count::MAX);
        std::fs::create_dir_all(at("a/b/c")).expect("made");
        std::fs::create_dir(at("other")).expect("made");
        std::fs::write(at("other/large"), vec![1; 1 << 20]).expect("written");
        std::os::unix::fs::symlink(at("other"), at("a/link")).expect("linked");
        std::fs::write(at("a/b/c/file"), vec![1; 64 << 10]).expect("written");
        std::fs::hard_link(at("a/b/c/file"), at("a/again")).expect("linked");
        let sparse = std::fs::File::create(at("a/sparse")).expect("made");
        sparse.set_len(1 << 40).expect("lengthened");
        let found = of(&["a"]);
        assert_eq!(found.inodes, 5, "b, c, link, sparse, and the file that has two names");
        assert!((64 << 10..256 << 10).contains(&found.bytes), "{found:?}");
        assert_eq!(of(&["a", "a/b/c"]).inodes, 5, "of which the file was seen already");
        assert_eq!(of(&["a/link", "nowhere"]), Count::default());
        let enough = Count { inodes: 2, ..Count::MAX };
        assert_eq!(count(&[at("a")], None, enough).inodes, 3, "no more than is needed to know that it is too much");
    }

    #[test]
    fn more_open_files_than_can_be_looked_at_are_too_much() {
        // Below this process, as in a sandbox below its keeper.
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("started");
        let of = |looks| super::count_looking(&[], Some(std::process::id() as i32), Count::MAX, looks).inodes;
        assert_eq!(of(super::MOST_LOOKS), 0, "it has removed nothing");
        assert_eq!(of(2), u64::MAX, "it has three files open at least");
        child.kill().expect("ended");
        child.wait().expect("ended");
    }

    #[test]
    fn what_is_nested_too_deep_to_be_counted_is_too_much() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut at = std::fs::File::open(dir.path()).expect("opened");
        for _ in 0..super::MOST_LEVELS + 1 {
            rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::from_raw_mode(0o755)).expect("made");
            at = super::open_dir(&at, "d").expect("opened").into();
        }
        crate::supervisor::allow_many_files();
        assert_eq!(count(&[dir.path().to_owned()], None, Count::MAX).inodes, u64::MAX);
        assert!(count(&[dir.path().join("d/d")], None, Count::MAX).inodes < u64::MAX);
    }
}
