use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Tells a keeper to look at what its supervisor has noted for it.
pub(crate) const LOOK: i32 = libc::SIGUSR1;

/// What had been signalled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Signalled {
    /// Somebody asks us to end.
    pub(crate) ends_us: bool,
}

/// Takes the signals about children and our own end as a descriptor that can be polled.
pub(crate) fn open() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by `sigemptyset` before it is used; the descriptor is new and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, LOOK] {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Reads all signals that are waiting. A hang-up is not a reason to end: nobody's terminal is ours.
pub(crate) fn drain(signals: impl AsFd) -> Signalled {
    const RECORD: usize = size_of::<libc::signalfd_siginfo>();
    let mut signalled = Signalled::default();
    let mut buffer = [0u8; RECORD];
    while rustix::io::read(signals.as_fd(), &mut buffer).is_ok_and(|length| length == RECORD) {
        let signal = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as i32;
        signalled.ends_us |= signal == libc::SIGTERM || signal == libc::SIGINT;
    }
    signalled
}

/// Gives a process that is about to become a tool the signals of a fresh program.
pub(crate) fn reset() {
    // SAFETY: sets dispositions and an initialised mask of this process only.
    unsafe {
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// A program that makes a file longer than it may gets an error, "File too large", and is not killed without a word.
pub(crate) fn ignore_long_files() {
    // SAFETY: sets a disposition of this process only.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Closes every descriptor but these, which must be in rising order.
pub(crate) fn close_all_but(keep: &[i32]) {
    #[cfg(feature = "weakened")]
    if !crate::fences::Fence::Descriptors.is_up() {
        return close_what_exec_would_close(keep);
    }
    let mut from = 0u32;
    for fd in keep.iter().map(|fd| fd.as_raw_fd() as u32) {
        if fd > from {
            // SAFETY: whoever calls this has just been forked and owns nothing in that range that it will use again.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, u32::MAX, 0) };
}

/// As above, where keepers close all that isn't theirs once more. A test that takes that away must not find it done here.
pub(crate) fn close_of_supervisor(keep: &[i32]) {
    #[cfg(feature = "weakened")]
    close_what_exec_would_close(keep);
    #[cfg(not(feature = "weakened"))]
    close_all_but(keep);
}

/// What is left of the above when a test has taken it away: the pipes and sockets of our own, whose ends others wait for.
#[cfg(feature = "weakened")]
fn close_what_exec_would_close(keep: &[i32]) {
    for fd in (3..4096).filter(|fd| !keep.contains(fd)) {
        // SAFETY: as above.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == libc::FD_CLOEXEC {
                libc::close(fd);
            }
        }
    }
}
