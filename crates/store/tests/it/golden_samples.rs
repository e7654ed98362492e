//! One sample or more of everything that is stored. Long because every kind stands here.

use serde_json::json;
use tenure_core::agent::{Environment, Limits, NamedPolicy, Permission, Place, ToolConfig, ToolPolicy};
use tenure_core::content::{BlobId, Block, Source};
use tenure_core::fact::{AfterError, AttemptEnding, CallEnding, Fact, Gate, Problem, Thinking};
use tenure_core::files::SnapshotEnding;
use tenure_core::fork::{ForkKind, ForkedFrom};
use tenure_core::id::{AttemptId, EnvironmentId, ItemId, SandboxId, SessionId, SnapshotId, ThreadId, TurnId};
use tenure_core::model::{Effort, FailureKind, ModelConfig, Speed, TokenUsage};
use tenure_core::packages::{Manager, Packages};
use tenure_core::past::Rewind;
use tenure_core::phase::{Fold, Phase};
use tenure_core::price::{Budget, LongPrompt, ModelFacts, Price, TokenPrices, Usd};
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::root::{ImageReference, Root};
use tenure_core::session::{
    Absent, Answer, ContextPolicy, Definition, Delivery, IdleRule, IdleThen, Input, Keep, Labels, Lifecycle, Lifetimes,
    Metadata, Outcome, Purpose, Sandbox, StopCause, StopReason,
};
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;
use tenure_store::FeedKind;

use crate::fixture;

const ITEM: ItemId = ItemId::from_bits(0x11);
const CALL: ItemId = ItemId::from_bits(0x22);
const THREAD: ThreadId = ThreadId::from_bits(0x33);
const TURN: TurnId = TurnId::from_bits(0x44);
const ATTEMPT: AttemptId = AttemptId::from_bits(0x55);
const SANDBOX: SandboxId = SandboxId::from_bits(0x66);
const SNAPSHOT: SnapshotId = SnapshotId::from_bits(0x77);
const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_001);

/// The kinds of facts, in the order of [`position`].
pub(super) const KINDS: [&str; 38] = [
    "session_created",
    "session_updated",
    "input_queued",
    "input_processed",
    "input_withdrawn",
    "thread_running",
    "thread_idle",
    "thread_rescheduled",
    "session_running",
    "session_idle",
    "session_rescheduled",
    "usage_recorded",
    "attempt_started",
    "attempt_ended",
    "thinking_said",
    "message_said",
    "call_requested",
    "call_started",
    "call_settled",
    "call_ended",
    "error_raised",
    "sandbox_starting",
    "sandbox_running",
    "sandbox_stopping",
    "sandbox_absent",
    "session_recovered",
    "session_held",
    "session_resumed",
    "session_closing",
    "session_ended",
    "conversation_compacted",
    "snapshot_started",
    "snapshot_ended",
    "snapshot_removed",
    "files_changed",
    "session_rewound",
    "files_rewound",
    "session_forked",
];

/// Where a fact's kind stands in [`KINDS`]. Without a line here a new kind doesn't compile; its samples are next.
pub(super) fn position(fact: &Fact) -> usize {
    match fact {
        Fact::SessionCreated { .. } => 0,
        Fact::SessionUpdated { .. } => 1,
        Fact::InputQueued { .. } => 2,
        Fact::InputProcessed { .. } => 3,
        Fact::InputWithdrawn { .. } => 4,
        Fact::ThreadRunning { .. } => 5,
        Fact::ThreadIdle { .. } => 6,
        Fact::ThreadRescheduled { .. } => 7,
        Fact::SessionRunning { .. } => 8,
        Fact::SessionIdle { .. } => 9,
        Fact::SessionRescheduled { .. } => 10,
        Fact::UsageRecorded { .. } => 11,
        Fact::AttemptStarted { .. } => 12,
        Fact::AttemptEnded { .. } => 13,
        Fact::ThinkingSaid { .. } => 14,
        Fact::MessageSaid { .. } => 15,
        Fact::CallRequested { .. } => 16,
        Fact::CallStarted { .. } => 17,
        Fact::CallSettled { .. } => 18,
        Fact::CallEnded { .. } => 19,
        Fact::ErrorRaised { .. } => 20,
        Fact::SandboxStarting { .. } => 21,
        Fact::SandboxRunning { .. } => 22,
        Fact::SandboxStopping { .. } => 23,
        Fact::SandboxAbsent { .. } => 24,
        Fact::SessionRecovered { .. } => 25,
        Fact::SessionHeld {} => 26,
        Fact::SessionResumed {} => 27,
        Fact::SessionClosing { .. } => 28,
        Fact::SessionEnded { .. } => 29,
        Fact::ConversationCompacted { .. } => 30,
        Fact::SnapshotStarted { .. } => 31,
        Fact::SnapshotEnded { .. } => 32,
        Fact::SnapshotRemoved { .. } => 33,
        Fact::FilesChanged {} => 34,
        Fact::SessionRewound { .. } => 35,
        Fact::FilesRewound { .. } => 36,
        Fact::SessionForked { .. } => 37,
    }
}

