use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};

use super::proc;
use crate::fences::Fence;
use crate::spec::Applied;
use crate::supervisor::{Detached, Doing, Failure, Standing, set_attributes};

/// Where the new root is put together, in our own mount namespace: any directory that every host has and everybody may
/// enter.
pub(crate) const STAGE: &str = "/usr";

/// The devices that are shown, with their numbers: what is found by these names must be these.
const DEVICES: &[(&str, (u32, u32))] = &[
    ("full", (1, 7)),
    ("null", NULL_DEVICE),
    ("random", (1, 8)),
    ("tty", (5, 0)),
    ("urandom", (1, 9)),
    ("zero", (1, 5)),
];
pub(super) const NULL_DEVICE: (u32, u32) = (1, 3);

/// Puts the new root together and makes it the root.
///
/// What the root holds may be hostile: nothing in it is addressed by a path that follows a link, and what is mounted over it
/// is filled through its own descriptor, not through the place where it is.
pub(crate) fn build(layers: Vec<Detached>, limits: &Applied) -> Result<(), Failure> {
    build_over(layers, limits, |_| Ok(())).map(drop)
}

/// As above; gives what is made of the root while it is all there is.
pub(crate) fn build_over<T>(
    layers: Vec<Detached>,
    limits: &Applied,
    look: impl FnOnce(&OwnedFd) -> io::Result<T>,
) -> Result<T, Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "leaving the host's mounts".to_owned())?;
    let devices: Vec<(&str, OwnedFd)> = DEVICES
        .iter()
        .map(|(name, number)| host_device(name, *number).map(|mount| (*name, mount)))
        .collect::<Result<_, _>>()?;
    let hosts_proc = match Fence::Pids.is_up() {
        true => None,
        false => Some(clone_mount("/proc").doing(|| "opening the host's /proc".to_owned())?),
    };
    // Under the new root for now: it goes with the old one, and its parts stay.
    let ours = Ours::make()?;
    for layer in layers.iter().filter(|layer| layer.target.is_empty()) {
        attach(&layer.mount, STAGE).doing(|| "mounting the root".to_owned())?;
    }
    rustix::process::chdir(STAGE).doing(|| "entering the new root".to_owned())?;
    let root = open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .doing(|| "opening the new root".to_owned())?;
    let seen = look(&root).doing(|| "looking at the new root".to_owned())?;
    for layer in layers.iter().filter(|layer| !layer.target.is_empty()) {
        place(&layer.mount, &root, &layer.target)?;
    }
    drop(layers);
    memory_file_systems(&root, &ours, limits)?;
    fill_dev(&ours.dev, &devices)?;
    let proc = match hosts_proc {
        None => proc::make()?,
        Some(hosts) => hosts,
    };
    place(&proc, &root, "proc")?;
    if !Fence::NoSysfs.is_up() {
        let sys = file_system("sysfs", &[], plain()).doing(|| "making /sys".to_owned())?;
        place(&sys, &root, "sys")?;
    }
    proc::fence(&proc, &ours.dev, ours.nothing)?;
    rustix::process::pivot_root(".", ".").doing(|| "changing the root".to_owned())?;
    if Fence::OldRoot.is_up() {
        unmount(".", UnmountFlags::DETACH).doing(|| "letting go of the host's root".to_owned())?;
    }
    rustix::process::chdir("/").doing(|| "entering the new root".to_owned())?;
    Ok(seen)
}

pub(crate) fn plain() -> MountAttrFlags {
    MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV
}

/// What is in memory and tools can't write to, in one file system. The kernel notes, for each group of processes whose memory it
/// counts, something about each file system: a thousand sandboxes pay a thousand times for each that one has.
struct Ours {
    dev: OwnedFd,
    run: OwnedFd,
    /// A directory that has nothing in it.
    nothing: OwnedFd,
}

impl Ours {
    /// Makes it and mounts it, since only of what is mounted can parts be; they are nowhere yet.
    fn make() -> Result<Self, Failure> {
        let whole = in_memory("0755", 192 << 10, FEW)?;
        attach(&whole, STAGE).doing(|| "mounting a file system in memory".to_owned())?;
        let part = |name: &str, mode: u32, attributes: u64| {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            mkdirat(&whole, name, Mode::from_raw_mode(mode))
                .and_then(|()| open_tree(&whole, name, flags))
                .map_err(io::Error::from)
                .and_then(|part| set_attributes(&part, attributes, 0).map(|()| part))
                .doing(|| format!("making the {name} part of a file system in memory"))
        };
        Ok(Self {
            dev: part("dev", 0o755, libc::MOUNT_ATTR_NOEXEC)?,
            run: part("run", 0o755, 0)?,
            nothing: part("nothing", 0o555, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC)?,
        })
    }
}

