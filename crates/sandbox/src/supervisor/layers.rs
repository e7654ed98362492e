use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::head::{Head, LayerId, Root};
use super::mirror::Mirror;
use super::overlay::{Overlay, below};
use super::reach::{Held, Reach};
use super::requirements::{cannot_carry, refuse_user_namespace};
use super::skeleton::Skeleton;
use super::{CANONICAL_BASE, Doing, Failure, SANDBOX_BASE, Standing, idmap};
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
    /// How owners are shifted, where they can be.
    shifts: Option<Shifts>,
    reach: Reach,
    skeleton: Held,
    layers: Held,
    sessions: Held,
}

/// Namespaces whose maps lead to a slot's own range: from the one range on disk, and from the host's users.
#[derive(Debug)]
struct Shifts {
    layer_owners: OwnedFd,
    host_owners: OwnedFd,
}

/// What stacks are made from, whosever they are.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) skeleton: Skeleton,
    /// The directory of the sealed layers.
    pub(crate) layers: PathBuf,
    /// That of the sessions' directories.
    pub(crate) sessions: PathBuf,
    pub(crate) reach: Reach,
}

/// One of the file systems that together are a sandbox's.
#[derive(Debug)]
struct Part {
    /// Its name in the new root and in layers; that of the root itself is `root` in layers.
    target: String,
    lowest: Lowest,
    /// The sealed layers that have something for it, highest first.
    layers: Vec<String>,
    /// Whether anything is, or may be, put over what is lowest.
    is_overlay: bool,
}

/// What lies under all layers of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Lowest {
    Skeleton,
    /// A directory of the host.
    Host(PathBuf),
    Nothing,
}

impl Part {
    /// The name of its directory in a layer.
    fn name(&self) -> &str {
        if self.target.is_empty() { ROOT } else { &self.target }
    }
}

/// The name in layers of what belongs over the skeleton.
pub(crate) const ROOT: &str = "root";
/// The name of a directory of the host in a root. Their names are ours, and plain text.
pub(super) fn name_of(host: &Path) -> &str {
    host.to_str().unwrap_or_default().trim_start_matches('/')
}

impl Slot {
    /// The slot's first uid on the host.
    pub(crate) fn base(&self) -> u32 {
        SANDBOX_BASE + self.index * RANGE
    }

    /// Prepares a slot for sandboxes over these.
    pub(crate) fn new(index: u32, sources: &Sources) -> Result<Self, Failure> {
        let base = SANDBOX_BASE + index * RANGE;
        let shifts = match Standing::ours().shifts_owners() {
            true => Some(Shifts {
                layer_owners: idmap::user_namespace(CANONICAL_BASE, base).map_err(refuse_user_namespace)?,
                host_owners: idmap::user_namespace(0, base).map_err(refuse_user_namespace)?,
            }),
            false => None,
        };
        let layer_owners = shifts.as_ref().map(|shifts| &shifts.layer_owners);
        let reach = sources.reach.clone();
        let skeleton = shifted(&reach, &sources.skeleton.path, layer_owners)?;
        let layers = shifted(&reach, &sources.layers, layer_owners)?;
        let sessions = shifted(&reach, &sources.sessions, layer_owners)?;
        Ok(Self { index, shifts, reach, skeleton, layers, sessions })
    }

    /// Mounts a session's stack, with its writable layer on top, over what its root says.
    ///
    /// A directory of the host over which no layer has anything is mounted as it is, read-only: tools can't write to it
    /// anyway, being none of its owners, and an overlay takes a third of the time of making a sandbox.
    pub(crate) fn mount(&self, session_dir: &Path, head: &Head, sources: &Sources) -> Result<Vec<Detached>, Failure> {
        self.mount_with(session_dir, head, sources, None)
    }

    /// As above, with directories of the sandbox's own over the host's.
    fn mount_with(
        &self,
        session_dir: &Path,
        head: &Head,
        sources: &Sources,
        mirror: Option<&Mirror>,
    ) -> Result<Vec<Detached>, Failure> {
        let parts = parts(session_dir, head, sources);
        make_directories(session_dir, &parts).doing(|| format!("making {}", session_dir.display()))?;
        let elsewhere;
        let writable = match session_dir.strip_prefix(&sources.sessions).map(Path::to_str) {
            // One that is mounted for a moment takes the kernel as long to let go of as all the rest.
            Ok(Some(name)) => below(self.sessions.mount(), name),
            Ok(None) | Err(_) => {
                elsewhere = self.shifted(session_dir)?;
                below(elsewhere.mount(), "")
            }
        };
        let acting = self.shifts.as_ref().map(|_| ActingAs::user(self.base())).transpose();
        let acting = acting.doing(|| "taking on the sandbox's user".to_owned())?;
        let mounts = parts.into_iter().map(|part| {
            let mount = self.mount_part(&part, &writable, mirror)?.map_err(|error| no_overlay(session_dir, &error))?;
            Ok(Detached { target: part.target, mount })
        });
        let mounts = mounts.collect();
        drop(acting);
        mounts
    }