pub(super) fn facts() -> Vec<Fact> {
    let mut facts = session_facts();
    facts.extend(input_facts());
    facts.extend(work_facts());
    facts.extend(sandbox_facts());
    facts.extend(files_facts());
    facts
}

fn files_facts() -> Vec<Fact> {
    let snapshot = SNAPSHOT;
    let endings = [
        SnapshotEnding::Sealed,
        SnapshotEnding::Copied { bytes: 4_096 },
        SnapshotEnding::Reused,
        SnapshotEnding::Skipped { bytes: 1 << 30 },
        SnapshotEnding::Failed { reason: "the disk is full".to_owned() },
    ];
    let mut facts: Vec<Fact> = endings.map(|ending| Fact::SnapshotEnded { snapshot, ending }).into();
    let forked =
        [(ForkKind::Fork, Some(snapshot)), (ForkKind::Clone, None)].map(|(what, snapshot)| Fact::SessionForked {
            from: ForkedFrom { session: SessionId::from_bits(0x88), at: 20, what, snapshot },
            name: snapshot.map(|_| "before".to_owned()),
            earlier: snapshot.into_iter().collect(),
            title: snapshot.map(|_| "another try".to_owned()),
        });
    facts.extend(forked);
    facts.extend([
        Fact::SnapshotStarted { snapshot, turn_end: Some(20), name: None },
        Fact::SnapshotStarted { snapshot, turn_end: None, name: Some("before".to_owned()) },
        Fact::SnapshotRemoved { snapshot },
        Fact::FilesChanged {},
        Fact::SessionRewound { to: 20, snapshot: Some(snapshot), files: true },
        Fact::SessionRewound { to: 5, snapshot: None, files: false },
        Fact::FilesRewound { failed: None },
        Fact::FilesRewound { failed: Some("the disk is full".to_owned()) },
    ]);
    facts
}

fn session_facts() -> Vec<Fact> {
    let [definition, full, priced] = definitions().try_into().unwrap();
    vec![
        Fact::SessionCreated {
            definition: definition.into(),
            thread: THREAD,
            title: None,
            metadata: Metadata::default(),
            labels: Labels::default(),
            budget: None,
        },
        Fact::SessionCreated {
            definition: full.into(),
            thread: THREAD,
            title: Some("A title".to_owned()),
            metadata: metadata(),
            labels: labels(),
            budget: None,
        },
        Fact::SessionCreated {
            definition: priced.into(),
            thread: THREAD,
            title: None,
            metadata: Metadata::default(),
            labels: Labels::default(),
            budget: Some(BUDGET),
        },
        updated(None, None, None),
        updated(Some(None), Some(labels()), Some(tools())),
        updated(Some(Some("B".to_owned())), Some(Labels::default()), Some(Vec::new())),
        budgeted(None),
        budgeted(Some(BUDGET)),
        limited(),
        Fact::SessionRunning { item: ITEM },
        Fact::SessionIdle { item: ITEM, stop: StopReason::EndTurn },
        Fact::SessionIdle { item: ITEM, stop: StopReason::BudgetReached },
        Fact::SessionRescheduled { item: ITEM },
        used(0, None, None),
        used(3, Some(Usd::from_cents(53)), Some(BUDGET)),
        Fact::SessionRecovered { fruitless: 3 },
        Fact::SessionHeld {},
        Fact::SessionResumed {},
        Fact::SessionClosing { outcome: Outcome::Archived, keep: Keep::Everything },
        Fact::SessionClosing { outcome: Outcome::TimedOut, keep: Keep::Log },
        Fact::SessionEnded { item: ITEM, outcome: Outcome::Completed },
        Fact::SessionEnded { item: ITEM, outcome: Outcome::EndedByUser },
        Fact::SessionEnded { item: ITEM, outcome: Outcome::TimedOut },
        Fact::SessionEnded { item: ITEM, outcome: Outcome::Archived },
        Fact::SessionEnded { item: ITEM, outcome: Outcome::Failed },
    ]
}

