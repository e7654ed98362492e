//! Snapshots, forks, rewinds and clones.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tenure_core::command::create::{Create, create};
use tenure_core::command::{Fork, RemoveSnapshot, Rewind, TakeSnapshot};
use tenure_core::decide::{Refusal, decide};
use tenure_core::fact::Fact;
use tenure_core::files::{FilesWork, Snapshot, SnapshotEnding, name_fault};
use tenure_core::fork::{ForkKind, ForkedFrom};
use tenure_core::id::{SessionId, SnapshotId, TenantId};
use tenure_core::session::Definition;
use tenure_core::state::State;
use tenure_sandbox::Error as SandboxError;
use tenure_store::{Append, AppendError, CachedState, FeedKind, Fork as StoredFork, Tail};
use tokio::time::Duration;

use super::Sessions;
use super::points::{Found, Look, Point, find};
use crate::error::Error;
use crate::failpoint;
use crate::owner::STATE_FORMAT;
use crate::view::{Done, Keyed, SessionView};

/// A session to be made from another, with its conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFork {
    /// Where they part.
    pub at: Point,
    /// Its own label for people; `None` is the other's.
    pub title: Option<String>,
    /// Whether it has the files, too.
    pub files: bool,
}

/// A session to be set up like another.
#[derive(Debug, Clone, PartialEq)]
pub struct NewClone {
    /// Its own label for people; `None` is the other's.
    pub title: Option<String>,
    /// Whether it begins with the other's files.
    pub files: bool,
}

impl Sessions {
    /// Keeps a session's files under a name. Answers when they are kept.
    pub async fn take_snapshot(&self, tenant: TenantId, session: SessionId, name: String) -> Result<Snapshot, Error> {
        if let Some(fault) = name_fault(&name) {
            return Err(Error::invalid("name", fault));
        }
        let started = loop {
            let command = TakeSnapshot { name: name.clone() };
            match self.shared.directory.execute(tenant, session, command, None).await {
                Ok(executed) => break executed.facts,
                Err(Error::Refused(Refusal::FilesBusy)) => self.until_left_alone(tenant, session).await?,
                Err(error) => return Err(error),
            }
        };
        let id = started.iter().find_map(|stored| match &*stored.fact {
            Fact::SnapshotStarted { snapshot, name: Some(_), .. } => Some((stored.seq, *snapshot)),
            _ => None,
        });
        let (seq, id) = id.ok_or_else(Error::busy)?;
        let mut tail = self.shared.store.tail(session, seq);
        while let Some(Tail::Facts(facts)) = tail.next().await.transpose()? {
            let ended = facts.iter().find_map(|stored| match &*stored.fact {
                Fact::SnapshotEnded { snapshot, ending } if *snapshot == id => Some(ending.clone()),
                _ => None,
            });
            match ended {
                None => {}
                Some(SnapshotEnding::Failed { reason }) => return Err(unavailable(format!("no snapshot: {reason}"))),
                Some(_) => {
                    let state = self.shared.directory.look(tenant, session).await?;
                    let taken = state.files.snapshot(id).cloned();
                    return taken.ok_or_else(|| Error::not_found("snapshot", id.prefixed()));
                }
            }
        }
        Err(Error::not_found("session", session.prefixed()))
    }

    /// The snapshots of a session that are kept, oldest first.
    pub async fn snapshots(&self, tenant: TenantId, session: SessionId) -> Result<Arc<Vec<Snapshot>>, Error> {
        Ok(self.shared.directory.look(tenant, session).await?.files.snapshots)
    }

