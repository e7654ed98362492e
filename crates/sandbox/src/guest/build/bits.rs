//! Set-user-id and set-group-id bits, where there is but one user. In a sandbox they have no effect, but on the host they would make
//! a stranger's program run as the user that runs Tenure for whoever got at it.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, chmodat, openat, statat};

/// How deep directories may be nested: each level is held open while what is below it is looked at.
const MOST_LEVELS: usize = 4_096;

/// Takes them from everything below a directory, in which nothing else is at work.
pub(super) fn clear(top: &OwnedFd) -> io::Result<()> {
    let mut levels = vec![open(top, c".")?];
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.read() else {
            levels.pop();
            continue;
        };
        let (entry, dir) = (entry?, level.fd()?);
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let has_bits = found.st_mode & 0o6000 != 0;
        if has_bits && matches!(kind, FileType::RegularFile | FileType::Directory) {
            chmodat(dir, name, Mode::from_raw_mode(found.st_mode & 0o1777), AtFlags::empty())?;
        }
        if kind == FileType::Directory {
            let below = open(dir, name)?;
            if levels.len() == MOST_LEVELS {
                return Err(io::Error::other(format!("directories are nested more than {MOST_LEVELS} deep")));
            }
            levels.push(below);
        }
    }
    Ok(())
}

fn open(dir: impl rustix::fd::AsFd, name: &CStr) -> io::Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir::new(openat(dir, name, flags, Mode::empty())?)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::clear;

    #[test]
    fn the_bits_go_and_all_else_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").mode() & 0o7777;
        let set = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
        std::fs::create_dir_all(at("a/b")).expect("made");
        let outside = tempfile::NamedTempFile::new().expect("a file");
        symlink(outside.path(), at("a/link")).expect("made");
        for (path, mode) in [(at("a/b/program"), 0o6755), (at("a/plain"), 0o640), (outside.path().to_owned(), 0o4700)] {
            std::fs::write(&path, "").expect("written");
            set(&path, mode);
        }
        set(&at("a/b"), 0o3775);
        clear(&std::fs::File::open(dir.path()).expect("opened").into()).expect("cleared");
        let seen = [at("a/b/program"), at("a/b"), at("a/plain"), outside.path().to_owned()].map(|path| mode(&path));
        assert_eq!(seen, [0o755, 0o1775, 0o640, 0o4700]);
    }
}