const BUDGET: Budget = Budget { max_list_cost_cents: 2_500 };

fn updated(title: Option<Option<String>>, labels: Option<Labels>, tools: Option<Vec<ToolConfig>>) -> Fact {
    let metadata = (title == Some(None)).then(metadata);
    Fact::SessionUpdated { item: ITEM, title, metadata, labels, tools, budget: None, limits: None }
}

fn budgeted(budget: Option<Budget>) -> Fact {
    Fact::SessionUpdated {
        item: ITEM,
        title: None,
        metadata: None,
        labels: None,
        tools: None,
        budget: Some(budget),
        limits: None,
    }
}

fn limited() -> Fact {
    let limits = Limits {
        memory_bytes: Some(1 << 29),
        cpu_millis: Some(500),
        pids: Some(64),
        disk_bytes: Some(1 << 30),
        inodes: Some(10_000),
        open_files: Some(1_024),
        call_ms: Some(60_000),
        output_bytes: Some(1 << 20),
    };
    Fact::SessionUpdated {
        item: ITEM,
        title: None,
        metadata: None,
        labels: None,
        tools: None,
        budget: None,
        limits: Some(limits),
    }
}

fn used(web_fetches: u64, list_cost: Option<Usd>, budget: Option<Budget>) -> Fact {
    Fact::UsageRecorded { item: ITEM, tokens: tokens(), active_ms: 1234, web_fetches, list_cost, budget }
}

fn input_facts() -> Vec<Fact> {
    let inputs = [
        Input::Message { content: blocks(), delivery: Delivery::AfterTurn },
        Input::Interrupt { thread: None },
        Input::Interrupt { thread: Some(THREAD) },
        Input::Confirmation { call: CALL, answer: Answer::Allow },
        Input::Confirmation { call: CALL, answer: Answer::Deny { message: Some("no".to_owned()) } },
        Input::ClientResult { call: CALL, content: vec![Block::text("42")], is_error: true },
        Input::Message { content: vec![Block::text("rather so")], delivery: Delivery::Steer },
        Input::Answer { call: CALL, content: vec![Block::text("left")] },
        Input::SystemMessage { content: vec![Block::text("be brief")], delivery: Delivery::AfterTurn },
        Input::SystemMessage { content: vec![Block::text("be brief")], delivery: Delivery::Steer },
    ];
    let queued = |input: &Input| Fact::InputQueued { item: ITEM, thread: THREAD, input: input.clone() };
    let processed = |input: &Input| Fact::InputProcessed { item: ITEM, thread: THREAD, input: input.clone() };
    let withdrawn = |input: &Input| Fact::InputWithdrawn { item: ITEM, thread: THREAD, input: input.clone() };
    let mut facts: Vec<Fact> = inputs.iter().map(queued).collect();
    facts.extend(inputs.iter().map(processed));
    facts.extend(inputs.iter().map(withdrawn));
    facts
}

