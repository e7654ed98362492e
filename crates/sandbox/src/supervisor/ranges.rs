//! Which ranges of users are whose, where several supervisors of root work on one host: sandboxes of two must not be the same user.
//!
//! A supervisor claims each range before it uses it, by a lock on one byte of a file that all of them share. The kernel lets go of
//! a process's locks when it dies. Each keeps what it has claimed while it lives.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::{Failure, Standing};

/// Root's alone: who else could lock it could keep all ranges from everybody.
const DIR: &str = "/run/tenure";
const FILE: &str = "ranges";

/// The ranges that this process has claimed.
#[derive(Debug)]
pub(super) struct Ranges {
    /// Nothing where there are no ranges. It must be opened once only: closing it anywhere in this process gives all of them up.
    claims: Option<File>,
}

impl Ranges {
    /// A refusal says what the operator can do.
    pub(super) fn open() -> Result<Self, Failure> {
        if Standing::ours() != Standing::Root {
            return Ok(Self { claims: None });
        }
        Self::open_in(Path::new(DIR)).map_err(|error| Failure::Refused {
            cause: format!(
                "sandboxes can't be kept from having the users of another Tenure's on this host: {DIR}: {error}"
            ),
            fix: format!("let root write to {DIR}, and nobody else; in a container, mount a tmpfs on /run"),
        })
    }

    fn open_in(dir: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let found = std::fs::symlink_metadata(dir)?;
        if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o022 != 0 {
            return Err(io::Error::other("expected a directory that is root's, and nobody else may write to"));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(dir.join(FILE))?;
        Ok(Self { claims: Some(file) })
    }

    /// Claims one for the rest of this process's life; says whether it is this process's now.
    pub(super) fn claim(&self, index: u32) -> io::Result<bool> {
        let Some(claims) = &self.claims else { return Ok(true) };
        let wanted = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: libc::off_t::from(index),
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: the structure lives across the call, which only reads it.
        match unsafe { libc::fcntl(claims.as_raw_fd(), libc::F_SETLK, &raw const wanted) } {
            0 => Ok(true),
            _ => match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
                error => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::Ranges;

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = dir.path().join("made");
        let ranges = Ranges::open_in(&made).expect("it is made");
        assert!(ranges.claim(0).expect("asked") && ranges.claim(0).expect("asked"), "its own");
        drop(ranges);
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o777)).expect("changed");
        assert!(Ranges::open_in(&made).is_err());
        symlink(dir.path(), dir.path().join("link")).expect("linked");
        assert!(Ranges::open_in(&dir.path().join("link")).is_err());
        let other = dir.path().join("other");
        std::fs::create_dir(&other).expect("made");
        symlink("/dev/null", other.join("ranges")).expect("linked");
        assert!(Ranges::open_in(&other).is_err());
    }
}
