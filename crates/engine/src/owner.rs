//! One owner per awake session: it alone holds the state, decides, stores, and starts what the facts ask for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tenure_core::command::{Command, Recover, ReportSandbox, SandboxReport};
use tenure_core::decide::{Decision, Moment, Refusal, decide};
use tenure_core::effect::{Effect, effects, outstanding};
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::id::{AttemptId, ItemId, TenantId};
use tenure_core::past::Past;
use tenure_core::phase::Fold;
use tenure_core::session::{Absent, Activity, Attempt, Purpose, Sandbox};
use tenure_core::state::State;
use tenure_core::time::Timestamp;
use tenure_store::{Append, AppendError, FeedKind};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::counted;
use crate::directory::Mail;
use crate::engine::Shared;
use crate::error::Error;
use crate::failpoint;
use crate::live::Channel;
use crate::traced;
use crate::view::{Done, Keyed, SessionView};

mod call;
mod files;
mod hosted;
pub(crate) mod life;
pub(crate) mod load;
mod model;
mod result;
mod trouble;

pub(crate) use load::FORMAT as STATE_FORMAT;

/// What a command did.
#[derive(Debug, Clone)]
pub(crate) struct Executed {
    /// The facts it led to, what was due by itself included.
    pub(crate) facts: Vec<StoredFact>,
    /// The session afterwards.
    pub(crate) view: SessionView,
}

/// An awake session.
pub(crate) struct Owner<'m> {
    shared: Arc<Shared>,
    state: State,
    mailbox: &'m mut mpsc::Receiver<Box<Mail>>,
    /// Mail that waits while something else is being stored; it comes before the mailbox.
    aside: VecDeque<Box<Mail>>,
    channel: Arc<Channel>,
    /// The place up to which the kept state is good.
    saved_seq: u64,
    attempts: HashMap<AttemptId, InFlight>,
    calls: HashMap<ItemId, call::Running>,
    /// Calls that the server itself runs.
    hosted: HashMap<ItemId, InFlight>,
    ending: Vec<tokio::task::JoinHandle<()>>,
    /// For traces.
    turn: traced::Turn,
}

/// Whether the owner goes on.
#[must_use]
enum Next {
    GoOn,
    LetGo,
}

/// A model request in flight, or a call that the server itself runs. It ends with its owner, who alone would take its
/// outcome.
#[derive(Debug)]
struct InFlight(AbortHandle);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<'m> Owner<'m> {
    fn new(shared: Arc<Shared>, mut state: State, saved_seq: u64, mailbox: &'m mut mpsc::Receiver<Box<Mail>>) -> Self {
        state.definition = shared.definitions.share(state.definition);
        let channel = shared.channels.of(state.session);
        let (attempts, calls, hosted) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (ending, turn) = (Vec::new(), traced::Turn::none());
        let aside = VecDeque::new();
        Self { shared, state, mailbox, aside, channel, saved_seq, attempts, calls, hosted, ending, turn }
    }

    async fn run(&mut self) {
        let linger = self.shared.config.awake_linger;
        loop {
            let mail = match self.aside.pop_front() {
                Some(mail) => Ok(Some(mail)),
                None => tokio::time::timeout(linger, self.mailbox.recv()).await,
            };
            let next = match mail {
                // Boxed, so that an owner with nothing to do holds no room for doing it.
                Ok(Some(mail)) => Box::pin(self.serve(*mail)).await,
                Ok(None) => Next::LetGo,
                Err(_) if self.is_quiet() => Next::LetGo,
                Err(_) => Next::GoOn,
            };
            match next {
                Next::GoOn => {}
                Next::LetGo if self.shared.directory.leave(self.state.session, self.mailbox) => break,
                Next::LetGo => {}
            }
        }
        Box::pin(self.sleep()).await;
    }

    async fn serve(&mut self, mail: Mail) -> Next {
        match mail {
            Mail::Request { .. } | Mail::Look { .. } | Mail::Delete { .. } => self.answer(mail).await,
            Mail::Outcome(command, from) => {
                let from = self.turn.cause(&command, from);
                let span = traced::command(&from, self.state.session, &command);
                drop(from);
                self.take_outcome(command).instrument(span).await
            }
            Mail::Recover { sandbox_alive, ended_cleanly, turn: _turn } => {
                let span = traced::recovery(self.state.session);
                self.recover(sandbox_alive, ended_cleanly).instrument(span).await
            }
        }
    }