fn work_facts() -> Vec<Fact> {
    let agent_name = || "assistant".to_owned();
    let mut facts = vec![
        Fact::ThreadRunning { item: ITEM, thread: THREAD, turn: TURN, agent_name: agent_name() },
        Fact::ThreadRescheduled { item: ITEM, thread: THREAD, agent_name: agent_name(), failures: 2, until: AT },
        Fact::AttemptStarted { item: ITEM, thread: THREAD, attempt: ATTEMPT, failures: 1, purpose: Purpose::Reply },
        Fact::AttemptStarted { item: ITEM, thread: THREAD, attempt: ATTEMPT, failures: 0, purpose: Purpose::Summary },
        Fact::ConversationCompacted {
            item: ITEM,
            thread: THREAD,
            summary: Some("it was about this".to_owned()),
            left: 12,
            emptied: 0,
        },
        Fact::ConversationCompacted { item: ITEM, thread: THREAD, summary: None, left: 0, emptied: 4 },
        Fact::ThinkingSaid {
            item: ITEM,
            thread: THREAD,
            thinking: Thinking::Plain { text: "hm".to_owned(), signature: Some("sig".to_owned()) },
        },
        Fact::ThinkingSaid { item: ITEM, thread: THREAD, thinking: Thinking::Redacted { data: "xyz".to_owned() } },
        Fact::MessageSaid { item: ITEM, thread: THREAD, text: "hello\n\"world\" – ä".to_owned() },
        Fact::CallStarted { call: CALL },
        Fact::CallSettled { call: CALL },
    ];
    let stops = [
        StopReason::EndTurn,
        StopReason::RequiresAction { calls: vec![CALL] },
        StopReason::RetriesExhausted,
        StopReason::Refusal { category: None, explanation: None },
        StopReason::Refusal { category: Some("cyber".to_owned()), explanation: Some("no".to_owned()) },
    ];
    let idle = |stop| Fact::ThreadIdle { item: ITEM, thread: THREAD, turn: TURN, agent_name: agent_name(), stop };
    facts.extend(stops.map(idle));
    let endings = [
        AttemptEnding::Replied,
        AttemptEnding::Failed,
        AttemptEnding::Interrupted,
        AttemptEnding::Lost,
        AttemptEnding::Cut,
        AttemptEnding::TooLong,
    ];
    facts.extend(endings.map(|ending| Fact::AttemptEnded {
        item: ITEM,
        thread: THREAD,
        attempt: ATTEMPT,
        start: CALL,
        ending,
        usage: tokens(),
    }));
    let gates = [Gate::Allowed, Gate::NeedsApproval, Gate::AtClient, Gate::Refused, Gate::Question];
    facts.extend(gates.map(|gate| Fact::CallRequested {
        item: CALL,
        thread: THREAD,
        name: "bash".to_owned(),
        input: json!({ "command": "ls", "count": 3, "nested": [null, 1.5] }),
        gate,
        place: Place::Sandbox,
    }));
    facts.push(Fact::CallRequested {
        item: CALL,
        thread: THREAD,
        name: "web_fetch".to_owned(),
        input: json!({ "url": "https://example.com/" }),
        gate: Gate::Allowed,
        place: Place::Server { idempotent: true },
    });
    let endings = [
        CallEnding::Finished,
        CallEnding::Cancelled,
        CallEnding::Interrupted,
        CallEnding::Skipped,
        CallEnding::Denied,
        CallEnding::Lost,
    ];
    facts.extend(endings.map(|ending| Fact::CallEnded {
        item: ITEM,
        thread: THREAD,
        call: CALL,
        ending,
        content: blocks(),
        is_error: false,
    }));
    let problems = [
        Problem::Model { failure: FailureKind::Overloaded, message: "busy".to_owned() },
        Problem::Sandbox { message: "no namespaces".to_owned() },
        Problem::TooManyAttempts { limit: 200 },
        Problem::ServerDied { times: 4 },
        Problem::RepliesCut { times: 4 },
        Problem::Model { failure: FailureKind::TooLong, message: "prompt is too long".to_owned() },
    ];
    facts.extend(problems.map(|problem| Fact::ErrorRaised { item: ITEM, problem, next: AfterError::Retrying }));
    let problem = Problem::TooManyAttempts { limit: 1 };
    facts.push(Fact::ErrorRaised { item: ITEM, problem, next: AfterError::TurnOver });
    facts
}

