//! Forgets what nobody can ask for any more: expired answers, and blobs of deleted sessions.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::time::Timestamp;

use crate::engine::Shared;

/// How often.
const EVERY: Duration = Duration::from_secs(600);

/// How old an unnamed blob must be: one that was just put is named by the append that follows.
const BLOB_AGE: Duration = Duration::from_secs(3600);

/// Answers forgotten at once.
const BATCH: usize = 1_000;

/// Runs until the engine ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let now = shared.clock.now();
        shared.clock.sleep_until(now.after(EVERY)).await;
        while let Ok(BATCH) = shared.store.sweep_answers(shared.clock.now(), BATCH).await {}
        let micros = i64::try_from(BLOB_AGE.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(shared.clock.now().as_micros().saturating_sub(micros));
        if let Err(error) = shared.store.sweep_blobs(before).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "unused blobs not removed; tried again later");
        }
    }
}