    /// Carries out what somebody waits for.
    async fn answer(&mut self, mail: Mail) -> Next {
        match mail {
            Mail::Request { tenant, reply, .. } if !self.belongs_to(tenant) => {
                let _ = reply.send(Err(Error::not_found("session", self.state.session.prefixed())));
                Next::GoOn
            }
            Mail::Request { command, keyed, reply, from, .. } => {
                let span = traced::command(&from, self.state.session, &command);
                drop(from);
                let answer = self.request(command, keyed).instrument(span).await;
                let gone = matches!(answer, Err(Error::NotFound { .. }));
                let _ = reply.send(answer);
                if gone { Next::LetGo } else { Next::GoOn }
            }
            Mail::Look { tenant, reply } => {
                let seen = match self.belongs_to(tenant) {
                    true => Ok(Box::new(self.state.clone())),
                    false => Err(Error::not_found("session", self.state.session.prefixed())),
                };
                let _ = reply.send(seen);
                Next::GoOn
            }
            Mail::Delete { tenant, reply } if !self.belongs_to(tenant) => {
                let _ = reply.send(Err(Error::not_found("session", self.state.session.prefixed())));
                Next::GoOn
            }
            Mail::Delete { reply, .. } => {
                let answer = self.delete().await;
                let deleted = answer.is_ok();
                let _ = reply.send(answer);
                if deleted { Next::LetGo } else { Next::GoOn }
            }
            // It waits for nobody's answer.
            Mail::Outcome(..) | Mail::Recover { .. } => Next::GoOn,
        }
    }

    async fn request(&mut self, command: Command, keyed: Option<Keyed>) -> Result<Executed, Error> {
        let kind = command.name();
        let (executed, wanted) = self.commit(command, keyed).await?;
        failpoint::hit_for("input_committed", kind);
        self.carry_out(wanted, Origin::Now);
        Ok(executed)
    }

    /// To another tenant than its own, the session doesn't exist.
    fn belongs_to(&self, tenant: TenantId) -> bool {
        self.state.definition.tenant == tenant
    }

    /// Takes in the outcome of an effect. Room for a sandbox that this session doesn't want any more goes to the next.
    async fn take_outcome(&mut self, command: Command) -> Next {
        let about_room = is_about_room(&command);
        let next = self.store_outcome(command).await;
        if about_room && !self.waits_for_room() {
            self.shared.sandboxes.give_up(&self.shared.directory, self.state.session);
        }
        next
    }

    /// Whether it waits for room for a sandbox, or is just taking it.
    fn waits_for_room(&self) -> bool {
        matches!(self.state.sandbox, Sandbox::Starting { .. } | Sandbox::Absent { why: Absent::Queued })
    }

    /// Stores the outcome of an effect; it is tried until the store takes it, since nobody else would try again. What an
    /// engine that ends can't store is found out anew by the next one.
    async fn store_outcome(&mut self, command: Command) -> Next {
        let kind = command.name();
        failpoint::hit_for("before_result_commit", kind);
        let mut backoff = Backoff::default();
        loop {
            match self.commit(command.clone(), None).await {
                Ok((_, wanted)) => {
                    failpoint::hit_for("after_result_commit", kind);
                    self.carry_out(wanted, Origin::Now);
                    return Next::GoOn;
                }
                Err(Error::NotFound { .. }) => return Next::LetGo,
                Err(Error::Refused(_)) => return Next::GoOn,
                Err(error) => {
                    tracing::warn!(session = %self.state.session, error = &error as &dyn std::error::Error, "outcome not stored yet");
                    if let Some(next) = self.wait_for_the_store(&mut backoff).await {
                        return next;
                    }
                }
            }
        }
    }

    /// Takes up what a dead server left behind.
    async fn recover(&mut self, sandbox_alive: bool, ended_cleanly: bool) -> Next {
        let mut backoff = Backoff::default();
        metrics::counter!("tenure_recovered_sessions_total").increment(1);
        let sandbox_alive = loop {
            // Where it is known alive from may be older than what this server has started.
            let sandbox_alive = sandbox_alive || self.shared.sandboxes.handle(self.state.session).is_some();
            let in_flight = self.asking().filter(|attempt| self.attempts.contains_key(attempt));
            let hosted = self.hosted.keys().copied().collect();
            match self.commit(Recover { sandbox_alive, ended_cleanly, in_flight, hosted }.into(), None).await {
                Ok(_) | Err(Error::Refused(_)) => break sandbox_alive,
                Err(Error::NotFound { .. }) => return Next::LetGo,
                Err(error) => {
                    tracing::warn!(session = %self.state.session, error = &error as &dyn std::error::Error, "not recovered yet");
                    if let Some(next) = self.wait_for_the_store(&mut backoff).await {
                        return next;
                    }
                }
            }
        };
        self.carry_out(outstanding(&self.state), Origin::Restart);
        let waits = matches!(self.state.thread.activity, Activity::Rescheduling { .. });
        if sandbox_alive && !waits && matches!(self.state.sandbox, Sandbox::Running { .. }) {
            self.reattach();
        }
        Next::GoOn
    }

