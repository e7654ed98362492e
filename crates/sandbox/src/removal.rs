//! Deleting directories that somebody in a sandbox has filled. However deep they lie in each other, that takes a few descriptors, and
//! no stack that grows with them: whoever made them must not be able to keep them, or to end who deletes them.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How many directories are open at once. What lies deeper is moved up first.
const MOST_LEVELS: usize = 64;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Deletes what is at this path, with all that is in it if it is a directory. No link is followed. Others may be deleting the same.
pub(crate) fn remove_all(at: &Path) -> io::Result<()> {
    match unlinkat(CWD, at, AtFlags::empty()) {
        Ok(()) => return Ok(()),
        // Some file systems say of a directory that it isn't permitted.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut bits = [0; 8];
    getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
    let mut removal =
        Removal { top: openat(CWD, at, DIRECTORY, Mode::empty())?, name: u64::from_le_bytes(bits), moved: 0 };
    loop {
        let has_changed = removal.clear()?;
        match unlinkat(CWD, at, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // What was moved up, or passed over while names went, is found by the next look.
            Err(Errno::NOTEMPTY | Errno::EXIST) if has_changed => {}
            Err(error) => return Err(error.into()),
        }
    }
}

struct Removal {
    /// The directory that is to go.
    top: OwnedFd,
    /// What is moved up is called by this, which nobody could know before, and how many there were.
    name: u64,
    moved: u64,
}

impl Removal {
    /// Deletes what is found by one walk; says whether anything was.
    fn clear(&mut self) -> io::Result<bool> {
        let mut has_changed = false;
        let mut levels = vec![(CString::default(), Dir::read_from(&self.top)?)];
        loop {
            let is_deep = levels.len() >= MOST_LEVELS;
            let Some((_, dir)) = levels.last_mut() else { break };
            let Some(entry) = dir.read() else {
                let Some((name, _)) = levels.pop() else { break };
                let Some((_, parent)) = levels.last() else { break };
                match unlinkat(parent.fd()?, &name, AtFlags::REMOVEDIR) {
                    Ok(()) => has_changed = true,
                    Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let refused = match unlinkat(dir.fd()?, name, AtFlags::empty()) {
                Ok(()) => {
                    has_changed = true;
                    continue;
                }
                Err(Errno::NOENT) => continue,
                Err(error @ (Errno::ISDIR | Errno::PERM)) => error,
                Err(error) => return Err(error.into()),
            };
            let (name, at) = (name.to_owned(), dir.fd()?);
            let below = match openat(at, &name, DIRECTORY, Mode::empty()) {
                Ok(below) => below,
                Err(Errno::NOENT) => continue,
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused.into()),
                Err(error) => return Err(error.into()),
            };
            if !is_deep {
                levels.push((name, Dir::new(below)?));
                continue;
            }
            self.moved += 1;
            match renameat(at, &name, &self.top, format!("{:016x}-{}", self.name, self.moved)) {
                Ok(()) => has_changed = true,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(has_changed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::path::Path;

    use rustix::fs::{CWD, Mode, mkdirat, openat};

    use super::{DIRECTORY, remove_all};

    fn nest(top: &Path, levels: usize) {
        let mut at: OwnedFd = openat(CWD, top, DIRECTORY, Mode::empty()).expect("opened");
        for _ in 0..levels {
            mkdirat(&at, "d", Mode::from_raw_mode(0o755)).expect("made");
            at = openat(&at, "d", DIRECTORY, Mode::empty()).expect("opened");
        }
        rustix::fs::symlinkat("/", &at, "root").expect("linked");
    }

    #[test]
    fn however_deep_directories_lie_in_each_other_they_are_deleted() {
        let dir = tempfile::tempdir().expect("a directory");
        let (victim, kept) = (dir.path().join("victim"), dir.path().join("kept"));
        for made in [&victim, &kept] {
            std::fs::create_dir(made).expect("made");
        }
        // Each takes a descriptor and some hundred bytes of the stack where they are gone into one by one.
        nest(&victim, 30_000);
        std::fs::write(kept.join("file"), "kept").expect("written");
        std::os::unix::fs::symlink(&kept, victim.join("link")).expect("linked");
        remove_all(&victim).expect("deleted");
        assert!(!victim.exists());
        assert_eq!(std::fs::read_to_string(kept.join("file")).expect("read"), "kept", "no link is followed");
    }

    #[test]
    fn files_and_links_go_by_themselves_and_what_is_not_there_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").expect("written");
        std::os::unix::fs::symlink("/", &link).expect("linked");
        remove_all(&link).expect("deleted");
        remove_all(&file).expect("deleted");
        let gone = remove_all(&file).expect_err("it isn't there");
        assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
    }
}
