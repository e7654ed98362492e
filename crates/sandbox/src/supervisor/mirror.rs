//! The directories of the host once more, without what is in them. Where mounts can't shift owners, the host's are nobody's in a
//! sandbox, and not even its root may write to them. Over these, which are that root's, it may; what it makes is in the layer on top.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::layers::name_of;
use super::overlay::below;
use super::reach::{Held, Reach};
use super::{Doing, Failure, Standing};
use crate::guest::build::Outcome;
use crate::guest::{mounts, privileges, signals};

/// Where they are: in memory, since nobody needs them for long.
#[derive(Debug)]
pub(super) struct Mirror(Held);

impl Mirror {
    /// Starts a process that makes them. It says what came of it as builders do, and ends. There may be many, and the supervisor has
    /// other things to do.
    pub(super) fn start(hosts: &[PathBuf], say: OwnedFd, reach: &Reach) -> io::Result<(i32, Self)> {
        let mirror = Self(reach.hold(mounts::file_system("tmpfs", &[("mode", "0755")], mounts::plain())?)?);
        // SAFETY: this process has one thread, so its copy finds every lock open; the child never returns.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mirror.work(hosts, say)));
                // SAFETY: ends the child.
                unsafe { libc::_exit(if worked.is_ok() { 0 } else { 101 }) }
            }
            child => Ok((child, mirror)),
        }
    }

    /// Where those of a directory of the host are.
    pub(super) fn of(&self, host: &Path) -> String {
        below(self.0.mount(), name_of(host))
    }

    fn work(&self, hosts: &[PathBuf], say: OwnedFd) {
        let mut keep = [self.0.mount().as_raw_fd(), say.as_raw_fd()];
        keep.sort_unstable();
        signals::close_all_but(&keep);
        let outcome = match self.make(hosts) {
            Ok(()) => Outcome::Done,
            Err(failure) => Outcome::Failed(failure),
        };
        let _ = File::from(say).write_all(&serde_json::to_vec(&outcome).unwrap_or_default());
    }

    fn make(&self, hosts: &[PathBuf]) -> Result<(), Failure> {
        privileges::die_with_parent().doing(|| "tying a process to its supervisor".to_owned())?;
        hosts.iter().try_for_each(|host| {
            mirror(host, Path::new(&self.of(host))).doing(|| format!("making the directories of {}", host.display()))
        })
    }
}

/// Makes what isn't closed to us of a directory and those in it, on the file system that it is on.
fn mirror(of: &Path, to: &Path) -> io::Result<()> {
    let looks = std::fs::metadata(of)?;
    let Ok(entries) = std::fs::read_dir(of) else { return Ok(()) };
    let root = Standing::ours().on_disk(0);
    std::fs::create_dir(to)?;
    chown(to, Some(root), Some(root))?;
    std::fs::set_permissions(to, PermissionsExt::from_mode(looks.mode() & 0o7777))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.metadata().is_ok_and(|found| found.dev() == looks.dev()) {
            match mirror(&entry.path(), &to.join(entry.file_name())) {
                // It has gone meanwhile, or is closed to us.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
                made => made?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::mirror;

    #[test]
    fn directories_are_made_again_without_what_is_in_them() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let of = dir.path().join("of");
        std::fs::create_dir_all(of.join("a/b")).expect("made");
        std::fs::write(of.join("a/file"), "text").expect("written");
        symlink("a", of.join("link")).expect("made");
        std::fs::set_permissions(of.join("a"), PermissionsExt::from_mode(0o2775)).expect("set");
        let to = dir.path().join("to");
        mirror(&of, &to).expect("made");
        let names = |at: &str| {
            let entries = std::fs::read_dir(to.join(at)).expect("a directory").flatten();
            entries.map(|entry| entry.file_name().into_string().expect("text")).collect::<Vec<_>>()
        };
        assert_eq!((names(""), names("a"), names("a/b")), (vec!["a".to_owned()], vec!["b".to_owned()], vec![]));
        assert_eq!(std::fs::metadata(to.join("a")).expect("there").permissions().mode() & 0o7777, 0o2775);
    }
}
