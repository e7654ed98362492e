//! What is due by itself is brought about here. Deadlines are rows, so they survive; this only watches for the earliest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tenure_core::command::Tick;
use tenure_core::time::Timestamp;
use tokio::sync::Notify;

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
    loop {
        let due = match shared.store.due(shared.clock.now(), BATCH).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "deadlines not read; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        for session in &due {
            failpoint::hit("timer_fired");
            shared.directory.bring(*session, Tick {});
        }
        if due.is_empty() {
            wait(&shared).await;
        } else {
            // Until the sessions have stored what follows, they still look due.
            tokio::time::sleep(PAUSE).await;
        }
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
