//! Plays a history.
//!
//! Long because every kind of operation is played here, with what must hold after it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::agent::LimitsChange;
use tenure_core::command::{
    CallResult, Command, End, FailAttempt, FinishAttempt, FinishCall, Fork, Hold, NoteFiles, Recover, RemoveSnapshot,
    ReportSandbox, Resume, SandboxReport, Send, TakeSnapshot, Tick, Update, Withdraw,
};
use tenure_core::content::Block;
use tenure_core::decide::{Decision, Moment, decide};
use tenure_core::effect::{Effect, effects, outstanding};
use tenure_core::fact::{CallEnding, Fact, StoredFact};
use tenure_core::files::FilesWork;
use tenure_core::fork::{ForkKind, ForkedFrom};
use tenure_core::id::{AttemptId, Ids, ItemId, SandboxId, SessionId, SnapshotId};
use tenure_core::lifetime::next_due;
use tenure_core::model::{FailureKind, ModelStop, Reply, TokenUsage};
use tenure_core::past::{self, Past};
use tenure_core::phase::Phase;
use tenure_core::price::Budget;
use tenure_core::session::{Activity, Answer, Input, Keep, Outcome, Purpose, Sandbox};
use tenure_core::state::State;
use tenure_core::time::Timestamp;

use super::check::{self, Said};
use super::plan::{Op, Plan};
use super::request;
use super::world::World;
use crate::scene::{Scene, failure, instructions, message, past_of, steer, take_in};

/// How much was played.
pub(super) struct Played {
    pub(super) steps: u64,
    pub(super) facts: u64,
}

struct Play {
    scene: Scene,
    world: World,
    /// The clock on the wall, which may go back.
    now: Timestamp,
    said: Said,
    /// Outcomes that were brought, to be brought again.
    brought: Vec<Command>,
    /// Calls that have their result.
    answered: BTreeSet<ItemId>,
    /// Calls that were given up while they may have been running.
    given_up: BTreeSet<ItemId>,
    /// Whether somebody else uses the sandbox.
    in_use: bool,
    /// Whether to say what happens.
    aloud: bool,
    /// What the command that is being carried out goes back to.
    past: Option<Arc<Past>>,
    steps: u64,
}

pub(super) fn play(plan: &Plan, aloud: bool) -> Played {
    let mut scene = Scene::with_budget(plan.lifetimes, plan.budget);
    scene.policies(plan.retry, plan.context);
    let mut play = Play {
        now: scene.at,
        scene,
        world: World::default(),
        said: Said::default(),
        brought: Vec::new(),
        answered: BTreeSet::new(),
        given_up: BTreeSet::new(),
        in_use: false,
        aloud,
        past: None,
        steps: 0,
    };
    for op in &plan.ops {
        if aloud {
            println!("  {op:?}");
        }
        play.op(*op);
    }
    if aloud {
        println!("  a last restart, and everything is done");
    }
    play.restart(true, false, false);
    play.come_to_rest();
    play.is_what_its_log_says();
    play.can_be_kept();
    Played { steps: play.steps, facts: play.scene.log.len() as u64 }
}

