//! How long to wait before something that failed here is tried again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double, from 100 ms to 5 s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(LONGEST);
        now
    }

    /// Waits; `false` at once when there is no point in trying again, since the engine ends.
    pub(crate) async fn wait(&mut self, draining: &CancellationToken) -> bool {
        tokio::select! {
            biased;
            () = draining.cancelled() => false,
            () = tokio::time::sleep(self.next()) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, LONGEST};

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, LONGEST.as_millis()]);
    }

    #[tokio::test]
    async fn nothing_waits_for_an_engine_that_ends() {
        let draining = tokio_util::sync::CancellationToken::new();
        draining.cancel();
        assert!(!Backoff::default().wait(&draining).await);
    }
}