    /// The model request that the state says is in flight.
    fn asking(&self) -> Option<AttemptId> {
        self.in_flight().map(|attempt| attempt.id)
    }

    /// What the next request to the model is made for.
    fn purpose(&self) -> Purpose {
        self.in_flight().map(|attempt| attempt.purpose).unwrap_or_default()
    }

    fn in_flight(&self) -> Option<Attempt> {
        match self.state.thread.activity {
            Activity::Asking { attempt } => Some(attempt),
            Activity::Idle { .. } | Activity::Calling | Activity::Waiting { .. } | Activity::Rescheduling { .. } => {
                None
            }
        }
    }

    async fn delete(&mut self) -> Result<(), Error> {
        match self.state.fold() {
            Fold::Working | Fold::Rescheduling => return Err(Refusal::Busy.into()),
            Fold::Waiting | Fold::Idle => {}
        }
        let existed = self.shared.store.delete_session(self.state.session).await?;
        if existed { Ok(()) } else { Err(Error::not_found("session", self.state.session.prefixed())) }
    }

    /// Decides and stores. What is to be done comes back, and isn't done yet.
    async fn commit(&mut self, command: Command, keyed: Option<Keyed>) -> Result<(Executed, Vec<Effect>), Error> {
        loop {
            let in_use = self.shared.sandboxes.in_use(self.state.session);
            let moment = Moment { in_use, ..self.shared.clock.moment() };
            let now = moment.at;
            let items = sent_items(&command);
            let Decision { facts, refusal } = decide(&self.state, command.clone(), moment);
            if facts.is_empty() {
                return match refusal {
                    Some(refusal) => Err(refusal.into()),
                    None => Ok((Executed { facts, view: self.keep(keyed).await? }, Vec::new())),
                };
            }
            let (next, wanted) = self.after(&facts, past_of(&command));
            let view = self.view_of(&next, now);
            let keyed = keyed.as_ref().filter(|_| refusal.is_none());
            let answer = keyed.map(|keyed| {
                let done = match &items {
                    Some(items) => Done::Events(receipts(items, &facts)),
                    None => Done::Session(view.clone()),
                };
                keyed.record(next.definition.tenant, &done, now)
            });
            let append = self.append(&facts, &next, &view, answer);
            match self.shared.store.append(append).instrument(traced::append(facts.len())).await {
                Ok(()) => {
                    counted::stored(&facts);
                    self.shared.timers.note(view.summary.wake_at);
                    let waited = self.waits_for_room();
                    let rewound = next.rewinds.len() > self.state.rewinds.len();
                    self.state = next;
                    if rewound {
                        // From what was kept before, the log can't be read on.
                        self.saved_seq = 0;
                    }
                    if waited && !self.waits_for_room() {
                        self.shared.sandboxes.give_up(&self.shared.directory, self.state.session);
                    }
                    self.keep_now_and_then();
                    return match refusal {
                        None => Ok((Executed { facts, view }, wanted)),
                        Some(refusal) => {
                            self.carry_out(wanted, Origin::Now);
                            Err(refusal.into())
                        }
                    };
                }
                Err(AppendError::Conflict { actual }) => {
                    tracing::error!(session = %self.state.session, actual, expected = self.state.seq, "somebody else wrote to the log");
                    self.reload().await?;
                }
                Err(AppendError::Gone) => return Err(Error::not_found("session", self.state.session.prefixed())),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Keeps the answer to a request that changed nothing: a repetition mustn't change anything either.
    async fn keep(&self, keyed: Option<Keyed>) -> Result<SessionView, Error> {
        let view = self.view();
        if let Some(keyed) = keyed {
            let answer = keyed.record(self.state.definition.tenant, &Done::Session(view.clone()), view.now);
            let kept = self.shared.store.keep_answer(answer, Some(self.state.session)).await;
            kept.map_err(|error| Error::of_resource(error, "session", "id", &self.state.session.prefixed()))?;
        }
        Ok(view)
    }

    /// The state after these facts, and what they ask for.
    fn after(&self, facts: &[StoredFact], past: Option<&Past>) -> (State, Vec<Effect>) {
        let mut next = self.state.clone();
        let mut wanted = Vec::new();
        for stored in facts {
            next.evolve(stored);
            if let (Fact::SessionRewound { .. }, Some(past)) = (&*stored.fact, past) {
                next.go_back(past);
            }
            wanted.extend(effects(&next, &stored.fact));
        }
        (next, wanted)
    }

    fn append(
        &self,
        facts: &[StoredFact],
        next: &State,
        view: &SessionView,
        answer: Option<tenure_store::IdempotencyRecord>,
    ) -> Append {
        let phase = next.phase();
        let redefined = !Arc::ptr_eq(&self.state.definition, &next.definition);
        Append {
            session: next.session,
            expected_seq: self.state.seq,
            facts: facts.to_vec(),
            summary: view.summary.clone(),
            definition: redefined.then(|| next.definition.clone()),
            feed: if phase == self.state.phase() { Vec::new() } else { vec![FeedKind::PhaseChanged { phase }] },
            answer,
        }
    }

    /// Starts everything on the list. Nothing here waits.
    fn carry_out(&mut self, wanted: Vec<Effect>, origin: Origin) {
        self.turn.follow(&self.state);
        // While the engine ends, what is asked for stays outstanding.
        let wanted = if self.shared.draining.is_cancelled() { Vec::new() } else { wanted };
        for effect in wanted {
            let kind = effect.name();
            failpoint::hit_for("before_dispatch", kind);
            match effect {
                Effect::CallModel { attempt } => self.call_model(attempt),
                Effect::CancelModel { attempt } => self.cancel_model(attempt),
                Effect::RunCall { call } => self.run_call(call, origin),
                Effect::CancelCall { call } => self.cancel_call(call),
                Effect::RunHostedCall { call } => self.run_hosted_call(call),
                Effect::EndHostedCall { call } => self.end_hosted_call(call),
                Effect::StartSandbox { sandbox } => self.start_sandbox(sandbox),
                Effect::StopSandbox { sandbox, grace } => self.stop_sandbox(sandbox, grace),
                Effect::RemoveFiles => self.remove_files(),
                Effect::TakeSnapshot { snapshot, most_copied } => self.take_snapshot(snapshot, most_copied),
                Effect::RewindFiles { place, snapshot } => self.rewind_files(place, snapshot),
                Effect::KeepSnapshots { keep } => self.keep_snapshots(keep),
            }
            failpoint::hit_for("after_dispatch", kind);
        }
        self.forget_what_is_over();
    }

    /// Drops what belongs to attempts and calls that the state says are over.
    fn forget_what_is_over(&mut self) {
        let current = self.asking();
        let channel = &self.channel;
        self.attempts.retain(|attempt, _| {
            let keep = current == Some(*attempt);
            if !keep {
                channel.finish(*attempt);
            }
            keep
        });
        let state = &self.state;
        self.hosted.retain(|call, _| state.call(*call).is_some());
        self.forget_calls();
    }

    fn is_quiet(&self) -> bool {
        let nothing_runs = self.attempts.is_empty() && self.calls.is_empty() && self.hosted.is_empty();
        self.aside.is_empty() && nothing_runs && self.state.fold() != Fold::Working
    }

    fn view(&self) -> SessionView {
        self.view_of(&self.state, self.shared.clock.now())
    }

    fn view_of(&self, state: &State, now: Timestamp) -> SessionView {
        let generation = self.shared.store.generation();
        SessionView { summary: state.summary(), definition: state.definition.clone(), now, generation, preparing: None }
    }
}

/// Whether an effect follows from a decision just made, or is taken up after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Now,
    Restart,
}

/// Whether it tells of waiting for a sandbox, or of room for it.
pub(crate) fn is_about_room(command: &Command) -> bool {
    matches!(command, Command::ReportSandbox(ReportSandbox { report: SandboxReport::Room | SandboxReport::Queued, .. }))
}

/// What a command goes back to, if it does.
fn past_of(command: &Command) -> Option<&Past> {
    match command {
        Command::Rewind(rewind) => Some(&rewind.past),
        _ => None,
    }
}

fn sent_items(command: &Command) -> Option<Vec<ItemId>> {
    match command {
        Command::Send(send) => Some(send.inputs.iter().map(|(item, _)| *item).collect()),
        _ => None,
    }
}

/// For each item, the last of these facts that shows it.
pub(crate) fn receipts(items: &[ItemId], facts: &[StoredFact]) -> Vec<StoredFact> {
    let shows = |item: ItemId| {
        facts.iter().rev().find(move |stored| match &*stored.fact {
            Fact::InputQueued { item: shown, .. } | Fact::InputProcessed { item: shown, .. } => *shown == item,
            _ => false,
        })
    };
    items.iter().filter_map(|item| shows(*item)).cloned().collect()
}