impl Play {
    fn op(&mut self, op: Op) {
        match op {
            Op::Say(count) => {
                let inputs: Vec<_> = (0..count).map(|_| (self.item(), message("go on"))).collect();
                self.request(Send { inputs });
            }
            Op::Steer => {
                let inputs = vec![(self.item(), steer("rather so"))];
                self.request(Send { inputs });
            }
            Op::Instruct(which, how) => {
                let calls = &self.state().thread.calls;
                let call = calls.get(which % calls.len().max(1)).map_or(ItemId::from_bits(0xdead), |open| open.call);
                let first = match how % 5 {
                    0 => None,
                    1 | 2 => Some(message("go on")),
                    3 => Some(steer("rather so")),
                    _ => Some(Input::ClientResult { call, content: vec![Block::text("sunny")], is_error: false }),
                };
                let inputs = first.into_iter().chain([instructions()]).map(|input| (self.item(), input)).collect();
                self.request(Send { inputs });
            }
            Op::Interrupt => {
                let inputs = vec![(self.item(), Input::Interrupt { thread: None })];
                self.request(Send { inputs });
            }
            Op::Instead { interrupt_first } => {
                let mut inputs = vec![Input::Interrupt { thread: None }, message("instead")];
                if !interrupt_first {
                    inputs.reverse();
                }
                let inputs = inputs.into_iter().map(|input| (self.item(), input)).collect();
                self.request(Send { inputs });
            }
            Op::Answer(which, how) => self.answer(which, how),
            Op::Withdraw(which) => {
                let queue = &self.state().queue;
                let item =
                    queue.get(which % queue.len().max(1)).map_or(ItemId::from_bits(0xdead), |queued| queued.item);
                self.request(Withdraw { item });
            }
            Op::Update(how) => {
                let title = (how % 2 == 0).then(|| Some(format!("title {how}")));
                let tools = (how % 3 == 0).then(|| self.state().definition.agent.tools.clone());
                let labels = (how % 5 < 2).then(|| (0..how % 5).map(|at| format!("label{at}")).collect());
                let pids = (how % 7 < 2).then(|| (how % 7 == 0).then_some(100 + how as u32));
                let limits = LimitsChange { pids, ..LimitsChange::default() };
                self.request(Update { title, labels, tools, limits, ..Update::default() });
            }
            Op::Budget(how) => {
                let spent = self.state().list_cost(self.state().at).unwrap_or_default().cents();
                let budget = match how % 16 {
                    0 => None,
                    more => Some(Budget { max_list_cost_cents: spent + 2 * more as u64 }),
                };
                self.request(Update { budget: Some(budget), ..Update::default() });
            }
            Op::Hold => self.request(Hold {}),
            Op::Resume => self.request(Resume {}),
            Op::Name(which) => self.request(TakeSnapshot { name: format!("name{}", which % 3) }),
            Op::RemoveSnapshot(which) => {
                let kept = self.state().files.kept();
                let snapshot = kept.get(which % kept.len().max(1)).copied().unwrap_or(SnapshotId::from_bits(0xdead));
                self.request(RemoveSnapshot { snapshot });
            }
            Op::Rewind(which) => self.rewind(which),
            Op::Write => self.request(NoteFiles { over: false }),
            Op::Visit => {
                self.request(NoteFiles { over: self.in_use });
                self.in_use = !self.in_use;
            }
            Op::Fork(which) => self.fork(which),
            Op::End(how) => {
                let outcomes = [Outcome::Archived, Outcome::EndedByUser, Outcome::Completed];
                let keep = if how % 2 == 0 { Keep::Everything } else { Keep::Log };
                self.request(End { outcome: outcomes[how % 3], keep });
            }
            Op::Perform(which, how) => self.perform(which, how),
            Op::Repeat(which) => {
                if !self.brought.is_empty() {
                    let again = self.brought[which % self.brought.len()].clone();
                    self.changes_nothing(again);
                }
            }
            Op::Unheard(which) => self.changes_nothing(unheard(which)),
            Op::SandboxDies { noticed } => self.sandbox_dies(noticed),
            Op::Room => {
                if std::mem::take(&mut self.world.waits_for_room) {
                    self.room();
                }
            }
            Op::Later(secs) => {
                self.now = self.now.after(Duration::from_secs(secs));
                self.request(Tick {});
            }
            Op::ClockGoesBack(secs) => {
                self.now = Timestamp::from_micros((self.now.as_micros() - secs as i64 * 1_000_000).max(0));
                self.request(Tick {});
            }
            Op::Restart { clean, sandbox_dies, early } => self.restart(clean, sandbox_dies, early),
        }
    }

