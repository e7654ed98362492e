//! What a session is now: the fold of its facts.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fact::{Fact, StoredFact};
use crate::files::Files;
use crate::fork::ForkedFrom;
use crate::id::{ItemId, SessionId, ThreadId, TurnId};
use crate::model::TokenUsage;
use crate::past::{self, Replay, Rewind};
use crate::phase::{Fold, Phase};
use crate::price::{Budget, Usd};
use crate::session::{
    Absent, Activity, CallProgress, Definition, Input, Labels, Lifecycle, Metadata, OpenCall, Sandbox, StopReason,
};
use crate::summary::Summary;
use crate::time::Timestamp;
use crate::transcript::Transcript;

/// A session's state. It changes only through [`evolve`](State::evolve).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Which session.
    pub session: SessionId,
    /// What it was created with, and its agent's tools as they are now.
    pub definition: Arc<Definition>,
    /// The label a client gave it.
    pub title: Option<String>,
    /// The first line of its first message.
    pub first_line: Option<String>,
    /// Names and values of the client's.
    pub metadata: Metadata,
    /// Short words a client attached to it.
    #[serde(default)]
    pub labels: Labels,
    /// Open, closing or over.
    pub lifecycle: Lifecycle,
    /// Its sandbox.
    pub sandbox: Sandbox,
    /// Whether somebody stopped it: it does nothing until resumed or spoken to.
    pub held: bool,
    /// Its files.
    #[serde(default)]
    pub files: Files,
    /// Its conversation.
    pub thread: Thread,
    /// Input that waits for its turn, oldest first. Shared, since deciding copies the state.
    pub queue: VecDeque<Arc<Queued>>,
    /// How many times in a row the server died while the session worked, without progress in between.
    #[serde(default)]
    pub fruitless_recoveries: u32,
    /// All tokens.
    pub tokens: TokenUsage,
    /// What they have cost at list prices; nothing if nobody knows the price.
    #[serde(default)]
    pub tokens_cost: Usd,
    /// Pages the server has fetched for it.
    #[serde(default)]
    pub web_fetches: u64,
    /// What the session may cost.
    #[serde(default)]
    pub budget: Option<Budget>,
    /// The times it was rewound, in order.
    #[serde(default)]
    pub rewinds: Vec<Rewind>,
    /// What it was made from, if it was made from another session.
    #[serde(default)]
    pub forked_from: Option<ForkedFrom>,
    /// Milliseconds worked, up to `working_since`.
    pub active_ms: u64,
    /// Since when it works, if it does.
    pub working_since: Option<Timestamp>,
    /// Messages of people and of the agent.
    pub messages: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When a person or the agent last did something, in the conversation or in the sandbox: what the idle clock counts from.
    pub last_active_at: Timestamp,
    /// When its last fact happened.
    pub at: Timestamp,
    /// The place of its last fact.
    pub seq: u64,
}

/// One conversation of a session, and the work on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Which thread.
    pub id: ThreadId,
    /// What it is doing.
    pub activity: Activity,
    /// The turn it is on, or was on last.
    pub turn: Option<TurnId>,
    /// Model requests made in this turn.
    pub attempts: u32,
    /// Calls without a result, in the order the model made them.
    pub calls: Vec<OpenCall>,
    /// Calls that were cancelled while they ran and may still be running.
    #[serde(default)]
    pub ending: Vec<ItemId>,
    /// What its model is sent.
    pub transcript: Transcript,
    /// The tokens of the conversation as its provider counted them last, if they were counted since it was last made
    /// shorter.
    pub measured: Option<Measured>,
    /// The most tokens of a request that its provider is known to refuse, less a margin, if that is less than the policy's.
    pub learned_limit: Option<u64>,
    /// Whether its provider has found the conversation too long since the model last replied.
    pub too_long: bool,
    /// Whether a summary was tried in vain since then.
    pub summary_failed: bool,
    /// How many times the conversation was made shorter since then.
    pub compactions: u32,
    /// Replies in a row that were cut off.
    pub cuts: u32,
}

/// The tokens of a conversation at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// As a provider counted them, with all that is sent besides.
    pub counted: u64,
    /// As they are guessed here.
    pub guessed: u64,
}

/// Input that waits for its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queued {
    /// Shown under this id.
    pub item: ItemId,
    /// The place of the fact that queued it.
    pub seq: u64,
    /// What it says.
    pub input: Input,
}

impl State {
    /// The state after a log's first fact; `None` if that fact doesn't create a session.
    pub fn open(first: &StoredFact) -> Option<Self> {
        let Fact::SessionCreated { definition, thread, title, metadata, labels, budget } = &*first.fact else {
            return None;
        };
        Some(Self {
            session: first.session,
            definition: definition.clone(),
            title: title.clone(),
            first_line: None,
            metadata: metadata.clone(),
            labels: labels.clone(),
            lifecycle: Lifecycle::Open,
            sandbox: Sandbox::Absent { why: Absent::NotYet },
            held: false,
            files: Files::default(),
            thread: Thread {
                id: *thread,
                activity: Activity::Idle { stop: StopReason::EndTurn, since: first.at },
                turn: None,
                attempts: 0,
                calls: Vec::new(),
                ending: Vec::new(),
                transcript: Transcript::default(),
                measured: None,
                learned_limit: None,
                too_long: false,
                summary_failed: false,
                compactions: 0,
                cuts: 0,
            },
            queue: VecDeque::new(),
            fruitless_recoveries: 0,
            tokens: TokenUsage::default(),
            tokens_cost: Usd::ZERO,
            web_fetches: 0,
            budget: *budget,
            rewinds: Vec::new(),
            forked_from: None,
            active_ms: 0,
            working_since: None,
            messages: 0,
            created_at: first.at,
            last_active_at: first.at,
            at: first.at,
            seq: first.seq,
        })
    }

