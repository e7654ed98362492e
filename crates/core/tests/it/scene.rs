//! The named states that fixtures start from, the named commands they try, and a printer for what follows.
//!
//! Long because it is a list of states and a list of commands, and each has to be written down.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenure_core::agent::{
    Agent, Environment, Limits, LimitsChange, NamedPolicy, Permission, Place, ToolConfig, ToolPolicy,
};
use tenure_core::command::create::{Create, create};
use tenure_core::command::{
    CallResult, Command, End, FailAttempt, FilesReport, FinishAttempt, FinishCall, Fork, Hold, NoteFiles, Recover,
    RemoveSnapshot, ReportFiles, ReportSandbox, Resume, Rewind, SandboxReport, Send, TakeSnapshot, Tick, Update,
    Withdraw,
};
use tenure_core::content::Block;
use tenure_core::decide::{Decision, Moment, decide};
use tenure_core::effect::{Effect, effects};
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::files::{FilesWork, SnapshotEnding};
use tenure_core::fork::{ForkKind, ForkedFrom};
use tenure_core::id::{AgentId, AttemptId, EnvironmentId, Ids, ItemId, SandboxId, SessionId, SnapshotId, TenantId};
use tenure_core::model::{Failure, FailureKind, ModelConfig, ModelStop, Reply, ReplyPart, TokenUsage};
use tenure_core::packages::Packages;
use tenure_core::past::Past;
use tenure_core::phase::Fold;
use tenure_core::price::{Budget, ModelFacts, Price, TokenPrices, Usd};
use tenure_core::root::Root;
use tenure_core::session::{
    Activity, Answer, CallProgress, ContextPolicy, Definition, Delivery, IdleRule, IdleThen, Input, Keep, Labels,
    Lifetimes, Metadata, Outcome, RetryPolicy, Sandbox, StopReason,
};
use tenure_core::state::State;
use tenure_core::time::Timestamp;

/// A session played by hand.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) state: State,
    pub(crate) log: Vec<StoredFact>,
    pub(crate) at: Timestamp,
    pub(crate) next_id: u128,
    /// Whether somebody else uses its sandbox.
    pub(crate) in_use: bool,
}

impl Scene {
    pub(crate) fn open(lifetimes: Lifetimes) -> Self {
        Self::with_budget(lifetimes, None)
    }

    /// One whose model has a price: a fifth of a cent for a token of output, a thousandth of a cent for any other. Two cents
    /// are reserved for the tools of the first request, and a reply takes one.
    pub(crate) fn with_budget(lifetimes: Lifetimes, cents: Option<u64>) -> Self {
        let (input, output) = (Usd::from_cents(1).nanos() / 1_000, Usd::from_cents(1).nanos() / 5);
        let tokens = TokenPrices { input, output, cache_read: input, cache_write_5m: input, cache_write_1h: input };
        let price = cents.map(|_| Price { tokens, long: None, running_hour: Usd::ZERO });
        let budget = cents.map(|max_list_cost_cents| Budget { max_list_cost_cents });
        let agent = Agent {
            id: AgentId::from_bits(0xa),
            version: 1,
            name: "helper".into(),
            description: None,
            model: ModelConfig::named("script/demo"),
            system: None,
            tools: vec![
                ToolConfig::Builtin {
                    default: ToolPolicy { enabled: true, permission: Permission::AlwaysAllow },
                    configs: vec![
                        NamedPolicy {
                            name: "write".into(),
                            policy: ToolPolicy { enabled: true, permission: Permission::AlwaysAsk },
                            web_fetch: None,
                        },
                        NamedPolicy {
                            name: "grep".into(),
                            policy: ToolPolicy { enabled: false, permission: Permission::AlwaysAllow },
                            web_fetch: None,
                        },
                        NamedPolicy {
                            name: "ask".into(),
                            policy: ToolPolicy { enabled: true, permission: Permission::AlwaysAllow },
                            web_fetch: None,
                        },
                    ],
                },
                ToolConfig::Custom {
                    name: "weather".into(),
                    description: "tells the weather".into(),
                    input_schema: json!({"type": "object"}),
                },
            ],
        };
        let definition = Definition {
            tenant: TenantId::from_bits(0x7),
            agent: Arc::new(agent),
            environment: Environment {
                id: EnvironmentId::from_bits(0xe),
                limits: Limits::default(),
                root: Root::Host,
                packages: Packages::default(),
            },
            lifetimes,
            retry: RetryPolicy { retries: 2, base: Duration::from_secs(30), ..RetryPolicy::default() },
            model_facts: ModelFacts { context_window: None, price },
            context: ContextPolicy::default(),
        };
        let at = Timestamp::from_micros(1_000_000);
        let command = Create {
            session: SessionId::from_bits(0x5),
            definition: Arc::new(definition),
            title: None,
            metadata: Metadata::new(),
            labels: Labels::new(),
            budget,
        };
        let first = create(command, Moment { at, ids: Ids::Counting(0x100), in_use: false });
        let state = State::open(&first).expect("the first fact creates the session");
        Self { state, log: vec![first], at, next_id: 0x100, in_use: false }
    }