    /// A place that can be gone back to, and what the files were there.
    fn point(&self, which: usize) -> Option<(u64, Option<SnapshotId>)> {
        let named = self.state().files.snapshots.iter().filter(|kept| kept.name.is_some());
        let mut points: Vec<_> = named.map(|kept| (kept.point, Some(Some(kept.id)))).collect();
        points.extend(self.scene.turn_ends().into_iter().map(|end| (end, None)));
        let (at, snapshot) = points.get(which % points.len().max(1)).copied()?;
        Some((at, snapshot.or_else(|| self.scene.files_at(at))?))
    }

    fn rewind(&mut self, which: usize) {
        let Some((to, snapshot)) = self.point(which) else { return };
        let then = self.scene.as_of(to);
        let before = self.state().rewinds.len();
        let command = self.scene.rewind(to, snapshot);
        self.request(command);
        if self.state().rewinds.len() == before {
            return;
        }
        let now = self.state();
        if then.thread.calls.is_empty() && matches!(then.thread.activity, Activity::Idle { .. }) {
            assert_eq!(now.thread.transcript, then.thread.transcript, "another conversation than there was");
            assert_eq!((&now.first_line, now.messages), (&then.first_line, then.messages));
        }
        assert_eq!(now.thread.calls, [], "nothing is open");
        assert!(now.tokens.input >= then.tokens.input, "what was spent stays spent");
        let skipped = past::skipped(&now.rewinds, now.seq);
        let live: Vec<StoredFact> = self
            .scene
            .log
            .iter()
            .filter(|stored| !skipped.iter().any(|skipped| skipped.contains(stored.seq)))
            .cloned()
            .collect();
        assert!(
            live.iter().all(|stored| stored.seq <= to || stored.seq >= now.rewinds[before].place),
            "goes by the rest"
        );
        // Who wrote to the files, by what the snapshots hold, is who wrote to them then.
        if let Some(FilesWork::Rewind { snapshot: Some(snapshot), .. }) = &now.files.work
            && let Some(held) = self.world.snapshots.get(snapshot)
            && then.thread.calls.is_empty()
        {
            let called: BTreeSet<ItemId> = past_calls(&self.scene.log, to);
            assert!(held.iter().all(|call| called.contains(call)), "the files hold what wasn't written yet");
        }
    }

    /// The copy is what the session was, but for what is said of copies.
    fn fork(&mut self, which: usize) {
        let Some((at, snapshot)) = self.point(which) else { return };
        let then = self.scene.as_of(at);
        let session = SessionId::from_bits(0x77);
        let from = ForkedFrom { session: self.state().session, at, what: ForkKind::Fork, snapshot };
        let kept = self.state().files.kept();
        let earlier: Vec<SnapshotId> = then.files.kept().into_iter().filter(|id| kept.contains(id)).collect();
        let title = Some("copy".to_owned());
        let mut copy = State { session, ..then.clone() };
        let moment = Moment { at: self.now, ids: Ids::Counting(1 << 100), in_use: false };
        let fork = Fork { from, name: None, earlier, title };
        let decision = decide(&copy, fork.into(), moment);
        assert_eq!(decision.refusal, None);
        let mut log: Vec<StoredFact> = self.scene.log.iter().take_while(|stored| stored.seq <= at).cloned().collect();
        log.iter_mut().for_each(|stored| stored.session = session);
        log.extend(decision.facts.iter().cloned());
        decision.facts.iter().for_each(|stored| copy.evolve(stored));
        assert_eq!(State::replay(&log).as_ref(), Some(&copy), "the copy's log says otherwise");
        assert_eq!(copy.phase(), Phase::Idle, "it starts idle");
        assert_eq!(outstanding(&copy), [], "nothing is to be done for it");
        assert_eq!((copy.queue.len(), copy.tokens, copy.active_ms(copy.at)), (0, TokenUsage::default(), 0));
        assert_eq!((copy.files.current, copy.files.changed), (snapshot, false));
        if then.thread.calls.is_empty() && matches!(then.thread.activity, Activity::Idle { .. }) {
            assert_eq!(copy.thread.transcript, then.thread.transcript, "another conversation");
            assert_eq!(decision.facts.len(), 1, "nothing had to be closed");
        }
        assert_eq!(copy.definition, then.definition);
    }