    fn mount_part(&self, part: &Part, writable: &str, mirror: Option<&Mirror>) -> Result<io::Result<OwnedFd>, Failure> {
        let layers = self.layers_below(&part.layers, part.name());
        let host;
        let mut mirrored = None;
        let lowest = match &part.lowest {
            Lowest::Skeleton => Some(below(self.skeleton.mount(), "")),
            Lowest::Host(at) if !part.is_overlay => return self.host_mount(at).map(Ok),
            Lowest::Host(at) => {
                mirrored = mirror.map(|mirror| mirror.of(at));
                host = self.held_host_mount(at)?;
                Some(below(host.mount(), ""))
            }
            Lowest::Nothing => None,
        };
        Ok(stack(layers.chain(mirrored).chain(lowest), part.name(), writable))
    }

    /// Mounts what a builder makes a layer over: the writable one is in the builder's directory.
    pub(crate) fn mount_build(&self, dir: &Path, root: &Root, layers: &[LayerId]) -> Result<OwnedFd, Failure> {
        let layer_owners = self.shifts.as_ref().map(|shifts| &shifts.layer_owners);
        for name in ["empty", "layer", "work", "layer/root", "work/root"] {
            make_owned(&dir.join(name)).doing(|| format!("making {}", dir.display()))?;
        }
        let build = self.shifted(dir)?;
        let names: Vec<String> = layers.iter().rev().map(ToString::to_string).collect();
        let host;
        let lowest = match root {
            Root::Directory { .. } if self.shifts.is_none() => {
                return Err(Failure::Invalid { why: NEEDS_ROOT.to_owned() });
            }
            Root::Directory { path } => {
                host = self.held_host_mount(path)?;
                below(host.mount(), "")
            }
            Root::Host => below(self.skeleton.mount(), ""),
            Root::Image { .. } | Root::Unmade => below(build.mount(), "empty"),
        };
        let acting = layer_owners.map(|_| ActingAs::user(self.base())).transpose();
        let acting = acting.doing(|| "taking on the builder's user".to_owned())?;
        let mounted = stack(self.layers_below(&names, ROOT).chain([lowest]), ROOT, &below(build.mount(), ""));
        drop(acting);
        mounted.map_err(|error| no_overlay(dir, &error))
    }

    /// As above, for a builder in which programs run: all of the file systems that a sandbox has, each with a writable layer.
    pub(crate) fn mount_install(
        &self,
        dir: &Path,
        root: &Root,
        layers: &[LayerId],
        sources: &Sources,
        mirror: Option<&Mirror>,
    ) -> Result<Vec<Detached>, Failure> {
        let head = Head { root: root.clone(), layers: layers.to_vec(), ..Head::default() };
        let layer = dir.join("layer");
        let make = || -> io::Result<()> {
            make_owned(&layer)?;
            parts(dir, &head, sources).iter().try_for_each(|part| make_owned(&layer.join(part.name())))
        };
        make().doing(|| format!("making {}", layer.display()))?;
        self.mount_with(dir, &head, sources, mirror)
    }

    /// A directory of archives as a builder sees it.
    pub(crate) fn mount_archives(&self, at: &Path) -> Result<OwnedFd, Failure> {
        self.host_mount(at)
    }

    /// What a builder has made so far, out of which it can't get.
    pub(crate) fn mount_product(&self, dir: &Path) -> Result<OwnedFd, Failure> {
        let layer = dir.join("layer");
        let mount = clone_tree(&layer).doing(|| format!("opening {}", layer.display()))?;
        let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        idmap::set_attributes(&mount, attributes, 0).doing(|| format!("mounting {}", layer.display()))?;
        Ok(mount)
    }

