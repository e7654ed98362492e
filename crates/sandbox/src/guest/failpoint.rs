//! Places where a test can have the keeper die: `TENURE_FAILPOINT=name:n` aborts it the n-th time it passes.

/// Dies here if a test wants it.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn pass(_name: &str) {}

/// Dies here if a test wants it.
#[cfg(feature = "failpoints")]
pub(crate) fn pass(name: &str) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let Ok(wanted) = std::env::var("TENURE_FAILPOINT") else { return };
    let Some((wanted, count)) = wanted.rsplit_once(':') else { return };
    if wanted == name && count.parse() == Ok(PASSED.fetch_add(1, Ordering::Relaxed) + 1) {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        // A signal from within doesn't end PID 1 of a namespace.
        // SAFETY: ends the process, as wanted.
        unsafe { libc::_exit(137) };
    }
}
