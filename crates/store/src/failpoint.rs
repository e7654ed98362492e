//! Named places at which a test build can be made to die or to stand still.

/// Dies as if killed when `TENURE_FAILPOINT` is `<name>:<n>` and this is the n-th time the place is reached; stops as
/// `SIGSTOP` does when it is `<name>:<n>:pause`.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    static REACHED: AtomicU64 = AtomicU64::new(0);

    let Ok(wanted) = std::env::var("TENURE_FAILPOINT") else { return };
    let mut parts = wanted.split(':');
    if parts.next() != Some(name) {
        return;
    }
    let nth = parts.next().and_then(|nth| nth.parse().ok());
    if nth != Some(REACHED.fetch_add(1, Ordering::Relaxed) + 1) {
        return;
    }
    match parts.next() {
        Some("pause") => {
            let stopped = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
            assert!(stopped.is_ok(), "a process can stop itself");
            // Another thread may take the signal first; this one goes no further meanwhile.
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(_) | None => std::process::abort(),
    }
}

/// Nothing, outside of test builds.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_name: &str) {}