    /// The state after a whole log; `None` if it is empty or doesn't start with a session's creation.
    pub fn replay<'f>(facts: impl IntoIterator<Item = &'f StoredFact> + Clone) -> Option<Self> {
        let mut replay = Replay::new(&past::rewinds(facts.clone()));
        facts.into_iter().for_each(|fact| replay.take(fact));
        replay.into_state()
    }

    /// What its threads do, taken together.
    pub fn fold(&self) -> Fold {
        match self.thread.activity {
            Activity::Idle { .. } => Fold::Idle,
            Activity::Waiting { .. } => Fold::Waiting,
            Activity::Rescheduling { .. } => Fold::Rescheduling,
            Activity::Asking { .. } | Activity::Calling => Fold::Working,
        }
    }

    /// Its line of the status table.
    pub fn phase(&self) -> Phase {
        Phase::of(&self.lifecycle, &self.sandbox, self.fold())
    }

    /// The open call of that name.
    pub fn call(&self, call: ItemId) -> Option<&OpenCall> {
        self.thread.calls.iter().find(|open| open.call == call)
    }

    /// Calls that aren't over: those without a result, running or not, and those that were cancelled and may still be
    /// ending.
    pub fn unfinished_calls(&self) -> Vec<ItemId> {
        self.thread.calls.iter().map(|open| open.call).chain(self.thread.ending.iter().copied()).collect()
    }

    /// Calls that wait for somebody outside.
    pub fn blockers(&self) -> Vec<ItemId> {
        let blocked = self.thread.calls.iter().filter(|open| open.is_blocked());
        blocked.map(|open| open.call).collect()
    }

    /// Why the session has nothing to do now.
    pub fn stop_reason(&self) -> StopReason {
        match &self.thread.activity {
            Activity::Idle { stop, .. } => stop.clone(),
            Activity::Waiting { .. } => StopReason::RequiresAction { calls: self.blockers() },
            Activity::Asking { .. } | Activity::Calling | Activity::Rescheduling { .. } => StopReason::EndTurn,
        }
    }

    /// Milliseconds worked until `now`.
    pub fn active_ms(&self, now: Timestamp) -> u64 {
        let current = self.working_since.map_or(0, |since| now.since(since).as_millis());
        self.active_ms + u64::try_from(current).unwrap_or(u64::MAX)
    }

    /// What it has cost at list prices until `now`; `None` if nobody knows the price of its model.
    pub fn list_cost(&self, now: Timestamp) -> Option<Usd> {
        let price = self.definition.model_facts.price?;
        Some(self.tokens_cost.plus(price.of_time(self.active_ms(now))))
    }

    /// Whether its turn stopped because of the budget, and waits for another one.
    pub fn budget_reached(&self) -> bool {
        matches!(self.thread.activity, Activity::Idle { stop: StopReason::BudgetReached, .. })
    }

    /// Books what a model request took.
    pub(crate) fn book(&mut self, usage: TokenUsage) {
        self.tokens.add(usage);
        if let Some(price) = self.definition.model_facts.price {
            self.tokens_cost = self.tokens_cost.plus(price.of_request(usage));
        }
    }

    /// Whether a restart must look at it: it works, waits for room, something is done to its files, or it is closing.
    fn is_unsettled(&self) -> bool {
        let waits_for_room = self.sandbox == Sandbox::Absent { why: Absent::Queued };
        let closing = matches!(self.lifecycle, Lifecycle::Closing { .. });
        // A sandbox that may be alive is looked at anyway, and with it calls that may still be ending.
        self.fold() == Fold::Working || waits_for_room || closing || self.files.work.is_some()
    }

    /// The row that lists show.
    pub fn summary(&self) -> Summary {
        Summary {
            session: self.session,
            tenant: self.definition.tenant,
            agent: self.definition.agent.id,
            agent_version: self.definition.agent.version,
            agent_name: self.definition.agent.name.clone(),
            environment: self.definition.environment.id,
            thread: self.thread.id,
            title: self.title.clone(),
            first_line: self.first_line.clone(),
            metadata: self.metadata.clone(),
            labels: self.labels.clone(),
            lifecycle: self.lifecycle.clone(),
            sandbox: self.sandbox,
            fold: self.fold(),
            stop: self.stop_reason(),
            tokens: self.tokens,
            tokens_cost: self.tokens_cost,
            web_fetches: self.web_fetches,
            budget: self.budget,
            rewinds: self.rewinds.clone(),
            forked_from: self.forked_from,
            active_ms: self.active_ms,
            working_since: self.working_since,
            messages: self.messages,
            created_at: self.created_at,
            updated_at: self.at,
            last_active_at: self.last_active_at,
            seq: self.seq,
            queued: self.queue.iter().map(|queued| queued.seq).collect(),
            wake_at: crate::lifetime::next_due(self),
            unsettled: self.is_unsettled(),
        }
    }
}

impl OpenCall {
    /// Whether it waits for somebody outside.
    pub fn is_blocked(&self) -> bool {
        match self.progress {
            CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Question => true,
            CallProgress::Ready | CallProgress::Started => false,
        }
    }
}
