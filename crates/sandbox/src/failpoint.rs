//! Named places where a test build dies or stands still on purpose. Without the feature `failpoints` this is nothing.
//!
//! `TENURE_FAILPOINT=name:n` ends the process that passes there as the n-th; `name:n:pause` has it stand still until it
//! gets `SIGCONT`, so that a test can end another process meanwhile. Only that one pass counts, so that what comes after
//! it can be tested too. A supervisor and its keepers count together; a server counts by itself.
//!
//! The first process of a namespace can't be stopped, so a keeper that stands still waits for the signal instead. Whoever
//! stands still here has the name `tenure-paused` meanwhile (`/proc/<pid>/comm`).

#[cfg(not(feature = "failpoints"))]
mod off {
    /// Has keepers count together.
    pub(crate) fn prepare() {}

    /// Passes a place.
    pub(crate) fn pass(_name: &str) {}
}

#[cfg(feature = "failpoints")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static SHARED: OnceLock<&'static AtomicU32> = OnceLock::new();
    static OWN: AtomicU32 = AtomicU32::new(0);

    const PAUSED: &std::ffi::CStr = c"tenure-paused";

    /// Has keepers count together.
    pub(crate) fn prepare() {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let size = size_of::<AtomicU32>();
        // SAFETY: a fresh mapping of zeros, never unmapped and aligned to a page, shared with every process forked later.
        let passed = unsafe {
            mmap_anonymous(std::ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
                .map(|at| &*at.cast::<AtomicU32>())
        };
        if let Ok(passed) = passed {
            let _ = SHARED.set(passed);
        }
    }

    /// Passes a place.
    pub(crate) fn pass(name: &str) {
        let Ok(wanted) = std::env::var("TENURE_FAILPOINT") else { return };
        let mut parts = wanted.split(':');
        let (place, nth, action) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("1"), parts.next());
        let passes: &AtomicU32 = SHARED.get().copied().unwrap_or(&OWN);
        if place != name || nth.parse() != Ok(passes.fetch_add(1, Ordering::Relaxed) + 1) {
            return;
        }
        match action {
            Some("pause") => pause(),
            // A signal from within doesn't end PID 1 of a namespace.
            // SAFETY: ends the process, as wanted.
            Some(_) | None => unsafe { libc::_exit(137) },
        }
    }

    /// Waits for a `SIGCONT`, which is kept for us while it is blocked.
    fn pause() {
        let mut name = [0u8; 16];
        // SAFETY: names are at most 16 bytes with their zero; the sets are initialised before they are used; all of it
        // concerns this thread alone.
        unsafe {
            libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr());
            let (mut wake, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigemptyset(&raw mut wake);
            libc::sigaddset(&raw mut wake, libc::SIGCONT);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const wake, &raw mut before);
            libc::prctl(libc::PR_SET_NAME, PAUSED.as_ptr());
            match libc::getpid() {
                1 => while libc::sigwaitinfo(&raw const wake, std::ptr::null_mut()) != libc::SIGCONT {},
                // Sent to this thread, so that it goes no further; it stops the whole process.
                pid => drop(libc::syscall(libc::SYS_tgkill, pid, libc::gettid(), libc::SIGSTOP)),
            }
            libc::prctl(libc::PR_SET_NAME, name.as_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        }
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) use off::{pass, prepare};
#[cfg(feature = "failpoints")]
pub(crate) use on::{pass, prepare};
