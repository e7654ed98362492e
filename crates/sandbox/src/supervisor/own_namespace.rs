//! How an ordinary user gets to make sandboxes: its supervisor moves into a user and a mount namespace of its own, in which
//! it may mount overlays and make the namespaces of sandboxes.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};

use super::requirements::refuse_user_namespace;
use super::subordinate::Users;
use super::{AGENT, Doing, Failure};
use crate::guest::privileges;

/// Moves this process into namespaces of its own, with these users besides its own if there are any, and starts this command in its place, which is this program again; returns
/// only if that fails.
///
/// Only a program that was started inside belongs to that namespace in the kernel's eyes, so that it may open what its
/// keepers hide from others.
pub(crate) fn enter(mut again: Command, users: Option<Users>) -> Result<Infallible, Failure> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mapper = users.map(Users::prepare).transpose().doing(|| "preparing to map users".to_owned())?;
    // SAFETY: this process has one thread, and nothing in it knows of namespaces.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0 {
        return Err(refuse_user_namespace(io::Error::last_os_error()));
    }
    match mapper {
        Some(mapper) => mapper.map().doing(|| "mapping the users that this user was given".to_owned())?,
        None => map_one(uid, gid).map_err(refuse_user_namespace)?,
    }
    // What the host mounts from here on still appears, and what it lets go of goes. Where AppArmor lets a namespace be
    // made and takes all rights in it, this fails.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| refuse_user_namespace(error.into()))?;
    privileges::keep_by_exec().doing(|| "keeping the rights over a namespace of our own".to_owned())?;
    Err(again.exec()).doing(|| "starting again in a namespace of our own".to_owned())
}

/// This user as the user that tools are, and nobody else. What `/proc` has of a process that hides itself belongs to user 0 of
/// the namespace it was started in: if this user were that, so would tools be. Groups can't be changed any more in such a namespace: who may leave a group could
/// otherwise get at what that group is kept from.
fn map_one(uid: u32, gid: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{AGENT} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{AGENT} {gid} 1"))
}