    /// Has it be created with another way of trying failed requests again, and another window.
    pub(crate) fn policies(&mut self, retry: RetryPolicy, context: ContextPolicy) {
        let definition = Definition { retry, context, ..Definition::clone(&self.state.definition) };
        let command = Create {
            session: self.state.session,
            definition: Arc::new(definition),
            title: None,
            metadata: Metadata::new(),
            labels: Labels::new(),
            budget: self.state.budget,
        };
        let first = create(command, Moment { at: self.at, ids: Ids::Counting(0x100), in_use: false });
        self.state = State::open(&first).expect("the first fact creates the session");
        self.log = vec![first];
    }

    /// Decides and takes in what follows. Time moves on by a second first.
    pub(crate) fn play(&mut self, command: impl Into<Command>) -> (Decision, Vec<Effect>) {
        self.at = self.at.after(Duration::from_secs(1));
        self.next_id += 0x100;
        let moment = Moment { at: self.at, ids: Ids::Counting(self.next_id), in_use: self.in_use };
        let command = command.into();
        let past = past_of(&command);
        let decision = decide(&self.state, command, moment);
        let mut wanted = Vec::new();
        for stored in &decision.facts {
            take_in(&mut self.state, stored, past.as_deref());
            wanted.extend(effects(&self.state, &stored.fact));
            self.log.push(stored.clone());
        }
        (decision, wanted)
    }

    pub(crate) fn attempt(&self) -> AttemptId {
        match self.state.thread.activity {
            Activity::Asking { attempt } => attempt.id,
            _ => AttemptId::from_bits(0xdead),
        }
    }

    pub(crate) fn sandbox(&self) -> SandboxId {
        match self.state.sandbox {
            Sandbox::Starting { sandbox } | Sandbox::Running { sandbox, .. } | Sandbox::Stopping { sandbox, .. } => {
                sandbox
            }
            Sandbox::Absent { .. } => SandboxId::from_bits(0xdead),
        }
    }

    pub(crate) fn call(&self, progress: CallProgress) -> ItemId {
        let found = self.state.thread.calls.iter().find(|open| open.progress == progress);
        found.map_or(ItemId::from_bits(0xdead), |open| open.call)
    }

    pub(crate) fn reply(&self, parts: Vec<ReplyPart>, stop: ModelStop) -> Command {
        let usage = TokenUsage { input: 10, output: 5, ..TokenUsage::default() };
        FinishAttempt { attempt: self.attempt(), reply: Reply { parts, stop, usage }, previewed: Vec::new() }.into()
    }

    /// The places of its log where turns ended.
    pub(crate) fn turn_ends(&self) -> Vec<u64> {
        let is_end = |stored: &&StoredFact| match &*stored.fact {
            Fact::SessionIdle { stop, .. } => !matches!(stop, StopReason::RequiresAction { .. }),
            _ => false,
        };
        self.log.iter().filter(is_end).map(|stored| stored.seq).collect()
    }

    /// What it was at a place of its log.
    pub(crate) fn as_of(&self, place: u64) -> State {
        State::replay(self.log.iter().take_while(|stored| stored.seq <= place))
            .expect("the log begins with its creation")
    }

    /// The snapshot of its files at a turn's end: the one that was taken for it, or the last one before; the inner `None` is
    /// what a session starts with.
    #[expect(clippy::option_option, reason = "no snapshot, and the one of empty files, are different answers")]
    pub(crate) fn files_at(&self, place: u64) -> Option<Option<SnapshotId>> {
        let then = self.as_of(place).files;
        let kept = &self.state.files.snapshots;
        match then.changed {
            true => kept.iter().find(|kept| kept.point == place).map(|kept| Some(kept.id)),
            false => then.current.is_none_or(|id| kept.iter().any(|kept| kept.id == id)).then_some(then.current),
        }
    }

    pub(crate) fn rewind(&self, to: u64, snapshot: Option<SnapshotId>) -> Command {
        Rewind { to, snapshot, past: Arc::new(self.as_of(to).past()) }.into()
    }

    pub(crate) fn files_report(&self, ending: SnapshotEnding, keep: Option<usize>) -> Command {
        let snapshot = match &self.state.files.work {
            Some(FilesWork::Snapshot { snapshot, .. }) => *snapshot,
            Some(FilesWork::Rewind { .. }) | None => SnapshotId::from_bits(0xdead),
        };
        ReportFiles { report: FilesReport::Snapshot { snapshot, ending, keep } }.into()
    }

    fn rewound_report(&self, failed: Option<&str>) -> Command {
        let place = match &self.state.files.work {
            Some(FilesWork::Rewind { place, .. }) => *place,
            Some(FilesWork::Snapshot { .. }) | None => 0xdead,
        };
        ReportFiles { report: FilesReport::Rewound { place, failed: failed.map(Into::into) } }.into()
    }