fn sandbox_facts() -> Vec<Fact> {
    let mut facts = vec![
        Fact::SandboxStarting { sandbox: SANDBOX },
        Fact::SandboxRunning { sandbox: SANDBOX },
        Fact::SandboxStopping { sandbox: SANDBOX, why: StopCause::Asked },
        Fact::SandboxStopping { sandbox: SANDBOX, why: StopCause::IdleTooLong },
        Fact::SandboxAbsent { why: Absent::Lost, reason: Some("it died".to_owned()) },
    ];
    let absences = [Absent::NotYet, Absent::Queued, Absent::Stopped];
    facts.extend(absences.map(|why| Fact::SandboxAbsent { why, reason: None }));
    facts
}

pub(super) fn summaries() -> Vec<Summary> {
    let plain = fixture::summary(1, 1_000);
    let full = Summary {
        title: Some("A title".to_owned()),
        first_line: Some("Hello there".to_owned()),
        metadata: metadata(),
        labels: labels(),
        lifecycle: Lifecycle::Closing { outcome: Outcome::Archived, keep: Keep::Log, at: AT },
        sandbox: Sandbox::Running { sandbox: SANDBOX, since: AT },
        fold: Fold::Waiting,
        stop: StopReason::RequiresAction { calls: vec![CALL] },
        tokens: tokens(),
        active_ms: 5,
        working_since: Some(AT),
        messages: 3,
        seq: 17,
        queued: vec![15, 16],
        wake_at: Some(AT),
        unsettled: true,
        ..fixture::summary(2, 2_000)
    };
    let tokens_cost = Usd::from_cents(53);
    let budgeted = Summary { tokens_cost, web_fetches: 3, budget: Some(BUDGET), ..plain.clone() };
    let mut summaries = vec![plain.clone(), full, budgeted];
    let sandboxes = [
        Sandbox::Absent { why: Absent::Queued },
        Sandbox::Starting { sandbox: SANDBOX },
        Sandbox::Stopping { sandbox: SANDBOX, why: StopCause::Asked },
    ];
    summaries.extend(sandboxes.map(|sandbox| Summary { sandbox, ..plain.clone() }));
    let folds = [Fold::Rescheduling, Fold::Working];
    summaries.extend(folds.map(|fold| Summary { fold, ..plain.clone() }));
    let lifecycle = Lifecycle::Ended { outcome: Outcome::Failed, at: AT };
    summaries.push(Summary { lifecycle, ..plain.clone() });
    let from =
        ForkedFrom { session: SessionId::from_bits(0x88), at: 20, what: ForkKind::Fork, snapshot: Some(SNAPSHOT) };
    summaries.push(Summary { forked_from: Some(from), rewinds: vec![Rewind { place: 25, to: 20 }], ..plain });
    summaries
}

pub(super) fn definitions() -> Vec<Definition> {
    let plain = (*fixture::definition()).clone();
    let mut agent = (*plain.agent).clone();
    agent.description = Some("helps".to_owned());
    agent.tools = tools();
    agent.model = ModelConfig {
        id: "claude-sonnet-5".to_owned(),
        effort: Some(Effort::High),
        speed: Speed::Fast,
        inference_geo: Some("eu".to_owned()),
        temperature: Some(0.5),
        max_tokens: Some(1000),
    };
    let limits = Limits { memory_bytes: Some(1 << 30), cpu_millis: Some(1500), pids: Some(100), ..Limits::default() };
    let millis = std::time::Duration::from_millis;
    let full = Definition {
        agent: agent.into(),
        environment: Environment {
            id: EnvironmentId::from_bits(2),
            limits,
            root: Root::Host,
            packages: Packages::default(),
        },
        context: ContextPolicy { window: 200_000, reply: 1_000, share_percent: 70 },
        lifetimes: Lifetimes {
            idle: Some(IdleRule {
                after: millis(600_000),
                then: IdleThen::End { outcome: Outcome::TimedOut, keep: Keep::Log },
            }),
            sandbox_idle: Some(millis(3_600_000)),
            max_duration: Some(millis(300_000)),
            end_when_agent_exits: true,
            stop_grace: millis(10_000),
        },
        ..plain.clone()
    };
    let mut priced = plain.clone();
    priced.model_facts = model_facts();
    vec![plain, full, priced]
}

