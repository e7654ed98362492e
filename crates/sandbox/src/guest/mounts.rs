use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, move_mount, open_tree, unmount,
};

use crate::fences::Fence;
use crate::spec::Applied;
use crate::supervisor::{Detached, Doing, Failure, Standing};

/// Where the new root is put together, in our own mount namespace: any directory that every host has and everybody may
/// enter.
const STAGE: &str = "/usr";

/// Files of `/proc` that tell of the host, and directories that do.
const MASKED_FILES: &[&str] = &[
    "config.gz",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
];
const MASKED_DIRS: &[&str] = &["acpi", "asound", "bus", "driver", "fs", "irq", "scsi"];
/// The kernel's settings: to be read only.
const READ_ONLY: &[&str] = &["sys"];

const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];

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

/// Puts the new root together and makes it the root.
pub(crate) fn build(layers: Vec<Detached>, limits: &Applied) -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "leaving the host's mounts".to_owned())?;
    let devices: Vec<(&str, OwnedFd)> = DEVICES
        .iter()
        .map(|name| {
            clone_mount(&format!("/dev/{name}")).map(|mount| (*name, mount)).doing(|| format!("opening /dev/{name}"))
        })
        .collect::<Result<_, _>>()?;
    let hosts_proc = match Fence::Pids.is_up() {
        true => None,
        false => Some(clone_mount("/proc").doing(|| "opening the host's /proc".to_owned())?),
    };
    for layer in &layers {
        if !layer.target.is_empty() {
            continue;
        }
        attach(&layer.mount, STAGE).doing(|| "mounting the root".to_owned())?;
    }
    rustix::process::chdir(STAGE).doing(|| "entering the new root".to_owned())?;
    for layer in layers.iter().filter(|layer| !layer.target.is_empty()) {
        attach(&layer.mount, &layer.target).doing(|| format!("mounting /{}", layer.target))?;
    }
    drop(layers);
    memory_file_systems(limits)?;
    fill_dev(&devices)?;
    match hosts_proc {
        None => mount("proc", "proc", "proc", plain() | MountFlags::NOEXEC, None).map_err(no_proc)?,
        Some(proc) => attach(&proc, "proc").doing(|| "showing the host's /proc".to_owned())?,
    }
    if !Fence::NoSysfs.is_up() {
        mount("sysfs", "sys", "sysfs", plain(), None).doing(|| "mounting /sys".to_owned())?;
    }
    rustix::process::pivot_root(".", ".").doing(|| "changing the root".to_owned())?;
    if Fence::OldRoot.is_up() {
        unmount(".", UnmountFlags::DETACH).doing(|| "letting go of the host's root".to_owned())?;
    }
    rustix::process::chdir("/").doing(|| "entering the new root".to_owned())?;
    if Fence::NamespaceLimits.is_up() {
        forbid_namespaces()?;
    }
    mask_proc()
}

fn plain() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV
}

/// What doesn't outlive the sandbox. It counts against the memory limit. All of it together leaves a quarter of that to
/// programs: where files took all, not even the one that would remove them could be started. An empty file takes memory as
/// well, so there may be one for every 4 KiB.
fn memory_file_systems(limits: &Applied) -> Result<(), Failure> {
    let limit = limits.memory_bytes.unwrap_or(crate::Limits::DEFAULT_MEMORY_BYTES);
    let of_size = |mode: &str, bytes: u64| {
        let inodes = (bytes / 4096).clamp(64, limits.inodes.unwrap_or(crate::Limits::DEFAULT_INODES).max(64));
        let options = format!("mode={mode},size={bytes},nr_inodes={inodes}");
        std::ffi::CString::new(options).expect("options have no zero byte")
    };
    for (target, options, flags) in [
        ("dev", of_size("0755", 64 << 10), MountFlags::NOSUID | MountFlags::NOEXEC),
        ("tmp", of_size("1777", limit / 2), plain()),
        ("run", of_size("0755", 64 << 10), plain()),
    ] {
        mount("tmpfs", target, "tmpfs", flags, options.as_c_str()).doing(|| format!("mounting /{target}"))?;
    }
    make_dir("dev/shm", 0o1777)
        .and_then(|()| Ok(mount("tmpfs", "dev/shm", "tmpfs", plain(), of_size("1777", limit / 4).as_c_str())?))
        .doing(|| "mounting /dev/shm".to_owned())
}

