//! `/proc`, fenced: what tells of the host is hidden, its settings are to be read only, and no more namespaces may be made.
//!
//! Everything here goes by descriptors: of `/proc` as it was mounted, and of the null device whose numbers were looked at.
//! Runtimes that went by paths could be led elsewhere (CVE-2025-31133, -52565, -52881).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::mounts::{NULL_DEVICE, file_system, is_device, plain};
use crate::fences::Fence;
use crate::supervisor::{Doing, Failure, has_own_maker, set_attributes};

/// Files that tell of the host, or through which it is told something.
const FILES: &[&str] = &[
    "config.gz",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "pagetypeinfo",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];
/// Directories likewise.
const DIRECTORIES: &[&str] = &["acpi", "asound", "bus", "driver", "dynamic_debug", "fs", "irq", "scsi"];
/// The kernel's settings.
const SETTINGS: &str = "sys";

/// Namespaces that may be made inside: none, of any kind.
const NAMESPACE_LIMITS: &[&str] = &[
    "max_cgroup_namespaces",
    "max_ipc_namespaces",
    "max_mnt_namespaces",
    "max_net_namespaces",
    "max_pid_namespaces",
    "max_time_namespaces",
    "max_user_namespaces",
    "max_uts_namespaces",
];

/// A new one, of this process's own process namespace.
pub(super) fn make() -> Result<OwnedFd, Failure> {
    file_system("proc", &[], plain() | MountAttrFlags::MOUNT_ATTR_NOEXEC).map_err(|error| {
        let cause = format!("/proc can't be mounted: {error}");
        match error.raw_os_error() {
            Some(libc::EPERM) => Failure::Refused {
                cause,
                fix: "the host's own /proc is partly hidden; in a container, run it with `--security-opt systempaths=unconfined`"
                    .to_owned(),
            },
            _ => Failure::Failed { doing: "mounting /proc".to_owned(), cause },
        }
    })
}

/// Puts up its fences: files are hidden by the null device of this `/dev`, directories by this one that has nothing in it.
pub(super) fn fence(proc: &OwnedFd, dev: &OwnedFd, nothing: OwnedFd) -> Result<(), Failure> {
    if Fence::Masks.is_up() {
        hide(proc, dev, nothing)?;
    }
    let settings = find(proc, SETTINGS).doing(|| "opening /proc/sys".to_owned())?;
    if Fence::ProcSys.is_up()
        && let Some(settings) = &settings
    {
        let copy = clone(settings).doing(|| "opening /proc/sys".to_owned())?;
        let read_only =
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        set_attributes(&copy, read_only, 0)
            .and_then(|()| cover(settings, &copy))
            .doing(|| "making /proc/sys read-only".to_owned())?;
    }
    let Some(settings) = settings else { return Ok(()) };
    limit(
        &settings,
        "max_inotify_instances",
        if has_own_maker() { INOTIFY_INSTANCES } else { SHARED_INOTIFY_INSTANCES },
    )?;
    // Last, since copies of mounts are kept in a namespace of the kernel's.
    if Fence::NamespaceLimits.is_up() {
        forbid_namespaces(&settings)?;
    }
    Ok(())
}

/// The first fence against more namespaces, each of which is a way to kernel code that needs no privilege otherwise; the
/// second is the system call filter. The settings are those below what was mounted over them just now.
fn forbid_namespaces(settings: &OwnedFd) -> Result<(), Failure> {
    NAMESPACE_LIMITS.iter().try_for_each(|name| limit(settings, name, 0))
}

/// How many inotify instances a sandbox has, where it has a maker of its own: as many as a user of the host where nothing else is
/// set. The kernel counts them as the maker's, too.
const INOTIFY_INSTANCES: u32 = 128;
/// As above, where all sandboxes have the same maker: one must not take all that this one has.
const SHARED_INOTIFY_INSTANCES: u32 = 32;

fn limit(settings: &OwnedFd, name: &str, most: u32) -> Result<(), Failure> {
    let opened = openat(settings, format!("user/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    match opened.map_err(io::Error::from).and_then(|limit| File::from(limit).write_all(most.to_string().as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing(|| format!("writing /proc/sys/user/{name}")),
    }
}

fn hide(proc: &OwnedFd, dev: &OwnedFd, nothing: OwnedFd) -> Result<(), Failure> {
    let null = find(dev, "null").doing(|| "opening /dev/null".to_owned())?;
    let null = null.ok_or_else(|| unsound("/dev/null", "it isn't there"))?;
    for name in FILES {
        let path = || format!("hiding /proc/{name}");
        let Some(file) = find(proc, name).doing(path)? else { continue };
        clone(&null).and_then(|copy| cover(&file, &copy)).doing(path)?;
        let shown = find(proc, name).doing(path)?;
        let is_hidden = shown.map_or(Ok(false), |shown| is_device(&shown, NULL_DEVICE)).doing(path)?;
        if !is_hidden {
            return Err(unsound(name, "it is not hidden by the null device"));
        }
    }
    // Copies can be made only of what is somewhere.
    let mut is_somewhere = false;
    for name in DIRECTORIES {
        let path = || format!("hiding /proc/{name}");
        let Some(dir) = find(proc, name).doing(path)? else { continue };
        match is_somewhere {
            true => clone(&nothing).and_then(|copy| cover(&dir, &copy)).doing(path)?,
            false => cover(&dir, &nothing).doing(path)?,
        }
        is_somewhere = true;
    }
    Ok(())
}

fn unsound(what: &str, cause: &str) -> Failure {
    Failure::Failed { doing: format!("hiding /proc/{what}"), cause: cause.to_owned() }
}

/// What has this name in a directory now, if anything.
fn find(dir: &OwnedFd, name: &str) -> io::Result<Option<OwnedFd>> {
    match openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Another mount of the same thing, which is nowhere yet.
fn clone(of: &OwnedFd) -> io::Result<OwnedFd> {
    let empty_path = OpenTreeFlags::from_bits_retain(libc::AT_EMPTY_PATH as u32);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | empty_path;
    Ok(open_tree(of.as_fd(), "", flags)?)
}

fn cover(what: &OwnedFd, with: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(with.as_fd(), "", what.as_fd(), "", flags)?)
}