/// How many files there may be where only we make any.
const FEW: u64 = 64;

fn in_memory(mode: &str, bytes: u64, inodes: u64) -> Result<OwnedFd, Failure> {
    let options = [("mode", mode), ("size", &bytes.to_string()), ("nr_inodes", &inodes.to_string())];
    file_system("tmpfs", &options, plain()).doing(|| "making a file system in memory".to_owned())
}

/// What doesn't outlive the sandbox. It counts against the memory limit. All of it together leaves a quarter of
/// that to programs: where files took all, not even the one that would remove them could be started. An empty file takes
/// memory as well, so there may be one for every 4 KiB.
fn memory_file_systems(root: &OwnedFd, ours: &Ours, limits: &Applied) -> Result<(), Failure> {
    let limit = limits.memory_bytes.unwrap_or(crate::Limits::DEFAULT_MEMORY_BYTES);
    let memory = |bytes: u64| {
        let inodes = (bytes / 4096).clamp(FEW, limits.inodes.unwrap_or(crate::Limits::DEFAULT_INODES).max(FEW));
        in_memory("1777", bytes, inodes)
    };
    place(&ours.dev, root, "dev")?;
    place(&ours.run, root, "run")?;
    place(&memory(limit / 2)?, root, "tmp")?;
    mkdirat(&ours.dev, "shm", Mode::from_raw_mode(0o1777)).doing(|| "making /dev/shm".to_owned())?;
    place(&memory(limit / 4)?, &ours.dev, "shm")
}

fn fill_dev(dev: &OwnedFd, devices: &[(&str, OwnedFd)]) -> Result<(), Failure> {
    for (name, device) in devices {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(dev, *name, flags, Mode::from_raw_mode(0o666)).doing(|| format!("making /dev/{name}"))?;
        place(device, dev, name)?;
    }
    mkdirat(dev, "pts", Mode::from_raw_mode(0o755)).doing(|| "making /dev/pts".to_owned())?;
    // Terminals are of the group `tty`, if there is one.
    let options: &[(&str, &str)] = match Standing::ours().has_own_users() {
        true => &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
        false => &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0600")],
    };
    // Its nodes are what it is for.
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let terminals = file_system("devpts", options, attributes).doing(|| "making the terminals".to_owned())?;
    place(&terminals, dev, "pts")?;
    for (target, link) in [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ] {
        symlinkat(target, dev, link).doing(|| format!("making /dev/{link}"))?;
    }
    Ok(())
}

/// A device of the host, if it is the one that goes by this name everywhere.
fn host_device(name: &str, number: (u32, u32)) -> Result<OwnedFd, Failure> {
    let path = format!("/dev/{name}");
    let device = clone_mount(&path).doing(|| format!("opening {path}"))?;
    if !is_device(&device, number).doing(|| format!("looking at {path}"))? {
        let cause = format!("it is not the device {}:{}", number.0, number.1);
        return Err(Failure::Failed { doing: format!("opening {path}"), cause });
    }
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    set_attributes(&device, attributes, 0).doing(|| format!("mounting {path}"))?;
    Ok(device)
}

pub(super) fn is_device(file: &OwnedFd, (major, minor): (u32, u32)) -> io::Result<bool> {
    let found = rustix::fs::fstat(file)?;
    let is_node = rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::CharacterDevice;
    Ok(is_node && found.st_rdev == libc::makedev(major, minor))
}

/// A new file system that is nowhere yet. An option without a value is a flag.
pub(crate) fn file_system(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        match value.is_empty() {
            true => fsconfig_set_flag(context.as_fd(), *key)?,
            false => fsconfig_set_string(context.as_fd(), *key, *value)?,
        }
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Mounts this on what has this name below a directory, and is no link.
pub(super) fn place(mount: &OwnedFd, below: &OwnedFd, name: &str) -> Result<(), Failure> {
    let at = openat2(
        below,
        name,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    );
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    at.and_then(|at| move_mount(mount.as_fd(), "", at.as_fd(), "", flags)).doing(|| format!("mounting /{name}"))
}

/// A mount of the same thing that is nowhere yet. The kernel keeps it in a namespace of its own, so none can be made
/// once those are forbidden.
fn clone_mount(path: &str) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

fn attach(mount: &OwnedFd, at: &str) -> io::Result<()> {
    Ok(move_mount(mount.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