    fn fork(&self, snapshot: Option<SnapshotId>) -> Command {
        let from =
            ForkedFrom { session: SessionId::from_bits(0x6), at: self.state.seq, what: ForkKind::Fork, snapshot };
        let earlier = self.state.files.snapshots.iter().take(1).map(|kept| kept.id).collect();
        Fork { from, name: snapshot.map(|_| "before".into()), earlier, title: Some("another try".into()) }.into()
    }

    fn hosted(&self) -> Vec<ItemId> {
        let calls = self.state.thread.calls.iter().filter(|open| !open.place.is_sandbox());
        calls.filter(|open| open.progress == CallProgress::Started).map(|open| open.call).collect()
    }

    /// The calls that the server runs are not to be run twice.
    fn only_once(mut self) -> Self {
        for open in self.state.thread.calls.iter_mut().filter(|open| !open.place.is_sandbox()) {
            open.place = Place::Server { idempotent: false };
        }
        self
    }

    pub(crate) fn calls(&self, names: &[&str]) -> Command {
        let parts = names.iter().map(|name| ReplyPart::ToolUse { name: (*name).into(), input: Ok(json!({})) });
        self.reply(parts.collect(), ModelStop::ToolUse)
    }

    fn questions(&self, questions: &[&str]) -> Command {
        let ask = |question: &&str| ReplyPart::ToolUse { name: "ask".into(), input: Ok(json!({"question": question})) };
        self.reply(questions.iter().map(ask).collect(), ModelStop::ToolUse)
    }

    /// A reply for which the provider counts so many tokens.
    pub(crate) fn long_reply(&self, text: &str, tokens: u64) -> Command {
        let usage = TokenUsage { input: tokens, ..TokenUsage::default() };
        let reply = Reply { parts: vec![ReplyPart::Text(text.into())], stop: ModelStop::EndTurn, usage };
        FinishAttempt { attempt: self.attempt(), reply, previewed: Vec::new() }.into()
    }

    pub(crate) fn report(&self, report: SandboxReport) -> Command {
        ReportSandbox { sandbox: self.sandbox(), report }.into()
    }

    /// The server dies so many times; work that is put off has gone on each time.
    fn died(mut self, times: usize) -> Self {
        for _ in 0..times {
            let _ = self.play(crash(true));
            if self.state.fold() == Fold::Rescheduling {
                self.at = self.at.after(Duration::from_secs(60));
                let _ = self.play(Tick {});
            }
        }
        self
    }

    /// The model server has no room so many times; what is put off has gone on each time.
    fn failed_transiently(mut self, times: usize) -> Self {
        for _ in 0..times {
            let attempt = self.attempt();
            let _ = self.play(FailAttempt { attempt, failure: failure(FailureKind::Overloaded), answered: false });
            self.at = self.at.after(Duration::from_secs(60));
            let _ = self.play(Tick {});
        }
        self
    }

    fn step(mut self, command: impl FnOnce(&Self) -> Command) -> Self {
        let command = command(&self);
        let (decision, _) = self.play(command);
        assert_eq!(decision.refusal, None, "a scene is set by commands that are accepted");
        self
    }
}

/// What a command goes back to, if it does.
pub(crate) fn past_of(command: &Command) -> Option<Arc<Past>> {
    match command {
        Command::Rewind(rewind) => Some(rewind.past.clone()),
        _ => None,
    }
}

/// Takes in a fact as it is decided.
pub(crate) fn take_in(state: &mut State, stored: &StoredFact, past: Option<&Past>) {
    state.evolve(stored);
    if let (Fact::SessionRewound { .. }, Some(past)) = (&*stored.fact, past) {
        state.go_back(past);
    }
}

pub(crate) fn message(text: &str) -> Input {
    Input::Message { content: vec![Block::text(text)], delivery: Delivery::AfterTurn }
}

pub(crate) fn steer(text: &str) -> Input {
    Input::Message { content: vec![Block::text(text)], delivery: Delivery::Steer }
}

pub(crate) fn instructions() -> Input {
    Input::SystemMessage { content: vec![Block::text("be brief")], delivery: Delivery::AfterTurn }
}

fn send(input: Input) -> Command {
    Send { inputs: vec![(ItemId::from_bits(0xf00), input)] }.into()
}

pub(crate) fn failure(kind: FailureKind) -> Failure {
    Failure { kind, message: "the model server said no".into(), retry_after: None }
}

fn budget(cents: Option<u64>) -> Command {
    let budget = cents.map(|max_list_cost_cents| Budget { max_list_cost_cents });
    Update { budget: Some(budget), ..Update::default() }.into()
}

fn crash(sandbox_alive: bool) -> Command {
    Recover { sandbox_alive, ended_cleanly: false, in_flight: None, hosted: Vec::new() }.into()
}