    fn state(&self) -> &State {
        &self.scene.state
    }

    fn item(&mut self) -> ItemId {
        self.scene.next_id += 1;
        ItemId::from_bits(self.scene.next_id << 32)
    }

    /// A command of somebody's. Refused, it changes nothing but what was due.
    fn request(&mut self, command: impl Into<Command>) {
        let command = command.into();
        let decision = self.decide(command.clone());
        if let Some(refusal) = &decision.refusal {
            assert_eq!(decision.facts, self.decide(Tick {}.into()).facts, "refused, and yet: {refusal}");
        }
        self.past = past_of(&command);
        self.commit(decision, false);
        self.past = None;
    }

    /// The outcome of something the session wanted done.
    fn bring(&mut self, command: Command) {
        let decision = self.decide(command.clone());
        assert_eq!(decision.refusal, None, "outcomes are never refused: {command:?}");
        if let Command::FinishAttempt(finish) = &command
            && self.scene.attempt() == finish.attempt
        {
            let is_reply = matches!(self.state().thread.activity, Activity::Asking { attempt } if attempt.purpose == Purpose::Reply);
            self.world.paused = if is_reply { finish.reply.stop == ModelStop::Pause } else { self.world.paused };
        }
        self.commit(decision, false);
        let tokenless = matches!(
            command,
            Command::ReportSandbox(ReportSandbox { report: SandboxReport::Room | SandboxReport::FilesRemoved, .. })
        );
        if !tokenless {
            self.brought.push(command);
        }
    }

    /// An outcome that comes too late, or again.
    fn changes_nothing(&mut self, command: Command) {
        let decision = self.decide(command.clone());
        assert_eq!(decision.facts, self.decide(Tick {}.into()).facts, "too late, and yet: {command:?}");
        self.commit(decision, false);
    }

    fn decide(&self, command: Command) -> Decision {
        let ids = Ids::Counting((self.scene.next_id + 1) << 64);
        decide(self.state(), command, Moment { at: self.now, ids, in_use: self.in_use })
    }

