//! After a start: takes up every session whose work was cut off, and finishes removals that were.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use tenure_core::agent::Limits;
use tenure_core::id::SessionId;
use tenure_core::root::Basis;
use tenure_core::session::Sandbox;
use tenure_store::Store;
use tokio::sync::{Semaphore, oneshot};

use crate::backoff::Backoff;
use crate::directory::Mail;
use crate::engine::Shared;
use crate::sandboxes::Job;

/// Rows read at once.
const PAGE: usize = 500;

/// Sessions that are being taken up at once.
const AT_ONCE: usize = 64;

/// The setting that says that the last server ended as it was asked to. It is there only while none runs.
const ENDED_CLEANLY: &str = "ended_cleanly";

/// Notes that the server ends as it was asked to, so that what it cuts off isn't held against any session.
pub(crate) async fn note_clean_end(store: &dyn Store) {
    if let Err(error) = store.put_setting(ENDED_CLEANLY.to_owned(), Some("true".to_owned())).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "this clean end not noted; the next start takes it for a crash"
        );
    }
}

async fn last_end_was_clean(store: &dyn Store) -> bool {
    let name = || ENDED_CLEANLY.to_owned();
    let clean = store.setting(name()).await.ok().flatten().is_some();
    // If the note can't be removed it is as good as absent, or each death from now on would pass for a clean end.
    clean && store.put_setting(name(), None).await.is_ok()
}

/// Runs once, in the background: the server answers meanwhile.
pub(crate) async fn run(shared: Arc<Shared>) {
    let began = Instant::now();
    let alive: HashSet<SessionId> = match shared.sandboxes.backend().alive().await {
        Ok(alive) => alive.into_iter().collect(),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "live sandboxes not known; taken for lost");
            HashSet::new()
        }
    };
    sweep_forks(&shared).await;
    let ended_cleanly = last_end_was_clean(&*shared.store).await;
    take_up(&shared, &alive, ended_cleanly).await;
    metrics::histogram!("tenure_recovery_seconds").record(began.elapsed().as_secs_f64());
    finish_removals(&shared).await;
    close_visited(&shared, &alive).await;
}

/// Sandboxes that a dead server had open for visits are closed, unless they are visited again soon.
async fn close_visited(shared: &Arc<Shared>, alive: &HashSet<SessionId>) {
    for session in alive.iter().filter(|session| shared.sandboxes.handle(**session).is_none()) {
        let row = shared.store.session(None, *session).await.ok().flatten();
        if row.is_some_and(|row| matches!(row.summary.sandbox, Sandbox::Absent { .. })) {
            let (reply, _nobody) = oneshot::channel();
            let job = Job::Visit { limits: Limits::default(), basis: Basis::default(), reply };
            shared.sandboxes.order(&shared.directory, *session, job);
        }
    }
}

/// Has every session taken up, and comes back when all are.
async fn take_up(shared: &Arc<Shared>, alive: &HashSet<SessionId>, ended_cleanly: bool) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let (mut after, mut backoff) = (None, Backoff::default());
    loop {
        let sessions = match shared.store.unsettled(after, PAGE).await {
            Ok(sessions) => sessions,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "sessions not recovered yet");
                match backoff.wait(&shared.draining).await {
                    true => continue,
                    false => return,
                }
            }
        };
        for session in &sessions {
            // Comes back when the owner has served the mail it goes along with.
            let Ok(turn) = at_once.clone().acquire_owned().await else { return };
            let mail = Mail::Recover { sandbox_alive: alive.contains(session), ended_cleanly, turn };
            shared.directory.insist(*session, mail).await;
        }
        match sessions.last() {
            Some(last) if sessions.len() == PAGE => after = Some(*last),
            Some(_) | None => break,
        }
    }
    let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
    let _ = at_once.acquire_many(all).await;
}

/// Removes what is left of forks that the last server began and didn't end: rows, and files of sessions that don't exist.
async fn sweep_forks(shared: &Shared) {
    if let Err(error) = shared.store.sweep_forks().await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "unfinished forks not removed; tried again at the next start"
        );
    }
    let sessions = match shared.sandboxes.backend().sessions().await {
        Ok(sessions) => sessions,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "files of unfinished forks not looked for");
            return;
        }
    };
    for session in sessions {
        // One that is being made by this server has its files before it has its row.
        if shared.forking.contains(session) || !matches!(shared.store.session(None, session).await, Ok(None)) {
            continue;
        }
        match shared.sandboxes.backend().destroy(session).await {
            Ok(()) => tracing::info!(%session, "files of a session that doesn't exist removed"),
            Err(error) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "files of a session that doesn't exist not removed");
            }
        }
    }
}

async fn finish_removals(shared: &Arc<Shared>) {
    let purges = shared.store.purges().await.unwrap_or_default();
    for session in purges {
        match shared.sandboxes.backend().destroy(session).await {
            Ok(()) => {
                metrics::counter!("tenure_purges_total").increment(1);
                drop(shared.store.purge_done(session).await);
            }
            Err(error) => {
                tracing::warn!(%session, error = &error as &dyn std::error::Error, "files of a deleted session not removed");
            }
        }
    }
}
