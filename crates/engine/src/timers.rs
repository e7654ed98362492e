//! What is due by itself is brought about here. Deadlines are rows, so they survive; this only watches for the earliest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tenure_core::id::SessionId;
use tenure_core::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::engine::Shared;
use crate::failpoint;

/// Overdue sessions brought up to date at once: after a long downtime there may be very many.
const BATCH: usize = 100;

/// How long to wait before looking again at sessions that were just told.
const PAUSE: Duration = Duration::from_millis(50);

/// The earliest deadline known, and the way to name an earlier one.
#[derive(Debug)]
pub(crate) struct Timers {
    earliest: AtomicI64,
    nudge: Notify,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self { earliest: AtomicI64::new(i64::MAX), nudge: Notify::new() }
    }

    /// Something will be due then.
    pub(crate) fn note(&self, due: Option<Timestamp>) {
        let Some(due) = due else { return };
        if self.earliest.fetch_min(due.as_micros(), Ordering::AcqRel) > due.as_micros() {
            self.nudge.notify_one();
        }
    }
}

/// Runs until the engine ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut told = Told::default();
    loop {
        // Sessions that can't store what is due don't take the places of others.
        let due = match shared.store.due(shared.clock.now(), BATCH + told.0.len()).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "deadlines not read; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        metrics::gauge!("tenure_timers_overdue").set(due.len() as f64);
        for session in told.choose(&due) {
            failpoint::hit("timer_fired");
            shared.directory.remind(session);
        }
        if due.is_empty() {
            wait(&shared).await;
        } else {
            // Until the sessions have stored what follows, they still look due.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Sessions that were told and look due still, and when they are told again.
#[derive(Debug, Default)]
struct Told(HashMap<SessionId, (Instant, Backoff)>);

impl Told {
    /// Those of the sessions due that are to be told now. The others are forgotten.
    fn choose(&mut self, due: &[SessionId]) -> Vec<SessionId> {
        let now = Instant::now();
        let mut before = std::mem::take(&mut self.0);
        let mut chosen = Vec::new();
        for session in due {
            let (mut next, mut backoff) = before.remove(session).unwrap_or((now, Backoff::default()));
            if next <= now {
                chosen.push(*session);
                next = now + backoff.next();
            }
            self.0.insert(*session, (next, backoff));
        }
        chosen
    }
}

async fn wait(shared: &Shared) {
    let timers = &shared.timers;
    timers.earliest.store(i64::MAX, Ordering::Release);
    match shared.store.next_due().await {
        Ok(next) => timers.earliest.fetch_min(next.map_or(i64::MAX, Timestamp::as_micros), Ordering::AcqRel),
        Err(_) => return tokio::time::sleep(Duration::from_secs(1)).await,
    };
    let at = Timestamp::from_micros(timers.earliest.load(Ordering::Acquire));
    tokio::select! {
        () = shared.clock.sleep_until(at) => {}
        () = timers.nudge.notified() => {}
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::id::SessionId;

    use super::Told;

    #[test]
    fn a_session_that_stays_due_is_told_again_only_after_a_while() {
        let [first, second] = [1, 2].map(SessionId::from_bits);
        let mut told = Told::default();
        assert_eq!(told.choose(&[first]), [first]);
        assert_eq!(told.choose(&[first, second]), [second], "the first was told just now");
        assert_eq!(told.choose(&[first, second]), []);
        assert_eq!(told.choose(&[]), []);
        assert_eq!(told.choose(&[first]), [first], "it was forgotten when it wasn't due");
    }
}
