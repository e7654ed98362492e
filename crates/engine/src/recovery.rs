//! After a start: takes up every session whose work was cut off, and finishes removals that were.

use std::collections::HashSet;
use std::sync::Arc;

use tenure_core::id::SessionId;
use tenure_store::Error as StoreError;

use crate::directory::Mail;
use crate::engine::Shared;

/// Rows read at once.
const PAGE: usize = 500;

/// Runs once, in the background: the server answers meanwhile.
pub(crate) async fn run(shared: Arc<Shared>) {
    let alive: HashSet<SessionId> = match shared.sandboxes.backend().alive().await {
        Ok(alive) => alive.into_iter().collect(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "live sandboxes not known; taken for lost");
            HashSet::new()
        }
    };
    if let Err(error) = take_up(&shared, &alive).await {
        tracing::error!(error = &error as &dyn std::error::Error, "sessions not recovered");
    }
    finish_removals(&shared).await;
}

async fn take_up(shared: &Arc<Shared>, alive: &HashSet<SessionId>) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let sessions = shared.store.unsettled(after, PAGE).await?;
        for session in &sessions {
            let mail = Mail::Recover { sandbox_alive: alive.contains(session) };
            if shared.directory.post(*session, mail).is_err() {
                tracing::error!(%session, "not recovered: its mailbox is full");
            }
        }
        match sessions.last() {
            Some(last) if sessions.len() == PAGE => after = Some(*last),
            Some(_) | None => return Ok(()),
        }
        // Let the first ones finish before more are woken.
        tokio::task::yield_now().await;
    }
}

async fn finish_removals(shared: &Arc<Shared>) {
    let purges = shared.store.purges().await.unwrap_or_default();
    for session in purges {
        match shared.sandboxes.backend().destroy(session).await {
            Ok(()) => drop(shared.store.purge_done(session).await),
            Err(error) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "files of a deleted session not removed");
            }
        }
    }
}
