//! Putting another root under a live sandbox.
//!
//! The files of a sandbox are sealed by putting an empty layer over them, which takes another mount; and the kernel has no call
//! that exchanges what lies under a mount. So a child of the supervisor enters the sandbox's user and mount namespaces, puts the
//! new root together beside the old one, and makes it the root: `pivot_root` takes along every process whose root the old one
//! was. The keeper can't do that, having given up the right to mount; nor can any tool, while nothing but the keeper and its
//! executor is alive.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Detached, Standing};
use crate::guest::{privileges, signals};

/// Where the new root is put together, in the old one: every sandbox has this directory.
const STAGE: &str = "/workspace";

/// How long it may take. It takes a millisecond.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// Makes these mounts the root of a keeper and its executor, with all that is mounted in the old root and isn't among them. Where
/// that fails, the sandbox can't be used any more.
pub(crate) fn replace_root(keeper: i32, mounts: Vec<Detached>) -> io::Result<()> {
    let process = pidfd_open(Pid::from_raw(keeper).ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
    let mountinfo = std::fs::read(format!("/proc/{keeper}/mountinfo"))?;
    let kept: Vec<PathBuf> = mounted_in_root(&mountinfo)
        .into_iter()
        .filter(|at| mounts.iter().all(|mount| Path::new(&mount.target) != at))
        .collect();
    let (outcome, say) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so its copy finds every lock open; the child never returns.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let swapped =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| swap(&process, mounts, &kept, &say)));
            // SAFETY: ends the child.
            unsafe { libc::_exit(if swapped.is_ok() { 0 } else { 101 }) }
        }
        child => child,
    };
    drop((say, mounts));
    let heard = hear(outcome);
    if heard.is_err() {
        // It may stand still. Whoever has been heard ends by itself, and is reaped with the others.
        // SAFETY: the child is ours and not yet waited for.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    heard
}

fn hear(outcome: OwnedFd) -> io::Result<()> {
    if poll(&mut [PollFd::new(&outcome, PollFlags::IN)], Some(&PATIENCE))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut said = [0; 512];
    let length = File::from(outcome).read(&mut said)?;
    match &said[..length] {
        b"ok" => Ok(()),
        b"" => Err(io::Error::other("it died")),
        text => Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
    }
}

/// The life of the child. What is freed with the old root may be much: that is left to the end of this process, which nobody
/// waits for.
fn swap(process: &OwnedFd, mounts: Vec<Detached>, kept: &[PathBuf], say: &OwnedFd) {
    let mut ours: Vec<i32> = mounts.iter().map(|mount| mount.mount.as_raw_fd()).collect();
    ours.extend([process.as_raw_fd(), say.as_raw_fd()]);
    ours.sort_unstable();
    signals::close_all_but(&ours);
    let mut old_root = None;
    let said = match try_swap(process, mounts, kept, &mut old_root) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    let _ = rustix::io::write(say, said.as_bytes());
    drop(old_root);
}

fn try_swap(
    process: &OwnedFd,
    mounts: Vec<Detached>,
    kept: &[PathBuf],
    old_root: &mut Option<OwnedFd>,
) -> io::Result<()> {
    privileges::die_with_parent()?;
    // SAFETY: moves this process, which has one thread, into other namespaces.
    if unsafe { libc::setns(process.as_raw_fd(), libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0 {
        return Err(said("entering the sandbox", io::Error::last_os_error()));
    }
    privileges::become_user(Standing::ours().keeper()).map_err(|error| said("becoming the sandbox's root", error))?;
    // Becoming another user has undone it.
    privileges::die_with_parent()?;
    *old_root = Some(open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?);
    let kept: Vec<(&PathBuf, OwnedFd)> = kept
        .iter()
        .map(|at| {
            let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
            let mount = open_tree(CWD, Path::new("/").join(at), flags);
            mount.map(|mount| (at, mount)).map_err(|error| said(&format!("opening /{}", at.display()), error.into()))
        })
        .collect::<Result<_, _>>()?;
    let (roots, parts): (Vec<_>, Vec<_>) = mounts.iter().partition(|mount| mount.target.is_empty());
    for root in roots {
        attach(&root.mount, Path::new(STAGE))?;
    }
    rustix::process::chdir(STAGE)?;
    for part in parts {
        attach(&part.mount, Path::new(&part.target))?;
    }
    for (at, mount) in &kept {
        attach(mount, at)?;
    }
    rustix::process::pivot_root(".", ".").map_err(|error| said("changing the root", error.into()))?;
    unmount(".", UnmountFlags::DETACH).map_err(|error| said("letting go of the old root", error.into()))?;
    Ok(rustix::process::chdir("/")?)
}

fn attach(mount: &OwnedFd, at: &Path) -> io::Result<()> {
    move_mount(mount.as_fd(), "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| said(&format!("mounting {}", at.display()), error.into()))
}

fn said(doing: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing}: {error}"))
}

/// What is mounted directly in the root, without the leading slash, from the text of a `mountinfo`.
fn mounted_in_root(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (id, parent) = (fields.next()?, fields.next()?);
        Some((id, parent, fields.nth(2)?))
    });
    let Some((root, ..)) = lines.clone().rev().find(|(.., at)| *at == b"/") else { return Vec::new() };
    let children = lines.filter(|(_, parent, at)| *parent == root && *at != b"/");
    children.map(|(.., at)| PathBuf::from(OsString::from_vec(unescaped(&at[1..])))).collect()
}

/// Blanks and the like are written as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::mounted_in_root;

    #[test]
    fn mounts_in_the_root_are_told_from_those_below_them() {
        let mountinfo = b"\
60 59 0:50 / / rw - overlay tenure rw
61 60 8:1 /usr /usr ro - ext4 /dev/a rw
62 60 0:51 / /dev rw - tmpfs tmpfs rw
63 62 0:52 / /dev/shm rw - tmpfs tmpfs rw
64 60 0:53 / /odd\\040name rw - tmpfs tmpfs rw
";
        assert_eq!(mounted_in_root(mountinfo), ["usr", "dev", "odd name"].map(PathBuf::from));
        assert_eq!(mounted_in_root(b""), [] as [PathBuf; 0]);
    }
}