    fn commit(&mut self, decision: Decision, recovering: bool) {
        self.steps += 1;
        self.scene.next_id += 1;
        check::order(self.state(), &decision);
        if self.in_use {
            check::is_not_taken_for_idle(&decision);
        }
        let mut answering = None;
        let before = self.state().clone();
        for stored in &decision.facts {
            if self.aloud {
                println!("    {} {}", stored.seq, stored.fact.kind());
            }
            let running = self.world.running().collect::<BTreeSet<_>>();
            let tokens = self.state().thread.transcript.tokens();
            take_in(&mut self.scene.state, stored, self.past.as_deref());
            if let Fact::SessionUpdated { limits: Some(limits), .. } = &*stored.fact {
                assert_eq!(self.state().definition.environment.limits, *limits, "the next sandbox has others");
            }
            if let Fact::ConversationCompacted { summary: None, .. } = &*stored.fact {
                assert!(self.state().thread.transcript.tokens() < tokens, "nothing was left out");
            }
            self.scene.log.push(stored.clone());
            self.said.note(&stored.fact);
            match &*stored.fact {
                Fact::AttemptStarted { .. } => {
                    request::is_valid(&self.scene.state, self.world.paused);
                    check::nothing_steers_in_vain(&self.scene.state);
                    check::counts_its_conversation(&self.scene.state);
                    check::is_within_budget(&self.scene.state);
                }
                Fact::CallStarted { call } => {
                    check::runs_rightly(&self.scene.state, *call);
                    check::files_are_left_alone(&self.scene.state, *call);
                }
                Fact::SessionUpdated { budget: Some(_), .. } => {
                    let goes_on =
                        decision.facts.iter().any(|stored| matches!(&*stored.fact, Fact::ThreadRunning { .. }));
                    assert!(goes_on || !before.budget_reached(), "another budget, and the turn doesn't go on");
                }
                Fact::CallEnded { call, ending, .. } => {
                    assert!(self.answered.insert(*call), "a second result");
                    if *ending == CallEnding::Lost && running.contains(call) {
                        self.given_up.insert(*call);
                    }
                }
                // What got its result since then is without one again.
                Fact::SessionRewound { to, .. } => {
                    self.answered = answered(&self.scene.log, *to, &self.state().rewinds)
                }
                Fact::InputQueued { input: Input::Message { .. }, .. } => check::nothing_is_asked(&self.scene.state),
                Fact::InputProcessed { input: Input::Answer { call, .. }, .. } => {
                    assert!(self.state().call(*call).is_some(), "an answer to no question");
                    answering = Some(*call);
                }
                Fact::InputProcessed { input: Input::ClientResult { call, .. }, .. } => {
                    assert!(answering.take().is_none_or(|answered| answered == *call), "another call's result");
                    assert!(self.answered.insert(*call), "a second result");
                }
                _ => {}
            }
            if !recovering {
                for effect in effects(&self.scene.state, &stored.fact) {
                    self.world.order(effect, false);
                }
            }
        }
        assert_eq!(answering, None, "an answer is its call's result");
        if matches!(self.state().sandbox, Sandbox::Absent { .. } | Sandbox::Starting { .. }) {
            // Whoever waits for a call in the last sandbox gives up; the next one is asked anew.
            self.world.pending.retain(|effect| !matches!(effect, Effect::RunCall { .. }));
        }
        self.said.is_true(self.state());
        check::no_instructions_wait_alone(self.state());
        if !recovering {
            check::is_not_stuck(self.state(), &self.world);
        }
    }

    fn answer(&mut self, which: usize, how: usize) {
        let calls = &self.state().thread.calls;
        let call = calls.get(which % calls.len().max(1)).map_or(ItemId::from_bits(0xdead), |open| open.call);
        let input = match how % 4 {
            0 => Input::Confirmation { call, answer: Answer::Allow },
            1 => Input::Confirmation { call, answer: Answer::Deny { message: None } },
            _ => Input::ClientResult { call, content: vec![Block::text("sunny")], is_error: false },
        };
        let inputs = vec![(self.item(), input)];
        self.request(Send { inputs });
    }

    fn perform(&mut self, which: usize, how: usize) {
        if let Some(outcome) = self.world.perform(which, how) {
            self.bring(outcome);
        }
    }

    fn sandbox_dies(&mut self, noticed: bool) {
        if !self.world.sandbox_alive {
            return;
        }
        self.world.sandbox_dies();
        if noticed {
            let report = SandboxReport::Lost { reason: "killed".into() };
            self.bring(ReportSandbox { sandbox: self.scene.sandbox(), report }.into());
        }
    }

    fn room(&mut self) {
        self.bring(ReportSandbox { sandbox: SandboxId::from_bits(0), report: SandboxReport::Room }.into());
    }

    fn restart(&mut self, clean: bool, sandbox_dies: bool, early: bool) {
        self.is_what_its_log_says();
        self.world.server_dies();
        self.in_use = false;
        if sandbox_dies {
            self.world.sandbox_dies();
        }
        let row = self.state().summary();
        if !row.unsettled && !row.has_sandbox() {
            assert_eq!(outstanding(self.state()), [], "nobody would look after it");
            return;
        }
        if early {
            // A request finds it before recovery does: what that sets off is in hand, and nothing else is.
            let decision = self.decide(
                Send { inputs: vec![(ItemId::from_bits(self.scene.next_id << 32), message("you there?"))] }.into(),
            );
            self.commit(decision.clone(), true);
            let state = self.state().clone();
            let wanted: Vec<Effect> = decision.facts.iter().flat_map(|stored| effects(&state, &stored.fact)).collect();
            wanted.into_iter().for_each(|effect| self.world.order(effect, true));
        }
        let in_flight = match self.state().thread.activity {
            Activity::Asking { attempt } => Some(attempt.id),
            _ => None,
        };
        let in_flight =
            in_flight.filter(|attempt| self.world.pending.contains(&Effect::CallModel { attempt: *attempt }));
        let hosted = self.world.hosted();
        let sandbox_alive = self.world.sandbox_alive;
        let decision = self.decide(Recover { sandbox_alive, ended_cleanly: clean, in_flight, hosted }.into());
        self.commit(decision, true);
        outstanding(self.state()).into_iter().for_each(|effect| self.world.order(effect, true));
        check::is_not_stuck(self.state(), &self.world);
    }

