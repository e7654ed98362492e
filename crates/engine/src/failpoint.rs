//! Named places where a test build dies or stands still on purpose. Without the feature this is nothing.
//!
//! `TENURE_FAILPOINT=name:n` aborts at the n-th pass, `name:n:pause` stops the process there as `SIGSTOP` does, so that
//! a test can end another one meanwhile. A place that is passed for several kinds of things has a name for each,
//! `place.kind`; the bare name counts them all.

#[cfg(feature = "failpoints")]
mod on {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// Passes a place.
    pub(crate) fn hit(place: &str) {
        pass(|wanted| wanted == place);
    }

    /// Passes a place for something of this kind.
    pub(crate) fn hit_for(place: &str, kind: &str) {
        pass(|wanted| match wanted.strip_prefix(place) {
            Some("") => true,
            Some(rest) => rest.strip_prefix('.') == Some(kind),
            None => false,
        });
    }

    fn pass(is_here: impl Fn(&str) -> bool) {
        static PASSES: AtomicU64 = AtomicU64::new(0);
        let Ok(wanted) = std::env::var("TENURE_FAILPOINT") else { return };
        let mut parts = wanted.split(':');
        let (name, nth, action) = (parts.next().unwrap_or_default(), parts.next().unwrap_or("1"), parts.next());
        if !is_here(name) || PASSES.fetch_add(1, Ordering::Relaxed) + 1 != nth.parse().unwrap_or(1) {
            return;
        }
        match action {
            Some("pause") => {
                let stopped = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
                assert!(stopped.is_ok(), "a process can stop itself");
                // Another thread may take the signal first; this one goes no further meanwhile.
                std::thread::sleep(Duration::from_millis(100));
            }
            Some(_) | None => std::process::abort(),
        }
    }
}

#[cfg(not(feature = "failpoints"))]
mod off {
    /// Passes a place.
    pub(crate) fn hit(_place: &str) {}

    /// Passes a place for something of this kind.
    pub(crate) fn hit_for(_place: &str, _kind: &str) {}
}

#[cfg(not(feature = "failpoints"))]
pub(crate) use off::{hit, hit_for};
#[cfg(feature = "failpoints")]
pub(crate) use on::{hit, hit_for};
