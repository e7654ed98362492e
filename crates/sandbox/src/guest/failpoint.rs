//! Places where a test can have a keeper die: `TENURE_FAILPOINT=name:n` ends it the n-th time any keeper of this
//! supervisor passes there, and no other after it, so that what comes after the crash can be tested too.

#[cfg(not(feature = "failpoints"))]
mod off {
    /// Has keepers count together.
    pub(crate) fn prepare() {}

    /// Dies here if a test wants it.
    pub(crate) fn pass(_name: &str) {}
}

#[cfg(feature = "failpoints")]
mod on {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static PASSED: OnceLock<&'static AtomicU32> = OnceLock::new();

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
            let _ = PASSED.set(passed);
        }
    }

    /// Dies here if a test wants it.
    pub(crate) fn pass(name: &str) {
        let wanted = std::env::var("TENURE_FAILPOINT").unwrap_or_default();
        let Some((wanted, count)) = wanted.rsplit_once(':') else { return };
        let passed = || PASSED.get().map(|passed| passed.fetch_add(1, Ordering::Relaxed) + 1);
        if wanted == name && count.parse().ok() == passed() {
            // A signal from within doesn't end PID 1 of a namespace.
            // SAFETY: ends the process, as wanted.
            unsafe { libc::_exit(137) };
        }
    }
}

#[cfg(not(feature = "failpoints"))]
pub(crate) use off::{pass, prepare};
#[cfg(feature = "failpoints")]
pub(crate) use on::{pass, prepare};