type Scenes = Vec<(&'static str, Scene)>;

/// Every state that a fixture may start from.
pub(crate) fn scenes() -> Scenes {
    let plain = Lifetimes { sandbox_idle: Some(Duration::from_secs(3600)), ..Lifetimes::default() };
    let fresh = Scene::open(plain);
    let asking = fresh.clone().step(|_| send(message("hello")));
    let queued = asking.clone().step(|_| Send { inputs: vec![(ItemId::from_bits(0xf01), message("and then"))] }.into());
    let instructed = asking.clone().step(|_| {
        let items = [0xf01, 0xf03].map(ItemId::from_bits);
        Send { inputs: items.into_iter().zip([message("and then"), instructions()]).collect() }.into()
    });
    let starting = asking.clone().step(|scene| scene.calls(&["bash", "bash"]));
    let room_queued = starting.clone().step(|scene| scene.report(SandboxReport::Queued));
    let calling = starting.clone().step(|scene| scene.report(SandboxReport::Started));
    let approving = asking.clone().step(|scene| scene.calls(&["write", "write"]));
    let questioning = asking.clone().step(|scene| scene.questions(&["Which way?", "How far?"]));
    let questioning_and_calling = asking
        .clone()
        .step(|scene| {
            let question = ReplyPart::ToolUse { name: "ask".into(), input: Ok(json!({"question": "Which way?"})) };
            let call = ReplyPart::ToolUse { name: "bash".into(), input: Ok(json!({})) };
            scene.reply(vec![question, call], ModelStop::ToolUse)
        })
        .step(|scene| scene.report(SandboxReport::Started));
    let at_client = asking.clone().step(|scene| scene.calls(&["weather"]));
    let fetching = asking.clone().step(|scene| scene.calls(&["web_fetch", "bash"]));
    let fetching_once = fetching.clone().only_once();
    // The sandbox is on its way from an earlier turn.
    let fetching_while_starting = starting
        .clone()
        .step(|_| send(Input::Interrupt { thread: None }))
        .step(|_| send(message("look it up instead")))
        .step(|scene| scene.calls(&["web_fetch", "bash"]));
    let rescheduling = queued.clone().step(|scene| {
        FailAttempt { attempt: scene.attempt(), failure: failure(FailureKind::Overloaded), answered: false }.into()
    });
    let mut rescheduling_due = rescheduling.clone();
    rescheduling_due.at = rescheduling_due.at.after(Duration::from_secs(60));
    let mut steered_due = rescheduling.clone().step(|_| send(steer("rather so")));
    steered_due.at = steered_due.at.after(Duration::from_secs(60));
    let finish = |scene: &Scene| {
        let result = CallResult::Finished { content: vec![Block::text("ok")], is_error: false };
        FinishCall { call: scene.call(CallProgress::Started), result }.into()
    };
    let done = |scene: &Scene| scene.reply(vec![ReplyPart::Text("done".into())], ModelStop::EndTurn);
    let sealed = |scene: &Scene| scene.files_report(SnapshotEnding::Sealed, None);
    let snapshotting = calling.clone().step(finish).step(finish).step(done);
    let call_and_snapshot =
        snapshotting.clone().step(|_| send(message("once more"))).step(|scene| scene.calls(&["bash"]));
    let idle_running = snapshotting.clone().step(sealed);
    let naming = idle_running.clone().step(|_| TakeSnapshot { name: "before".into() }.into());
    let named = naming.clone().step(sealed);
    let files_changed = named.clone().step(|_| NoteFiles { over: false }.into());
    let snapshotting_again =
        named.clone().step(|_| send(message("once more"))).step(|scene| scene.calls(&["bash"])).step(finish).step(done);
    let again = snapshotting_again.clone().step(sealed);
    let rewinding = again.clone().step(|scene| {
        let first = scene.turn_ends()[0];
        scene.rewind(first, scene.files_at(first).expect("it has a snapshot"))
    });
    let call_and_rewind = rewinding
        .clone()
        .step(|scene| scene.report(SandboxReport::Stopped))
        .step(|_| send(message("another way")))
        .step(|scene| scene.calls(&["bash"]));
    let rewound =
        rewinding.clone().step(|scene| scene.report(SandboxReport::Stopped)).step(|scene| scene.rewound_report(None));
    let archiving_and_snapshot = snapshotting
        .clone()
        .step(|_| End { outcome: Outcome::Archived, keep: Keep::Everything }.into())
        .step(|scene| scene.report(SandboxReport::Stopped));
    let stopping = idle_running.clone().step(|_| Hold {}.into());
    let stopped = stopping.clone().step(|scene| scene.report(SandboxReport::Stopped));
    let asking_steered = asking.clone().step(|_| send(steer("rather so")));
    let calling_steered = calling.clone().step(|_| send(steer("rather so")));
    let approved_steered = approving.clone().step(|_| send(steer("rather so"))).step(|scene| {
        send(Input::Confirmation { call: scene.call(CallProgress::NeedsApproval), answer: Answer::Allow })
    });
    let approving_stopped = approving.clone().step(|_| Hold {}.into());
    let lost = idle_running.clone().step(|scene| scene.report(SandboxReport::Lost { reason: "killed".into() }));
    let cancelled = calling.clone().step(|_| send(Input::Interrupt { thread: None }));
    let mut short = Scene::open(plain);
    short.policies(short.state.definition.retry, ContextPolicy { window: 1_000, reply: 0, share_percent: 80 });
    let summing_up = short
        .step(|_| send(message(&"a long question ".repeat(50))))
        .step(|scene| scene.long_reply(&"a long answer ".repeat(50), 900))
        .step(|_| send(message("and now?")));
    let summed_up = summing_up.clone().step(|scene| scene.long_reply("it was about this and that", 900));
    let summary_failed_twice = summing_up.clone().failed_transiently(2);
    let cut = asking.clone().step(|scene| scene.reply(vec![ReplyPart::Text("I was ab".into())], ModelStop::MaxTokens));
    let cut_three_times = cut
        .clone()
        .step(|scene| scene.reply(vec![ReplyPart::Text("out to".into())], ModelStop::MaxTokens))
        .step(|scene| scene.reply(vec![ReplyPart::Text(" say".into())], ModelStop::MaxTokens));
    let asking_died_twice = asking.clone().died(2);
    let starting_died_twice = starting.clone().died(2);
    let calling_died_twice = calling.clone().died(2);
    let fetching_died_often = fetching.clone().died(9);
    let fetch_put_off = fetching.clone().died(2).step(|_| crash(false));
    let put_off = calling_died_twice.clone().step(|_| crash(true));
    let mut put_off_due = put_off.clone();
    put_off_due.at = put_off_due.at.after(Duration::from_secs(60));
    let asking_died_often = asking.clone().died(9);
    let calling_died_often = calling.clone().died(9);
    let cancelled_died_often = cancelled.clone().died(9);
    let closing = calling.clone().step(|_| End { outcome: Outcome::EndedByUser, keep: Keep::Log }.into());
    let archiving = idle_running.clone().step(|_| End { outcome: Outcome::Archived, keep: Keep::Everything }.into());
    let archived = archiving.clone().step(|scene| scene.report(SandboxReport::Stopped));
    let mut sandbox_unused = idle_running.clone();
    sandbox_unused.at = sandbox_unused.at.after(Duration::from_secs(3600));
    let mut idle_long = Scene::open(Lifetimes {
        idle: Some(IdleRule {
            after: Duration::from_secs(600),
            then: IdleThen::End { outcome: Outcome::TimedOut, keep: Keep::Everything },
        }),
        ..Lifetimes::default()
    });
    idle_long.at = idle_long.at.after(Duration::from_secs(3600));
    let (mut idle_long_in_use, mut sandbox_in_use) = (idle_long.clone(), sandbox_unused.clone());
    (idle_long_in_use.in_use, sandbox_in_use.in_use) = (true, true);
    let budgeted = Scene::with_budget(plain, Some(3));
    let budgeted_asking = budgeted.step(|_| send(message("hello"))).step(|_| budget(Some(2)));
    // After the second reply the two cents are spent.
    let budgeted_calling =
        budgeted_asking.clone().step(|scene| scene.calls(&["bash"])).step(|scene| scene.report(SandboxReport::Started));
    let budgeted_again = budgeted_calling.clone().step(finish);
    let budget_spent = budgeted_again.clone().step(done).step(sealed);
    let budget_reached_at_start = budget_spent.clone().step(|_| send(message("more")));
    let budget_spent_approving = budgeted_again.clone().step(|scene| scene.calls(&["write"]));
    let budget_spent_queued = budgeted_again
        .clone()
        .step(|_| Send { inputs: vec![(ItemId::from_bits(0xf01), message("and then"))] }.into())
        .step(|scene| scene.calls(&["weather"]));
    let budget_reached_between = budget_spent_queued.clone().step(|scene| {
        let call = scene.call(CallProgress::AtClient);
        send(Input::ClientResult { call, content: vec![Block::text("sunny")], is_error: false })
    });
    let budget_reached_stopping = budget_reached_between.clone().step(|_| Hold {}.into());
    // The request is booked as it was estimated, and the next one would take as much again.
    let mut budget_spent_retrying = Scene::with_budget(plain, Some(100))
        .step(|_| send(message("hello")))
        .step(|scene| {
            let failure = failure(FailureKind::Unavailable);
            FailAttempt { attempt: scene.attempt(), failure, answered: true }.into()
        })
        .step(|scene| budget(Some(scene.state.list_cost(scene.at).unwrap_or_default().cents() + 1)));
    budget_spent_retrying.at = budget_spent_retrying.at.after(Duration::from_secs(60));
    vec![
        ("budgeted_asking", budgeted_asking),
        ("budgeted_again", budgeted_again),
        ("budget_spent", budget_spent),
        ("budget_spent_approving", budget_spent_approving),
        ("budget_spent_retrying", budget_spent_retrying),
        ("budget_reached_at_start", budget_reached_at_start),
        ("budget_reached_between", budget_reached_between),
        ("budget_reached_stopping", budget_reached_stopping),
        ("fresh", fresh),
        ("asking", asking),
        ("asking_with_queue", queued),
        ("asking_with_instructions", instructed),
        ("starting", starting),
        ("room_queued", room_queued),
        ("calling", calling),
        ("approving", approving),
        ("questioning", questioning),
        ("questioning_and_calling", questioning_and_calling),
        ("at_client", at_client),
        ("asking_steered", asking_steered),
        ("calling_steered", calling_steered),
        ("approved_steered", approved_steered),
        ("fetching", fetching),
        ("fetching_once", fetching_once),
        ("fetching_while_starting", fetching_while_starting),
        ("rescheduling", rescheduling),
        ("rescheduling_due", rescheduling_due),
        ("steered_due", steered_due),
        ("idle_running", idle_running),
        ("snapshotting", snapshotting),
        ("call_and_snapshot", call_and_snapshot),
        ("naming", naming),
        ("named", named),
        ("files_changed", files_changed),
        ("snapshotting_again", snapshotting_again),
        ("again", again),
        ("rewinding", rewinding),
        ("call_and_rewind", call_and_rewind),
        ("rewound", rewound),
        ("archiving_and_snapshot", archiving_and_snapshot),
        ("sandbox_unused", sandbox_unused),
        ("sandbox_in_use", sandbox_in_use),
        ("stopping", stopping),
        ("stopped", stopped),
        ("approving_stopped", approving_stopped),
        ("lost", lost),
        ("closing", closing),
        ("archiving", archiving),
        ("archived", archived),
        ("idle_long_overdue", idle_long),
        ("idle_long_in_use", idle_long_in_use),
        ("cancelled", cancelled),
        ("summing_up", summing_up),
        ("summed_up", summed_up),
        ("summary_failed_twice", summary_failed_twice),
        ("cut", cut),
        ("cut_three_times", cut_three_times),
        ("asking_died_twice", asking_died_twice),
        ("starting_died_twice", starting_died_twice),
        ("calling_died_twice", calling_died_twice),
        ("put_off", put_off),
        ("put_off_due", put_off_due),
        ("fetch_put_off", fetch_put_off),
        ("fetching_died_often", fetching_died_often),
        ("asking_died_often", asking_died_often),
        ("calling_died_often", calling_died_often),
        ("cancelled_died_often", cancelled_died_often),
    ]
}

type Builder = Box<dyn Fn(&Scene) -> Command>;

/// Every command a fixture tries, by the command's name and a variant.
pub(crate) fn commands() -> Vec<(&'static str, &'static str, Builder)> {
    let mut all: Vec<(&'static str, &'static str, Builder)> = Vec::new();
    let mut add = |name, variant, build: fn(&Scene) -> Command| all.push((name, variant, Box::new(build)));
    add("send", "message", |_| send(message("next")));
    add("send", "steering", |_| send(steer("rather so")));
    add("send", "interrupt", |_| send(Input::Interrupt { thread: None }));
    add("send", "interrupt_then_message", |_| {
        let inputs = [Input::Interrupt { thread: None }, message("instead")];
        let items = [0xf00, 0xf02].map(ItemId::from_bits);
        Send { inputs: items.into_iter().zip(inputs).collect() }.into()
    });
    add("send", "allow", |scene| {
        send(Input::Confirmation { call: scene.call(CallProgress::NeedsApproval), answer: Answer::Allow })
    });
    add("send", "deny", |scene| {
        let answer = Answer::Deny { message: Some("too risky".into()) };
        send(Input::Confirmation { call: scene.call(CallProgress::NeedsApproval), answer })
    });
    add("send", "client_result", |scene| {
        let call = scene.call(CallProgress::AtClient);
        send(Input::ClientResult { call, content: vec![Block::text("sunny")], is_error: false })
    });
    add("send", "two_messages", |_| {
        let items = [0xf00, 0xf02].map(ItemId::from_bits);
        Send { inputs: items.into_iter().zip([message("left"), message("and quickly")]).collect() }.into()
    });
    add("send", "instructions", |_| send(instructions()));
    add("send", "message_and_instructions", |_| {
        let items = [0xf00, 0xf02].map(ItemId::from_bits);
        Send { inputs: items.into_iter().zip([message("next"), instructions()]).collect() }.into()
    });
    add("send", "client_result_and_instructions", |scene| {
        let call = scene.call(CallProgress::AtClient);
        let result = Input::ClientResult { call, content: vec![Block::text("sunny")], is_error: false };
        let items = [0xf00, 0xf02].map(ItemId::from_bits);
        Send { inputs: items.into_iter().zip([result, instructions()]).collect() }.into()
    });
    add("send", "answer_by_name", |scene| {
        let call = scene.call(CallProgress::Question);
        send(Input::ClientResult { call, content: vec![Block::text("left")], is_error: false })
    });
    add("withdraw", "queued", |_| Withdraw { item: ItemId::from_bits(0xf01) }.into());
    add("update", "names", |_| {
        Update {
            title: Some(Some("a title".into())),
            metadata: vec![("k".into(), Some("v".into()))],
            ..Update::default()
        }
        .into()
    });
    add("update", "labels", |_| {
        Update { labels: Some(["web", "nightly"].map(Into::into).into()), ..Update::default() }.into()
    });
    add("update", "too_much", |_| {
        let pairs = (0..17).map(|at| (format!("k{at}"), Some("v".into()))).collect();
        Update { metadata: pairs, ..Update::default() }.into()
    });
    add("update", "tools", |_| Update { tools: Some(Vec::new()), ..Update::default() }.into());
    add("update", "budget_raised", |_| budget(Some(100)));
    add("update", "budget_not_raised", |_| budget(Some(1)));
    add("update", "budget_removed", |_| budget(None));
    add("update", "limits", |_| {
        let limits = LimitsChange { memory_bytes: Some(Some(1 << 28)), pids: Some(None), ..LimitsChange::default() };
        Update { limits, ..Update::default() }.into()
    });
    add("hold", "hold", |_| Hold {}.into());
    add("resume", "resume", |_| Resume {}.into());
    add("end", "archive", |_| End { outcome: Outcome::Archived, keep: Keep::Everything }.into());
    add("end", "by_user", |_| End { outcome: Outcome::EndedByUser, keep: Keep::Log }.into());
    add("take_snapshot", "named", |_| TakeSnapshot { name: "before".into() }.into());
    add("remove_snapshot", "newest", |scene| {
        let snapshot = scene.state.files.kept().last().copied().unwrap_or(SnapshotId::from_bits(0xdead));
        RemoveSnapshot { snapshot }.into()
    });
    add("rewind", "first_turn_end", |scene| {
        let to = scene.turn_ends().first().copied().unwrap_or(1);
        scene.rewind(to, scene.files_at(to).flatten())
    });
    add("rewind", "in_the_middle", |scene| scene.rewind(scene.state.seq.min(5), None));
    add("rewind", "without_snapshot", |scene| scene.rewind(1, Some(SnapshotId::from_bits(0xdead))));
    add("fork", "without_files", |scene| scene.fork(None));
    add("fork", "with_files", |scene| scene.fork(Some(SnapshotId::from_bits(0x5a))));
    add("note_files", "begins", |_| NoteFiles { over: false }.into());
    add("note_files", "is_over", |_| NoteFiles { over: true }.into());
    add("report_files", "sealed", |scene| scene.files_report(SnapshotEnding::Sealed, None));
    add("report_files", "copied_and_one_is_kept", |scene| {
        scene.files_report(SnapshotEnding::Copied { bytes: 4_096 }, Some(1))
    });
    add("report_files", "skipped", |scene| scene.files_report(SnapshotEnding::Skipped { bytes: 1 << 30 }, None));
    add("report_files", "failed", |scene| {
        scene.files_report(SnapshotEnding::Failed { reason: "the disk is full".into() }, None)
    });
    add("report_files", "rewound", |scene| scene.rewound_report(None));
    add("report_files", "not_rewound", |scene| scene.rewound_report(Some("the disk is full")));
    add("finish_attempt", "text", |scene| scene.reply(vec![ReplyPart::Text("hi".into())], ModelStop::EndTurn));
    add("finish_attempt", "blank_text", |scene| {
        scene.reply(vec![ReplyPart::Text(String::new()), ReplyPart::Text(" \n".into())], ModelStop::EndTurn)
    });
    add("finish_attempt", "thinking", |scene| {
        let plain = ReplyPart::Thinking { text: "let me see".into(), signature: Some("proof".into()) };
        let parts = vec![plain, ReplyPart::RedactedThinking("opaque".into()), ReplyPart::Text("I see".into())];
        scene.reply(parts, ModelStop::EndTurn)
    });
    add("finish_attempt", "calls", |scene| scene.calls(&["bash", "weather"]));
    add("finish_attempt", "calls_of_the_servers", |scene| scene.calls(&["web_fetch", "bash", "web_fetch"]));
    add("finish_attempt", "calls_that_cannot_run", |scene| scene.calls(&["grep", "nonsense"]));
    add("finish_attempt", "questions", |scene| scene.questions(&["Which way?", " "]));
    add("finish_attempt", "refusal", |scene| {
        scene.reply(Vec::new(), ModelStop::Refusal { category: Some("cyber".into()), explanation: None })
    });
    add("finish_attempt", "thinking_alone", |scene| {
        let thought = ReplyPart::Thinking { text: "hm".into(), signature: Some("proof".into()) };
        scene.reply(vec![thought, ReplyPart::Text(" ".into())], ModelStop::EndTurn)
    });
    add("finish_attempt", "cut", |scene| scene.reply(vec![ReplyPart::Text("I was ab".into())], ModelStop::MaxTokens));
    add("finish_attempt", "cut_in_a_call", |scene| {
        let call = |name: &str| ReplyPart::ToolUse { name: name.into(), input: Ok(json!({})) };
        scene.reply(vec![call("weather"), call("bash")], ModelStop::MaxTokens)
    });
    add("finish_attempt", "pause", |scene| scene.reply(vec![ReplyPart::Text("so far".into())], ModelStop::Pause));
    add("finish_attempt", "stale", |_| {
        let reply = Reply { parts: Vec::new(), stop: ModelStop::EndTurn, usage: TokenUsage::default() };
        FinishAttempt { attempt: AttemptId::from_bits(0xbad), reply, previewed: Vec::new() }.into()
    });
    add("fail_attempt", "transient", |scene| {
        FailAttempt { attempt: scene.attempt(), failure: failure(FailureKind::Unavailable), answered: true }.into()
    });
    add("fail_attempt", "for_good", |scene| {
        FailAttempt { attempt: scene.attempt(), failure: failure(FailureKind::Authentication), answered: false }.into()
    });
    add("fail_attempt", "too_long", |scene| {
        FailAttempt { attempt: scene.attempt(), failure: failure(FailureKind::TooLong), answered: false }.into()
    });
    add("fail_attempt", "rejected", |scene| {
        FailAttempt { attempt: scene.attempt(), failure: failure(FailureKind::Rejected), answered: false }.into()
    });
    add("finish_call", "finished", |scene| {
        let result = CallResult::Finished { content: vec![Block::text("ok")], is_error: false };
        FinishCall { call: scene.call(CallProgress::Started), result }.into()
    });
    add("finish_call", "cancelled", |scene| {
        let call = scene.state.thread.ending.first().copied().unwrap_or_else(|| scene.call(CallProgress::Started));
        FinishCall { call, result: CallResult::Cancelled }.into()
    });
    add("finish_call", "lost", |scene| {
        let result = CallResult::Lost { reason: "the machine was restarted".into() };
        FinishCall { call: scene.call(CallProgress::Started), result }.into()
    });
    add("report_sandbox", "started", |scene| scene.report(SandboxReport::Started));
    add("report_sandbox", "queued", |scene| scene.report(SandboxReport::Queued));
    add("report_sandbox", "room", |scene| scene.report(SandboxReport::Room));
    add("report_sandbox", "failed", |scene| scene.report(SandboxReport::Failed { reason: "no namespaces".into() }));
    add("report_sandbox", "stopped", |scene| scene.report(SandboxReport::Stopped));
    add("report_sandbox", "lost", |scene| scene.report(SandboxReport::Lost { reason: "killed".into() }));
    add("report_sandbox", "files_removed", |scene| scene.report(SandboxReport::FilesRemoved));
    add("tick", "soon", |_| Tick {}.into());
    add("recover", "sandbox_alive", |_| crash(true));
    add("recover", "sandbox_gone", |_| crash(false));
    add("recover", "after_a_clean_end", |_| {
        Recover { sandbox_alive: true, ended_cleanly: true, in_flight: None, hosted: Vec::new() }.into()
    });
    add("recover", "in_flight_here", |scene| {
        Recover { sandbox_alive: false, ended_cleanly: false, in_flight: Some(scene.attempt()), hosted: scene.hosted() }
            .into()
    });
    all
}

/// What followed, as text a person can check.
pub(crate) fn print(decision: &Decision, wanted: &[Effect], state: &State) -> String {
    let mut text = String::new();
    for stored in &decision.facts {
        let mut body = serde_json::to_value(&*stored.fact).expect("facts are JSON");
        let kind = body["kind"].take();
        let fields = body.as_object_mut().expect("facts are objects");
        fields.remove("kind");
        fields.remove("thread");
        fields.remove("agent_name");
        text += &format!("  {} {}\n", kind.as_str().expect("a kind is a word"), body);
    }
    for effect in wanted {
        text += &format!("  => {effect:?}\n");
    }
    if let Some(refusal) = &decision.refusal {
        text += &format!("  refused: {refusal}\n");
    }
    if text.is_empty() {
        text += "  nothing\n";
    }
    text += &format!("  is {}\n", state.phase().name());
    shorten(&text)
}

/// Small ids print as `#` and their digits.
fn shorten(text: &str) -> String {
    let mut short = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\"0000000000") {
        let (before, id) = rest.split_at(at);
        short += before;
        short += "#";
        short += id[1..33].trim_start_matches('0');
        rest = &id[34..];
    }
    short + rest
}