    /// Where sealed layers, highest first, have a part.
    fn layers_below<'a>(&'a self, layers: &'a [String], name: &'a str) -> impl Iterator<Item = String> + 'a {
        layers.iter().map(move |layer| below(self.layers.mount(), &format!("{layer}/{name}")))
    }

    /// As [`host_mount`](Self::host_mount), for an overlay to be made over it.
    fn held_host_mount(&self, at: &Path) -> Result<Held, Failure> {
        let mount = self.host_mount(at)?;
        self.reach.hold(mount).doing(|| format!("mounting {}", at.display()))
    }

    fn shifted(&self, path: &Path) -> Result<Held, Failure> {
        shifted(&self.reach, path, self.shifts.as_ref().map(|shifts| &shifts.layer_owners))
    }

    /// A directory of the host as the sandbox may see it: with its owners shifted, where the file system allows that
    /// (overlays don't). Elsewhere its files show as nobody's, and tools, none of which is root, can read them as well.
    fn host_mount(&self, at: &Path) -> Result<OwnedFd, Failure> {
        let plain = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        let Some(shifts) = &self.shifts else {
            return clone_locked_tree(at, plain).doing(|| format!("mounting {}", at.display()));
        };
        let mount = clone_tree(at).doing(|| format!("opening {}", at.display()))?;
        match idmap::shift_owners(&mount, shifts.host_owners.as_fd(), plain) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                idmap::set_attributes(&mount, plain, 0).doing(|| format!("mounting {}", at.display()))?;
            }
            Err(error) => return Err(no_idmap(at, &error)),
            Ok(()) => {}
        }
        Ok(mount)
    }
}

/// Why an ordinary user's sandboxes have no directory of the host as their root.
pub(crate) const NEEDS_ROOT: &str =
    "directories of the host as roots take a Tenure that runs as root: their files belong to users of the host";

/// Mounts the writable layer that a directory has under this name over these, highest first.
fn stack(lowers: impl Iterator<Item = String>, name: &str, writable: &str) -> io::Result<OwnedFd> {
    let overlay = Overlay {
        lowers: lowers.collect(),
        upper: format!("{writable}/layer/{name}"),
        work: format!("{writable}/work/{name}"),
    };
    overlay.mount()
}

/// The file systems of a stack, that of the root first.
fn parts(session_dir: &Path, head: &Head, sources: &Sources) -> Vec<Part> {
    let writable = session_dir.join("layer");
    let part = |target: &str, lowest: Lowest| {
        let name = if target.is_empty() { ROOT } else { target };
        let has_it = |layer: &String| sources.layers.join(layer).join(name).is_dir();
        let layers: Vec<String> = head.layers.iter().rev().map(ToString::to_string).filter(has_it).collect();
        let is_overlay = target.is_empty() || !layers.is_empty() || writable.join(name).is_dir();
        Part { target: target.to_owned(), lowest, layers, is_overlay }
    };
    match &head.root {
        Root::Host | Root::Unmade => {
            let hosts = sources.skeleton.host_dirs.iter().map(|at| part(name_of(at), Lowest::Host(at.clone())));
            std::iter::once(part("", Lowest::Skeleton)).chain(hosts).collect()
        }
        Root::Directory { path } => vec![part("", Lowest::Host(path.clone()))],
        Root::Image { .. } => vec![part("", Lowest::Nothing)],
    }
}

/// The writable layer keeps what it has; the overlays' working directories are made anew, as `volatile` demands.
fn make_directories(session_dir: &Path, parts: &[Part]) -> io::Result<()> {
    let (layer, work) = (session_dir.join("layer"), session_dir.join("work"));
    match std::fs::remove_dir_all(&work) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let overlays: Vec<&Part> = parts.iter().filter(|part| part.is_overlay).collect();
    for parent in [layer, work] {
        make_owned(&parent)?;
        overlays.iter().try_for_each(|part| make_owned(&parent.join(part.name())))?;
    }
    Ok(())
}

fn make_owned(dir: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => {
            let root = Standing::ours().on_disk(0);
            chown(dir, Some(root), Some(root))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

/// As [`clone_tree`], of a directory of the host with what is mounted below it, which a user namespace can't be without.
fn clone_locked_tree(path: &Path, attributes: u64) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mount = open_tree(CWD, path, flags)?;
    idmap::set_attributes_of_all(&mount, attributes)?;
    Ok(mount)
}

/// A directory of layers with the owners that a slot's sandboxes have, where these are others than on disk.
fn shifted(reach: &Reach, path: &Path, owners: Option<&OwnedFd>) -> Result<Held, Failure> {
    let mount = clone_tree(path).doing(|| format!("opening {}", path.display()))?;
    if let Some(owners) = owners {
        idmap::shift_owners(&mount, owners.as_fd(), 0).map_err(|error| no_idmap(path, &error))?;
    }
    reach.hold(mount).doing(|| format!("mounting {}", path.display()))
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
