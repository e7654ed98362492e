use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::RANGE;
use crate::guest::privileges;

/// A user namespace that maps `first..first + RANGE` to `base..base + RANGE`, for mounting with shifted owners. Nothing
/// lives in it.
pub(crate) fn user_namespace(first: u32, base: u32) -> io::Result<OwnedFd> {
    let parent = rustix::process::getpid();
    // SAFETY: the child shares nothing with us that it could change, and only waits to be killed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        // It has all that this process has open: were it to outlive this one, nobody could take its lock over.
        if privileges::die_with_parent().is_ok() && rustix::process::getppid() == Some(parent) {
            loop {
                // SAFETY: waits for a signal; it has no other effect.
                unsafe { libc::pause() };
            }
        }
        // SAFETY: ends the child.
        unsafe { libc::_exit(1) }
    }
    crate::failpoint::pass("supervisor.shifting");
    let namespace = write_maps(pid, first, base).and_then(|()| File::open(format!("/proc/{pid}/ns/user")));
    // SAFETY: the child is ours and not yet waited for, so the id is still its own.
    unsafe {
        libc::kill(pid as i32, libc::SIGKILL);
        libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
    }
    namespace.map(OwnedFd::from)
}

/// Makes one for a moment, to see whether that is allowed.
pub(crate) fn try_user_namespace() -> io::Result<()> {
    // SAFETY: the child shares nothing with us that it could change, and ends at once.
    match unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the child.
        0 => unsafe { libc::_exit(0) },
        pid => {
            // SAFETY: the child is ours and not yet waited for.
            unsafe { libc::waitpid(pid as i32, std::ptr::null_mut(), 0) };
            Ok(())
        }
    }
}

/// Gives the user namespace of a process its map, for users and groups alike.
fn write_maps(pid: i64, first: u32, base: u32) -> io::Result<()> {
    write_map(pid, &format!("{first} {base} {RANGE}"))
}

/// As [`write_maps`], of this text.
pub(crate) fn write_map(pid: i64, map: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/uid_map"), map)?;
    std::fs::write(format!("/proc/{pid}/gid_map"), map)
}

/// Shifts the owners seen through a detached mount by a namespace's map, and sets these attributes as well.
pub(crate) fn shift_owners(mount: impl AsFd, namespace: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    set_attributes(mount, libc::MOUNT_ATTR_IDMAP | attributes, namespace.as_raw_fd() as u64)
}

/// Sets attributes of a mount (`MOUNT_ATTR_…`); the namespace counts for one of them only.
pub(crate) fn set_attributes(mount: impl AsFd, attributes: u64, namespace: u64) -> io::Result<()> {
    change(mount, attributes, namespace, 0)
}

/// As above, of it and of all mounts below it.
pub(crate) fn set_attributes_of_all(mount: impl AsFd, attributes: u64) -> io::Result<()> {
    change(mount, attributes, 0, libc::AT_RECURSIVE)
}

fn change(mount: impl AsFd, attributes: u64, namespace: u64, flags: libc::c_int) -> io::Result<()> {
    let wanted = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: namespace };
    // SAFETY: the path is an empty C string and the structure is of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
