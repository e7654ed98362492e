//! Named places at which a test build can be made to die.

/// Dies as if killed when `TENURE_FAILPOINT` is `<name>:<n>` and this is the n-th time the place is reached.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};

    static REACHED: AtomicU64 = AtomicU64::new(0);

    let Ok(wanted) = std::env::var("TENURE_FAILPOINT") else { return };
    let Some((wanted, nth)) = wanted.split_once(':') else { return };
    if wanted == name && nth.parse() == Ok(REACHED.fetch_add(1, Ordering::Relaxed) + 1) {
        std::process::abort();
    }
}

/// Nothing, outside of test builds.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn reach(_name: &str) {}
