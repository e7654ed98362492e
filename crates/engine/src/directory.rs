//! Which sessions are awake, and how to reach any of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tenure_core::command::{Command, ReportSandbox, SandboxReport, Tick};
use tenure_core::fact::StoredFact;
use tenure_core::id::{SandboxId, SessionId, TenantId};
use tenure_core::state::State;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tracing::Span;

use crate::engine::Shared;
use crate::error::Error;
use crate::owner::{Executed, life};
use crate::view::Keyed;

/// Requests that may wait for one session.
const MAILBOX: usize = 1_024;

/// The way into an owner's mailbox. Mail is boxed: a channel keeps room for 32 pieces, and an idle owner should be small.
type Mailbox = mpsc::Sender<Box<Mail>>;

/// A request to a session's owner.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Somebody's command; the answer goes back.
    Request {
        tenant: TenantId,
        command: Command,
        keyed: Option<Keyed>,
        reply: oneshot::Sender<Result<Executed, Error>>,
        /// What it came of, for traces.
        from: Span,
    },
    /// The outcome of an effect, or the time, and what it came of; there is nobody to answer.
    Outcome(Command, Span),
    /// The server has started again, and this session's turn has come: decide what is lost, and take up what isn't.
    Recover { sandbox_alive: bool, ended_cleanly: bool, turn: OwnedSemaphorePermit },
    /// Somebody wants to see its state.
    Look { tenant: TenantId, reply: oneshot::Sender<Result<Box<State>, Error>> },
    /// Somebody deletes the session: it goes if it may, and its owner with it.
    Delete { tenant: TenantId, reply: oneshot::Sender<Result<(), Error>> },
}

/// The way to every session. Cheap to clone; it doesn't keep the engine alive.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    owners: Arc<Mutex<HashMap<SessionId, Mailbox>>>,
    shared: Weak<Shared>,
}

impl Directory {
    pub(crate) fn new(shared: Weak<Shared>) -> Self {
        Self { owners: Arc::default(), shared }
    }

    /// How many sessions are awake.
    pub(crate) fn awake(&self) -> usize {
        self.lock().len()
    }

    /// Has a tenant's command carried out.
    pub(crate) async fn execute(
        &self,
        tenant: TenantId,
        session: SessionId,
        command: impl Into<Command>,
        keyed: Option<Keyed>,
    ) -> Result<Executed, Error> {
        let (reply, answer) = oneshot::channel();
        self.post(session, Mail::Request { tenant, command: command.into(), keyed, reply, from: Span::current() })?;
        answer.await.map_err(|_| Error::broken_off(session))?
    }

    /// A tenant's session as it is.
    pub(crate) async fn look(&self, tenant: TenantId, session: SessionId) -> Result<Box<State>, Error> {
        let (reply, answer) = oneshot::channel();
        self.post(session, Mail::Look { tenant, reply })?;
        answer.await.map_err(|_| Error::broken_off(session))?
    }

    /// Brings a session the outcome of an effect.
    pub(crate) fn bring(&self, session: SessionId, command: impl Into<Command>) {
        let mail = Box::new(Mail::Outcome(command.into(), Span::current()));
        if let Err(refused) = self.try_post(session, mail) {
            // The mailbox is full of people's requests: outcomes wait for room instead of being lost.
            let directory = self.clone();
            tokio::spawn(async move { directory.wait_for_room(session, refused).await });
        }
    }

    /// Tells a session that something of it is due. One that has too much mail is told again soon anyway.
    pub(crate) fn remind(&self, session: SessionId) {
        let _ = self.post(session, Mail::Outcome(Tick {}.into(), Span::none()));
    }

    /// Tells a session what became of its sandbox.
    pub(crate) fn report(&self, session: SessionId, sandbox: SandboxId, report: SandboxReport) {
        self.bring(session, ReportSandbox { sandbox, report });
    }

    /// Posts mail, waking the session if it is asleep.
    pub(crate) fn post(&self, session: SessionId, mail: Mail) -> Result<(), Error> {
        self.try_post(session, Box::new(mail)).map_err(|_| {
            metrics::counter!("tenure_requests_turned_away_total").increment(1);
            Error::busy()
        })
    }

    /// Makes a session awake that has just been created, and carries out what its first facts ask for.
    pub(crate) fn adopt(&self, state: State, facts: &[StoredFact]) {
        let Some(shared) = self.shared.upgrade() else { return };
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        match self.lock().entry(state.session) {
            // A recovery that is just under way has found it already.
            Entry::Occupied(_) => return,
            Entry::Vacant(vacant) => drop(vacant.insert(sender)),
        }
        life::adopt(shared, state, facts, mailbox);
    }

    /// Lets go of a session if nothing waits for it. Mail is posted under the same lock, so none is lost.
    pub(crate) fn leave(&self, session: SessionId, mailbox: &mpsc::Receiver<Box<Mail>>) -> bool {
        let mut owners = self.lock();
        let quiet = mailbox.is_empty();
        if quiet {
            owners.remove(&session);
        }
        quiet
    }

    fn try_post(&self, session: SessionId, mail: Box<Mail>) -> Result<(), Box<Mail>> {
        let mut owners = self.lock();
        let mail = match owners.get(&session) {
            Some(owner) => match owner.try_send(mail) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(mail)) => return Err(mail),
                // The owner gave up without leaving; a fresh one takes its place.
                Err(mpsc::error::TrySendError::Closed(mail)) => mail,
            },
            None => mail,
        };
        let Some(shared) = self.shared.upgrade() else { return Err(mail) };
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let sent = sender.try_send(mail);
        owners.insert(session, sender);
        drop(owners);
        let runtime = shared.runtime.clone();
        runtime.spawn(life::wake(shared, session, mailbox));
        sent.map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(mail) | mpsc::error::TrySendError::Closed(mail) => mail,
        })
    }

    /// Posts mail as soon as there is room for it.
    pub(crate) async fn insist(&self, session: SessionId, mail: Mail) {
        if let Err(refused) = self.try_post(session, Box::new(mail)) {
            self.wait_for_room(session, refused).await;
        }
    }

    async fn wait_for_room(&self, session: SessionId, mail: Box<Mail>) {
        let owner = self.lock().get(&session).cloned();
        let Some(owner) = owner else {
            let _ = self.try_post(session, mail);
            return;
        };
        if let Err(mpsc::error::SendError(mail)) = owner.send(mail).await {
            let _ = self.try_post(session, mail);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Mailbox>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