fn fill_dev(devices: &[(&str, OwnedFd)]) -> Result<(), Failure> {
    for (name, device) in devices {
        let target = format!("dev/{name}");
        make_file(&target).and_then(|()| attach(device, &target)).doing(|| format!("making /{target}"))?;
    }
    make_dir("dev/pts", 0o755)
        .and_then(|()| {
            let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
            // Terminals are of the group `tty`, if there is one.
            let options = match Standing::ours().has_own_users() {
                true => c"newinstance,ptmxmode=0666,mode=0620,gid=5",
                false => c"newinstance,ptmxmode=0666,mode=0600",
            };
            Ok(mount("devpts", "dev/pts", "devpts", flags, options)?)
        })
        .doing(|| "mounting /dev/pts".to_owned())?;
    for (target, link) in [
        ("pts/ptmx", "dev/ptmx"),
        ("/proc/self/fd", "dev/fd"),
        ("/proc/self/fd/0", "dev/stdin"),
        ("/proc/self/fd/1", "dev/stdout"),
        ("/proc/self/fd/2", "dev/stderr"),
    ] {
        symlink(target, link).doing(|| format!("making /{link}"))?;
    }
    Ok(())
}

/// The first fence against more namespaces, each of which is a way to kernel code that needs no privilege otherwise; the
/// second is the system call filter.
fn forbid_namespaces() -> Result<(), Failure> {
    for name in NAMESPACE_LIMITS {
        let path = format!("/proc/sys/user/{name}");
        match std::fs::write(&path, "0") {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).doing(|| format!("writing {path}")),
        }
    }
    Ok(())
}

fn mask_proc() -> Result<(), Failure> {
    if Fence::Masks.is_up() {
        hide_files()?;
    }
    if Fence::ProcSys.is_up() {
        for name in READ_ONLY {
            mask(&format!("/proc/{name}"), |path| {
                mount_bind(path, path)?;
                Ok(mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOEXEC | plain(), c"")?)
            })?;
        }
    }
    Ok(())
}

fn hide_files() -> Result<(), Failure> {
    for name in MASKED_FILES {
        mask(&format!("/proc/{name}"), |path| Ok(mount_bind("/dev/null", path)?))?;
    }
    for name in MASKED_DIRS {
        mask(&format!("/proc/{name}"), |path| {
            Ok(mount("tmpfs", path, "tmpfs", plain() | MountFlags::RDONLY, c"size=0,nr_inodes=1")?)
        })?;
    }
    Ok(())
}

/// Hides a path, which may not exist.
fn mask(path: &str, hide: impl FnOnce(&str) -> io::Result<()>) -> Result<(), Failure> {
    match hide(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).doing(|| format!("masking {path}")),
    }
}

/// A mount of the same thing that is nowhere yet. The kernel keeps it in a namespace of its own, so none can be made
/// once those are forbidden.
fn clone_mount(path: &str) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?)
}

fn attach(mount: &OwnedFd, at: &str) -> io::Result<()> {
    Ok(move_mount(mount.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn make_file(path: &str) -> io::Result<()> {
    open(path, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o666)).map(drop)?;
    Ok(())
}

fn make_dir(path: &str, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::mkdir(path, Mode::from_raw_mode(mode))?)
}

fn no_proc(error: rustix::io::Errno) -> Failure {
    let cause = format!("/proc can't be mounted: {}", io::Error::from(error));
    match error {
        rustix::io::Errno::PERM => Failure::Refused {
            cause,
            fix: "the host's own /proc is partly hidden; in a container, run it with `--security-opt systempaths=unconfined`".to_owned(),
        },
        _ => Failure::Failed { doing: "mounting /proc".to_owned(), cause },
    }
}
