use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::requirements::{cannot_carry, refuse_user_namespace};
use super::{CANONICAL_BASE, Doing, Failure, SANDBOX_BASE, idmap};
use crate::supervisor::RANGE;

/// A mount that is not yet anywhere, and where in the new root it belongs (`""`: it is the root).
#[derive(Debug)]
pub(crate) struct Detached {
    pub(crate) target: String,
    pub(crate) mount: OwnedFd,
}

/// A uid range and what is needed to mount layers for it. Making these takes longer than using them, so they are kept
/// for the next sandbox that gets the range.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) index: u32,
    layer_owners: OwnedFd,
    host_owners: OwnedFd,
    skeleton: OwnedFd,
}

/// A directory of the host, and its name in the new root.
#[derive(Debug)]
struct HostDir<'s> {
    at: &'s Path,
    target: &'s str,
    /// Whether the session's layer has something to put over it.
    is_changed: bool,
}

impl Slot {
    /// The slot's first uid on the host.
    pub(crate) fn base(&self) -> u32 {
        SANDBOX_BASE + self.index * RANGE
    }

    /// Prepares a slot for sandboxes over this skeleton.
    pub(crate) fn new(index: u32, skeleton: &Path) -> Result<Self, Failure> {
        let base = SANDBOX_BASE + index * RANGE;
        let layer_owners = idmap::user_namespace(CANONICAL_BASE, base).map_err(refuse_user_namespace)?;
        let host_owners = idmap::user_namespace(0, base).map_err(refuse_user_namespace)?;
        let shifted = clone_tree(skeleton).doing(|| "opening the skeleton".to_owned())?;
        idmap::shift_owners(&shifted, layer_owners.as_fd(), 0).map_err(|error| no_idmap(skeleton, &error))?;
        Ok(Self { index, layer_owners, host_owners, skeleton: shifted })
    }

    /// Mounts a session's layer over the skeleton and the host's directories.
    ///
    /// All overlays belong to the initial user namespace and have `redirect_dir=on`, so that renaming a directory of a
    /// lower layer works; those mounted by a sandbox itself answer EXDEV. They are `volatile`: a sandbox's fsync costs
    /// nothing, and the kernel writes back in its own time.
    ///
    /// A directory of the host over which the layer has nothing is mounted as it is, read-only: tools can't write to it
    /// anyway, being none of its owners, and an overlay takes a third of the time of making a sandbox.
    pub(crate) fn mount(&self, session_dir: &Path, host_dirs: &[PathBuf]) -> Result<Vec<Detached>, Failure> {
        let host_dirs: Vec<HostDir<'_>> = host_dirs.iter().map(|at| HostDir::new(at, session_dir)).collect();
        make_directories(session_dir, &host_dirs).doing(|| format!("making {}", session_dir.display()))?;
        let session = clone_tree(session_dir).doing(|| format!("opening {}", session_dir.display()))?;
        idmap::shift_owners(&session, self.layer_owners.as_fd(), 0).map_err(|error| no_idmap(session_dir, &error))?;
        let acting = ActingAs::user(self.base()).doing(|| "taking on the sandbox's user".to_owned())?;
        let root = overlay(&self.skeleton, &session, "root").map_err(|error| no_overlay(session_dir, &error))?;
        let mut mounts = vec![Detached { target: String::new(), mount: root }];
        for HostDir { at, target, is_changed } in host_dirs {
            let lower = self.host_mount(at)?;
            let mount = match is_changed {
                true => overlay(&lower, &session, target).map_err(|error| no_overlay(session_dir, &error))?,
                false => lower,
            };
            mounts.push(Detached { target: target.to_owned(), mount });
        }
        drop(acting);
        Ok(mounts)
    }

    /// A directory of the host as the sandbox may see it: with its owners shifted, where the file system allows that
    /// (overlays don't). Elsewhere its files show as nobody's, and tools, none of which is root, can read them as well.
    fn host_mount(&self, at: &Path) -> Result<OwnedFd, Failure> {
        let mount = clone_tree(at).doing(|| format!("opening {}", at.display()))?;
        let plain = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        match idmap::shift_owners(&mount, self.host_owners.as_fd(), plain) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                idmap::set_attributes(&mount, plain, 0).doing(|| format!("mounting {}", at.display()))?;
            }
            Err(error) => return Err(no_idmap(at, &error)),
            Ok(()) => {}
        }
        Ok(mount)
    }
}

impl<'s> HostDir<'s> {
    fn new(at: &'s Path, session_dir: &Path) -> Self {
        // Their names are ours, and plain text.
        let target = at.to_str().unwrap_or_default().trim_start_matches('/');
        Self { at, target, is_changed: session_dir.join("layer").join(target).is_dir() }
    }
}

/// The layer keeps what it has; the overlays' working directories are made anew, as `volatile` demands.
fn make_directories(session_dir: &Path, host_dirs: &[HostDir<'_>]) -> io::Result<()> {
    let (layer, work) = (session_dir.join("layer"), session_dir.join("work"));
    match std::fs::remove_dir_all(&work) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let changed = host_dirs.iter().filter(|host_dir| host_dir.is_changed);
    let names: Vec<&str> = std::iter::once("root").chain(changed.map(|host_dir| host_dir.target)).collect();
    for parent in [layer, work] {
        make_owned(&parent)?;
        names.iter().try_for_each(|name| make_owned(&parent.join(name)))?;
    }
    Ok(())
}

fn make_owned(dir: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => chown(dir, Some(CANONICAL_BASE), Some(CANONICAL_BASE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

fn overlay(lower: &OwnedFd, session: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let through = |mount: &OwnedFd| format!("/proc/self/fd/{}", mount.as_raw_fd());
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    fsconfig_set_string(context, "source", "tenure")?;
    fsconfig_set_string(context, "lowerdir", through(lower))?;
    fsconfig_set_string(context, "upperdir", format!("{}/layer/{name}", through(session)))?;
    fsconfig_set_string(context, "workdir", format!("{}/work/{name}", through(session)))?;
    for (key, value) in [("redirect_dir", "on"), ("index", "off"), ("xino", "off"), ("metacopy", "off")] {
        fsconfig_set_string(context, key, value)?;
    }
    fsconfig_set_flag(context, "volatile")?;
    fsconfig_create(context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// While it lives, files are made as this user: an overlay works with the rights of who mounted it, and host uid 0 has
/// no place in a layer whose owners are shifted.
struct ActingAs(());

impl ActingAs {
    fn user(uid: u32) -> io::Result<Self> {
        let capabilities = crate::guest::privileges::capabilities()?;
        // SAFETY: both change only which user this thread's file accesses count as.
        unsafe {
            libc::setfsgid(uid);
            libc::setfsuid(uid);
        }
        let acting = Self(());
        // Leaving user 0 took the capabilities over files with it.
        crate::guest::privileges::set_capabilities(capabilities)?;
        Ok(acting)
    }
}

impl Drop for ActingAs {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe {
            libc::setfsuid(0);
            libc::setfsgid(0);
        }
    }
}

fn no_idmap(path: &Path, error: &io::Error) -> Failure {
    cannot_carry(path, &format!("it can't be mounted with shifted owners: {error}"))
}

fn no_overlay(path: &Path, error: &io::Error) -> Failure {
    cannot_carry(path, &format!("an overlay can't be mounted with its upper layer there: {error}"))
}
