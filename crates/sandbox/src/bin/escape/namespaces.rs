//! New namespaces, each of which is a way to kernel code that needs no privilege otherwise, and those of others.

use crate::calls::{call, judge};
use crate::case::{Input, Outcome};

pub(crate) fn unshare_user(_: &Input) -> Outcome {
    unshare(libc::CLONE_NEWUSER)
}

pub(crate) fn unshare_mounts(_: &Input) -> Outcome {
    unshare(libc::CLONE_NEWNS)
}

pub(crate) fn unshare_network(_: &Input) -> Outcome {
    unshare(libc::CLONE_NEWNET)
}

pub(crate) fn unshare_pids(_: &Input) -> Outcome {
    unshare(libc::CLONE_NEWPID)
}

pub(crate) fn unshare_cgroups(_: &Input) -> Outcome {
    unshare(libc::CLONE_NEWCGROUP)
}

fn unshare(flag: libc::c_int) -> Outcome {
    judge("a namespace is made", call(libc::SYS_unshare, [flag as usize]))
}

pub(crate) fn clone_user(_: &Input) -> Outcome {
    let made = call(libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as usize, 0, 0, 0, 0]);
    end_if_child(&made);
    judge("a process in a namespace of its own is made", made)
}

pub(crate) fn clone3_user(_: &Input) -> Outcome {
    // flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls
    let arguments: [u64; 8] = [libc::CLONE_NEWUSER as u64, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0];
    let made = call(libc::SYS_clone3, [arguments.as_ptr() as usize, size_of_val(&arguments)]);
    end_if_child(&made);
    judge("a process in a namespace of its own is made", made)
}

fn end_if_child(made: &std::io::Result<usize>) {
    if matches!(made, Ok(0)) {
        // SAFETY: ends the copy that ought not to have come about.
        unsafe { libc::_exit(0) }
    }
}

/// Entering one, even the very own, takes the right that entering another one takes.
pub(crate) fn enter(_: &Input) -> Outcome {
    use std::os::fd::AsRawFd;
    let entered = std::fs::File::open("/proc/self/ns/uts")
        .and_then(|namespace| call(libc::SYS_setns, [namespace.as_raw_fd() as usize, libc::CLONE_NEWUTS as usize]));
    judge("a namespace is entered", entered)
}

pub(crate) fn namespace_of_the_keeper(_: &Input) -> Outcome {
    crate::processes::of_the_keeper(|| judge("/proc/1/ns/mnt is open", std::fs::File::open("/proc/1/ns/mnt")))
}