    /// Everything wanted is done, with good outcomes: the session comes to rest, and nothing of it is left running.
    fn come_to_rest(&mut self) {
        for _ in 0..400 {
            if !self.world.pending.is_empty() {
                // 5 is a reply, a success, a sandbox that starts.
                self.perform(0, 5);
            } else if std::mem::take(&mut self.world.waits_for_room) {
                self.room();
            } else if check::is_under_way(self.state().phase()) {
                let due = next_due(self.state()).expect("it isn't stuck");
                self.now = self.now.max(due);
                self.bring(Tick {}.into());
            } else {
                let left: Vec<ItemId> = self.world.running().filter(|call| !self.given_up.contains(call)).collect();
                assert_eq!(left, [], "these calls run on, and nobody knows");
                return;
            }
        }
        panic!("it doesn't come to rest: {}", self.state().phase().name());
    }

    fn is_what_its_log_says(&self) {
        assert_eq!(State::replay(&self.scene.log).as_ref(), Some(self.state()), "the log says otherwise");
    }

    fn can_be_kept(&self) {
        let text = serde_json::to_string(self.state()).expect("the state is JSON");
        assert_eq!(&serde_json::from_str::<State>(&text).expect("and reads back"), self.state());
    }
}

/// The calls that had their result at a place of the log.
fn answered(log: &[StoredFact], to: u64, rewinds: &[past::Rewind]) -> BTreeSet<ItemId> {
    let skipped = past::skipped(rewinds, to);
    let counts = |stored: &&StoredFact| !skipped.iter().any(|skipped| skipped.contains(stored.seq));
    let result = |stored: &StoredFact| match &*stored.fact {
        Fact::CallEnded { call, .. } | Fact::InputProcessed { input: Input::ClientResult { call, .. }, .. } => {
            Some(*call)
        }
        _ => None,
    };
    log.iter().take_while(|stored| stored.seq <= to).filter(counts).filter_map(result).collect()
}

/// The calls that had been asked for at a place of the log, in any of its pasts.
fn past_calls(log: &[StoredFact], to: u64) -> BTreeSet<ItemId> {
    let asked = |stored: &StoredFact| match &*stored.fact {
        Fact::CallRequested { item, .. } => Some(*item),
        _ => None,
    };
    log.iter().take_while(|stored| stored.seq <= to).filter_map(asked).collect()
}

fn unheard(which: usize) -> Command {
    let (attempt, call, sandbox) = (AttemptId::from_bits(0xbad), ItemId::from_bits(0xbad), SandboxId::from_bits(0xbad));
    match which % 5 {
        0 => {
            let reply = Reply { parts: Vec::new(), stop: ModelStop::EndTurn, usage: TokenUsage::default() };
            FinishAttempt { attempt, reply, previewed: Vec::new() }.into()
        }
        1 => FailAttempt { attempt, failure: failure(FailureKind::Overloaded), answered: false }.into(),
        2 => FinishCall { call, result: CallResult::Cancelled }.into(),
        3 => ReportSandbox { sandbox, report: SandboxReport::Lost { reason: "killed".into() } }.into(),
        _ => ReportSandbox { sandbox, report: SandboxReport::Stopped }.into(),
    }
}
