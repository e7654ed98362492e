//! Mounts that overlays are made over, where the kernel takes them.
//!
//! Before Linux 6.15 what an overlay is made over has to be mounted in the mount namespace of whoever mounts the overlay; a mount that is
//! nowhere is refused. There, the supervisor has a mount namespace of its own and puts such mounts on directories that nobody else
//! sees. They go with it, however it ends.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, open, openat, unlinkat};
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount,
    open_tree, unmount,
};

use super::{Doing, Failure, Standing};
use crate::guest::mounts::file_system;

/// Where mounts are within reach.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reach(Option<Rc<Places>>);

/// A file system in memory, with a directory for each mount.
#[derive(Debug)]
struct Places {
    top: OwnedFd,
    at: PathBuf,
}

/// A mount that overlays can be made over, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    mount: OwnedFd,
    /// Where it is mounted, if that takes it.
    place: Option<(Rc<Places>, String)>,
}

/// Whether this process has left the host's mounts for its own.
static HAS_LEFT: AtomicBool = AtomicBool::new(false);

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The name in the supervisor's directory of where its mounts are.
const PLACES: &str = "mounts";

impl Reach {
    /// Looks whether mounts that are nowhere are taken. If not, or if they are to be done without, this process, which must have one thread, gets a mount namespace of its
    /// own, unless it is in one already, and below the directory a place for them.
    pub(crate) fn prepare(dir: &Path, do_without: bool) -> Result<Self, Failure> {
        if !do_without && takes_detached().doing(|| "looking what overlays can be made over".to_owned())? {
            return Ok(Self::default());
        }
        if Standing::ours() == Standing::Root {
            leave_the_host().doing(|| "making a mount namespace for the supervisor".to_owned())?;
        }
        HAS_LEFT.store(true, Ordering::Relaxed);
        let places = Places::make(dir.join(PLACES)).doing(|| format!("making {PLACES} in {}", dir.display()))?;
        Ok(Self(Some(Rc::new(places))))
    }

    /// Has overlays be made over this mount, which is nowhere yet.
    pub(crate) fn hold(&self, mount: OwnedFd) -> io::Result<Held> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Some(places) = &self.0 else { return Ok(Held { mount, place: None }) };
        let name = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
        mkdirat(&places.top, &name, Mode::from_raw_mode(0o755))?;
        if let Err(error) = put(&mount, &places.top, &name) {
            let _ = unlinkat(&places.top, &name, AtFlags::REMOVEDIR);
            return Err(error);
        }
        Ok(Held { mount, place: Some((Rc::clone(places), name)) })
    }

    /// Leaves what the supervisor will come to hold: each process that gets mounts of its own from this one would get a copy of all
    /// of it.
    pub(crate) fn leave() -> io::Result<()> {
        if HAS_LEFT.load(Ordering::Relaxed) { unshare_mounts() } else { Ok(()) }
    }
}

impl Held {
    pub(crate) fn mount(&self) -> &OwnedFd {
        &self.mount
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some((places, name)) = &self.place else { return };
        // What stays goes with the supervisor.
        let _ = unmount(format!("/proc/self/fd/{}", self.mount.as_raw_fd()), UnmountFlags::DETACH);
        let _ = unlinkat(&places.top, name, AtFlags::REMOVEDIR);
    }
}

impl Places {
    fn make(at: PathBuf) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&at)?;
        let attributes =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let top = file_system("tmpfs", &[("mode", "0700"), ("size", "1048576")], attributes)?;
        put_on(&top, &open(&at, DIRECTORY, Mode::empty())?)?;
        Ok(Self { top, at })
    }
}

/// A directory in which nothing could be made is left as it was found.
impl Drop for Places {
    fn drop(&mut self) {
        let _ = unmount(&self.at, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.at);
    }
}

/// Whether the kernel copies a mount that is nowhere, as it does for an overlay. It came to do both in the same version.
fn takes_detached() -> io::Result<bool> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    // A file, as nothing is mounted below it: a user namespace can't be without what is mounted below a directory.
    let detached = open_tree(CWD, "/dev/null", flags)?;
    match open_tree(&detached, "", flags | OpenTreeFlags::AT_EMPTY_PATH) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn leave_the_host() -> io::Result<()> {
    unshare_mounts()?;
    // What the host mounts from here on still appears, and what it lets go of goes.
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

fn unshare_mounts() -> io::Result<()> {
    // SAFETY: this process has one thread, and nothing in it knows of namespaces.
    match unsafe { libc::unshare(libc::CLONE_NEWNS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn put(mount: &OwnedFd, places: &OwnedFd, name: &str) -> io::Result<()> {
    put_on(mount, &openat(places, name, DIRECTORY, Mode::empty())?)
}

fn put_on(mount: &OwnedFd, at: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), "", at.as_fd(), "", flags)?)
}