fn model_facts() -> ModelFacts {
    let tokens = TokenPrices { input: 100, output: 500, cache_read: 10, cache_write_5m: 125, cache_write_1h: 200 };
    let long = Some(LongPrompt { above: 100_000, tokens: TokenPrices { input: 500, ..tokens } });
    let price = Price { tokens, long, running_hour: Usd::from_cents(8) };
    ModelFacts { context_window: Some(1_000_000), price: Some(price) }
}

pub(super) fn feed_kinds() -> Vec<FeedKind> {
    let mut kinds = vec![FeedKind::Created];
    kinds.extend(Phase::ALL.map(|phase| FeedKind::PhaseChanged { phase }));
    kinds
}

pub(super) fn agents() -> Vec<AgentRecord> {
    let plain = fixture::agent_record(1, "one", 10);
    let archived = AgentRecord { metadata: metadata(), archived_at: Some(AT), ..plain.clone() };
    vec![plain, archived]
}

pub(super) fn environments() -> Vec<EnvironmentRecord> {
    let plain = fixture::environment_record(1, "default", 10);
    let full = EnvironmentRecord {
        description: Some("for builds".to_owned()),
        limits: Limits { memory_bytes: Some(1), cpu_millis: None, pids: Some(2), ..Limits::default() },
        metadata: metadata(),
        archived_at: Some(AT),
        ..plain.clone()
    };
    let reference = ImageReference::parse("debian:12").expect("a reference");
    let rooted = EnvironmentRecord { root: Root::Image { reference }, ..plain.clone() };
    let mut packages = Packages::default();
    packages.set(Manager::Npm, vec!["left-pad@1.3.0".to_owned()]);
    packages.set(Manager::Pip, vec!["requests==2.31.0".to_owned()]);
    let furnished = EnvironmentRecord { packages, ..plain.clone() };
    vec![plain, full, rooted, furnished]
}

pub(super) fn keys() -> Vec<KeyRecord> {
    let plain = fixture::key_record(1, &"0f".repeat(32));
    let revoked = KeyRecord { revoked_at: Some(AT), ..plain.clone() };
    vec![plain, revoked]
}

fn labels() -> Labels {
    ["nightly", "web"].map(str::to_owned).into()
}

fn metadata() -> Metadata {
    Metadata::from([("team".to_owned(), "blue".to_owned())])
}

fn tokens() -> TokenUsage {
    TokenUsage { input: 1, output: 2, cache_read: 3, cache_write_5m: 4, cache_write_1h: 5 }
}

fn tools() -> Vec<ToolConfig> {
    let default = ToolPolicy { enabled: true, permission: Permission::AlwaysAllow };
    let asking = ToolPolicy { enabled: false, permission: Permission::AlwaysAsk };
    vec![
        ToolConfig::Builtin {
            default,
            configs: vec![NamedPolicy { name: "bash".to_owned(), policy: asking, web_fetch: None }],
        },
        ToolConfig::Custom {
            name: "weather".to_owned(),
            description: "tells the weather".to_owned(),
            input_schema: json!({ "type": "object" }),
        },
    ]
}

fn blocks() -> Vec<Block> {
    let blob = BlobId::from_hex(&"ab".repeat(32)).unwrap();
    vec![
        Block::text("look"),
        Block::Image { source: Source::Blob { media_type: "image/png".to_owned(), blob } },
        Block::Document {
            source: Source::Url { url: "https://example.com/a.pdf".to_owned() },
            title: Some("A".to_owned()),
            context: Some("about a".to_owned()),
        },
        Block::Document { source: Source::Text { data: "plain".to_owned() }, title: None, context: None },
        Block::SearchResult {
            source: "https://example.com".to_owned(),
            title: "B".to_owned(),
            content: vec!["passage".to_owned()],
            citations: true,
        },
    ]
}