    /// Forgets a snapshot, named by its id or its name. Gives the one that it was.
    pub async fn remove_snapshot(
        &self,
        tenant: TenantId,
        session: SessionId,
        snapshot: &Point,
    ) -> Result<Snapshot, Error> {
        loop {
            let state = self.shared.directory.look(tenant, session).await?;
            let (found, given) = match snapshot {
                Point::Snapshot(id) => (state.files.snapshot(*id), id.prefixed()),
                Point::Name(name) => (state.files.named(name), name.clone()),
                Point::Last | Point::Place(_) | Point::Event(_) => (None, String::new()),
            };
            let found = found.cloned().ok_or_else(|| Error::not_found("snapshot", given))?;
            match self.execute(tenant, session, RemoveSnapshot { snapshot: found.id }, None).await {
                Ok(_) => return Ok(found),
                Err(Error::Refused(Refusal::FilesBusy)) => self.until_left_alone(tenant, session).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes back to an earlier place, conversation and files. Answers when the files are back.
    pub async fn rewind(
        &self,
        tenant: TenantId,
        session: SessionId,
        to: Point,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let executed = loop {
            let (_, Found { then, snapshot }) = self.point(tenant, session, &to, true, "to").await?;
            let (past, snapshot) = (Arc::new(then.past()), snapshot.map(|snapshot| snapshot.id));
            let command = Rewind { to: then.seq, snapshot, past };
            match self.shared.directory.execute(tenant, session, command, keyed.clone()).await {
                Ok(executed) => break executed,
                Err(Error::Refused(Refusal::FilesBusy)) => self.until_left_alone(tenant, session).await?,
                Err(error) => return Err(error),
            }
        };
        let rewound =
            executed.facts.iter().find(|stored| matches!(&*stored.fact, Fact::SessionRewound { files: true, .. }));
        let Some(rewound) = rewound else { return Ok(executed.view) };
        let mut tail = self.shared.store.tail(session, rewound.seq);
        while let Some(Tail::Facts(facts)) = tail.next().await.transpose()? {
            let put_back = facts.iter().find_map(|stored| match &*stored.fact {
                Fact::FilesRewound { failed } => Some(failed.clone()),
                _ => None,
            });
            match put_back {
                None => {}
                Some(None) => return self.get(tenant, session).await,
                Some(Some(reason)) => {
                    return Err(unavailable(format!(
                        "the conversation was rewound, but the files couldn't be put back: {reason}"
                    )));
                }
            }
        }
        Err(Error::not_found("session", session.prefixed()))
    }

    /// Makes a session that begins with another's conversation, and with its files as they were then.
    pub async fn fork(
        &self,
        tenant: TenantId,
        session: SessionId,
        new: NewFork,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let sessions = self.clone();
        // Whoever asked may leave; half of a fork would be left behind.
        let made = async move { sessions.make_fork(tenant, session, new, keyed).await };
        self.shared.runtime.spawn(made).await.map_err(|_| Error::broken_off(session))?
    }

    /// Makes a session that is set up like another, perhaps with its files, and in which nothing was said yet.
    pub async fn clone_session(
        &self,
        tenant: TenantId,
        session: SessionId,
        new: NewClone,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let sessions = self.clone();
        let made = async move { sessions.make_clone(tenant, session, new, keyed).await };
        self.shared.runtime.spawn(made).await.map_err(|_| Error::broken_off(session))?
    }

    async fn make_fork(
        &self,
        tenant: TenantId,
        session: SessionId,
        new: NewFork,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let NewFork { at, title, files } = new;
        let (now, Found { then, snapshot }) = self.point(tenant, session, &at, files, "at").await?;
        let child = SessionId::from_bits(self.shared.clock.ids().bits());
        let at = then.seq;
        // Those that stand before it in the log, as far as they are still there.
        let kept = now.files.kept();
        let mut earlier: Vec<SnapshotId> = then.files.kept();
        earlier.retain(|id| kept.contains(id) && snapshot.as_ref().is_some_and(|snapshot| snapshot.id != *id));
        let from = ForkedFrom { session, at, what: ForkKind::Fork, snapshot: snapshot.as_ref().map(|kept| kept.id) };
        let name = snapshot.and_then(|snapshot| snapshot.name);
        let command = Fork { from, name, earlier: earlier.clone(), title: title.or_else(|| then.title.clone()) };
        let state = State { session: child, ..then };
        self.make(tenant, state, Vec::new(), command, &earlier, keyed).await
    }

    async fn make_clone(
        &self,
        tenant: TenantId,
        session: SessionId,
        new: NewClone,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let NewClone { title, files } = new;
        let now = self.shared.directory.look(tenant, session).await?;
        let (now, at, snapshot) = match files && !now.files.are_untouched() {
            true => {
                let (now, found) = self.point(tenant, session, &Point::Last, true, "files").await?;
                (now, found.then.seq, found.snapshot.map(|kept| kept.id))
            }
            false => {
                let at = now.seq;
                (now, at, None)
            }
        };
        let child = SessionId::from_bits(self.shared.clock.ids().bits());
        let title = title.or_else(|| now.title.clone());
        let State { definition, metadata, labels, budget, .. } = *now;
        let command = Create { session: child, definition, title: title.clone(), metadata, labels, budget };
        let first = create(command, self.shared.clock.moment());
        let state = State::open(&first).ok_or_else(Error::busy)?;
        let from = ForkedFrom { session, at, what: ForkKind::Clone, snapshot };
        let command = Fork { from, name: None, earlier: Vec::new(), title };
        self.make(tenant, state, vec![first], command, &[], keyed).await
    }

    /// Makes a session whose state so far is given: first its files, then, in one step, its row.
    async fn make(
        &self,
        tenant: TenantId,
        mut state: State,
        mut facts: Vec<tenure_core::fact::StoredFact>,
        command: Fork,
        earlier: &[SnapshotId],
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let child = state.session;
        let from = command.from;
        let _begun = self.shared.forking.begin(child);
        let _environments_stay = self.shared.choosing_environments.read().await;
        self.still_offered(tenant, &state.definition).await?;
        if let Some(snapshot) = from.snapshot {
            failpoint::hit("fork_before_files");
            let forked = self.shared.sandboxes.backend().fork(from.session, snapshot, earlier, child).await;
            forked.map_err(|error| of_sandbox(error, "the files can't be forked"))?;
        }
        failpoint::hit("fork_before_rows");
        let moment = self.shared.clock.moment();
        let now = moment.at;
        let expected_seq = if facts.is_empty() { state.seq } else { 0 };
        let decision = decide(&state, command.into(), moment);
        decision.facts.iter().for_each(|stored| state.evolve(stored));
        facts.extend(decision.facts);
        let generation = self.shared.store.generation();
        let view = SessionView {
            summary: state.summary(),
            definition: state.definition.clone(),
            now,
            generation,
            preparing: None,
        };
        let answer = keyed.map(|keyed| keyed.record(tenant, &Done::Session(view.clone()), now));
        let append = Append {
            session: child,
            expected_seq,
            facts,
            summary: view.summary.clone(),
            definition: Some(view.definition.clone()),
            feed: vec![FeedKind::Created, FeedKind::PhaseChanged { phase: state.phase() }],
            answer,
        };
        let stored = match from.what {
            ForkKind::Fork => self.shared.store.fork(StoredFork { from: from.session, append }).await,
            ForkKind::Clone => self.shared.store.append(append).await,
        };
        if let Err(error) = stored {
            if from.snapshot.is_some()
                && let Err(error) = self.shared.sandboxes.backend().destroy(child).await
            {
                tracing::warn!(session = %child, error = &error as &dyn std::error::Error, "files of a fork that came to nothing not removed; the next start does");
            }
            return Err(match error {
                AppendError::Gone => Error::not_found("session", from.session.prefixed()),
                other => other.into(),
            });
        }
        self.shared.timers.note(view.summary.wake_at);
        metrics::counter!("tenure_sessions_created_total").increment(1);
        // Waking it needn't read what was copied.
        if let Ok(blob) = serde_json::to_vec(&state) {
            drop(self.shared.store.save_state(child, CachedState { seq: state.seq, format: STATE_FORMAT, blob }).await);
        }
        Ok(view)
    }

    /// Whether sessions may still be made with this agent and in this environment.
    async fn still_offered(&self, tenant: TenantId, definition: &Definition) -> Result<(), Error> {
        let agent = self.shared.store.agent(tenant, definition.agent.id).await?;
        if agent.is_some_and(|agent| agent.archived_at.is_some()) {
            let message = "the session's agent is archived; new sessions need one that isn't";
            return Err(Error::Archived { what: "agent", field: "agent", message });
        }
        let environment = self.shared.store.environment(tenant, definition.environment.id).await?;
        if environment.is_none_or(|environment| environment.archived_at.is_some()) {
            let message = "the session's environment is archived; new sessions need one that isn't";
            return Err(Error::Archived { what: "environment", field: "environment_id", message });
        }
        Ok(())
    }

    /// The session now, and what it was at a point. Waits for the snapshot that the point needs.
    pub(super) async fn point(
        &self,
        tenant: TenantId,
        session: SessionId,
        point: &Point,
        files: bool,
        field: &'static str,
    ) -> Result<(Box<State>, Found), Error> {
        loop {
            let now = self.shared.directory.look(tenant, session).await?;
            match find(&*self.shared.store, &now, point, files, field).await? {
                Look::Found(found) => return Ok((now, *found)),
                Look::Wait => self.next_fact(session, now.seq).await?,
            }
        }
    }

    /// Waits until nothing is done to the files.
    async fn until_left_alone(&self, tenant: TenantId, session: SessionId) -> Result<(), Error> {
        loop {
            let now = self.shared.directory.look(tenant, session).await?;
            match &now.files.work {
                None => return Ok(()),
                Some(FilesWork::Snapshot { .. } | FilesWork::Rewind { .. }) => self.next_fact(session, now.seq).await?,
            }
        }
    }

    async fn next_fact(&self, session: SessionId, after: u64) -> Result<(), Error> {
        match self.shared.store.tail(session, after).next().await.transpose()? {
            Some(Tail::Facts(_)) => Ok(()),
            Some(Tail::Deleted) | None => Err(Error::not_found("session", session.prefixed())),
        }
    }
}

fn unavailable(reason: String) -> Error {
    Error::Unavailable { reason, retry_after: Duration::from_secs(1) }
}

pub(super) fn of_sandbox(error: SandboxError, doing: &str) -> Error {
    match error {
        // It was removed since it was looked up.
        SandboxError::Invalid(message) => {
            Error::Conflict { message: format!("{doing}: {message}; read the session again") }
        }
        other => unavailable(format!("{doing}: {other}")),
    }
}
