//! The parts a session's state is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent::{Agent, Environment, Place};
use crate::content::Block;
use crate::id::{AttemptId, ItemId, SandboxId, TenantId, ThreadId};
use crate::price::ModelFacts;
use crate::time::{Timestamp, millis};

/// What a session is created with. Only the agent's tools change later, and only through a fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Who owns the session.
    pub tenant: TenantId,
    /// Its agent, pinned.
    pub agent: Arc<Agent>,
    /// Its environment, pinned.
    pub environment: Environment,
    /// When it stops or ends without being told.
    pub lifetimes: Lifetimes,
    /// How a failing model is tried again.
    pub retry: RetryPolicy,
    /// What was known of its agent's model when it was created.
    #[serde(default, skip_serializing_if = "ModelFacts::is_empty")]
    pub model_facts: ModelFacts,
    /// How long its conversation may become.
    #[serde(default, skip_serializing_if = "ContextPolicy::is_default")]
    pub context: ContextPolicy,
}

/// When a session stops or ends by itself. `None` is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetimes {
    /// What happens after a time of idleness. The clock runs only while the session is idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<IdleRule>,
    /// How long the sandbox alone outlives the work, also while the session waits for an answer.
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub sandbox_idle: Option<Duration>,
    /// The longest the session may stay running since its sandbox last started; then it stops.
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
    /// Whether the end of a turn, with nothing queued, completes the session.
    #[serde(default)]
    pub end_when_agent_exits: bool,
    /// How long processes get between being asked to end and being ended.
    #[serde(with = "millis")]
    pub stop_grace: Duration,
}

impl Default for Lifetimes {
    /// Never stops and never ends by itself; 10 s of grace.
    fn default() -> Self {
        Self {
            idle: None,
            sandbox_idle: None,
            max_duration: None,
            end_when_agent_exits: false,
            stop_grace: Duration::from_secs(10),
        }
    }
}

/// What idleness leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdleRule {
    /// After how long.
    #[serde(with = "millis")]
    pub after: Duration,
    /// What then.
    pub then: IdleThen,
}

/// What happens when the idle time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum IdleThen {
    /// The session stops and can be resumed.
    Stop,
    /// The session ends.
    End {
        /// With which outcome.
        outcome: Outcome,
        /// What is kept of it.
        keep: Keep,
    },
}

/// What is kept of an ended session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The log and the files.
    Everything,
    /// The log; the files go.
    Log,
}

/// How a failing model is tried again: `base × 2^n`, at most `cap`, or what the provider asks if that is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// How many times after the first.
    pub retries: u32,
    /// The first wait.
    #[serde(with = "millis")]
    pub base: Duration,
    /// The longest wait, the provider's wish included.
    #[serde(with = "millis")]
    pub cap: Duration,
}

impl Default for RetryPolicy {
    /// Five retries: 1, 2, 4, 8 and 16 s, at most 60 s.
    fn default() -> Self {
        Self { retries: 5, base: Duration::from_secs(1), cap: Duration::from_secs(60) }
    }
}

/// How long a conversation may become until its older part is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextPolicy {
    /// The tokens the model takes at once: what it is sent and what it replies.
    pub window: u64,
    /// The tokens of it that are kept free for a reply.
    pub reply: u64,
    /// The part of what is left, in hundredths, that a request may take.
    pub share_percent: u64,
}

impl ContextPolicy {
    /// The most tokens of a request. A reply may ask for no more than half of the window.
    pub fn limit(&self) -> u64 {
        let room = self.window - self.reply.min(self.window / 2);
        room.saturating_mul(self.share_percent) / 100
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for ContextPolicy {
    /// A window of 128,000 tokens, of which a request may take 80 hundredths.
    fn default() -> Self {
        Self { window: 128_000, reply: 0, share_percent: 80 }
    }
}

/// Whether the session is open, closing, or over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Lifecycle {
    /// It takes input.
    Open,
    /// It ends as soon as its sandbox has stopped.
    Closing {
        /// How it will have ended.
        outcome: Outcome,
        /// What will be kept.
        keep: Keep,
        /// When closing began.
        at: Timestamp,
    },
    /// It is over.
    Ended {
        /// How it ended.
        outcome: Outcome,
        /// When it began to end.
        at: Timestamp,
    },
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its work was done.
    Completed,
    /// A person ended it.
    EndedByUser,
    /// It was idle for too long.
    TimedOut,
    /// It was archived: readable, closed to input.
    Archived,
    /// It can't go on.
    Failed,
}

/// The running isolation of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Sandbox {
    /// There is none.
    Absent {
        /// Why not.
        why: Absent,
    },
    /// One is being made.
    Starting {
        /// Which.
        sandbox: SandboxId,
    },
    /// One is there.
    Running {
        /// Which.
        sandbox: SandboxId,
        /// Since when.
        since: Timestamp,
    },
    /// Its processes are being ended.
    Stopping {
        /// Which.
        sandbox: SandboxId,
        /// Why.
        why: StopCause,
    },
}

/// Why there is no sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absent {
    /// Nothing has needed one yet.
    NotYet,
    /// One is wanted and waits for room.
    Queued,
    /// It was stopped; its files are kept.
    Stopped,
    /// It died; its files are kept.
    Lost,
}

/// Why a sandbox is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// Somebody asked, or the session ends.
    Asked,
    /// Nobody used it.
    IdleTooLong,
}

/// What a thread is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Activity {
    /// Nothing.
    Idle {
        /// Why the last turn stopped.
        stop: StopReason,
        /// Since when.
        since: Timestamp,
    },
    /// A model request is in flight.
    Asking {
        /// Which.
        attempt: Attempt,
    },
    /// Tool calls are open, and at least one can run.
    Calling,
    /// Every open call waits for somebody outside.
    Waiting {
        /// Since when.
        since: Timestamp,
    },
    /// A failed model request will be made again.
    Rescheduling {
        /// How many have failed in a row.
        failures: u32,
        /// When.
        until: Timestamp,
    },
}

/// A model request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The token that its result must carry.
    pub id: AttemptId,
    /// The item that shows its start.
    pub item: ItemId,
    /// How many requests of this turn have failed in a row before it.
    pub failures: u32,
    /// What it is made for.
    #[serde(default)]
    pub purpose: Purpose,
}

/// What a model request is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The next reply in the conversation.
    #[default]
    Reply,
    /// A summary that stands in place of the conversation's older part.
    Summary,
}

impl Purpose {
    /// Whether it is the usual one.
    pub(crate) fn is_reply(&self) -> bool {
        *self == Self::Reply
    }
}

/// Why a turn stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StopReason {
    /// The agent was done, or was interrupted, or hasn't begun.
    EndTurn,
    /// It waits for the results of, or answers to, these calls.
    RequiresAction {
        /// The calls.
        calls: Vec<ItemId>,
    },
    /// The model failed too often.
    RetriesExhausted,
    /// The next model request might cost more than is left of the budget.
    BudgetReached,
    /// The model refused.
    Refusal {
        /// The provider's category.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        category: Option<String>,
        /// The provider's explanation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explanation: Option<String>,
    },
}

/// A tool call whose result isn't in the conversation yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The item that shows it, and its name everywhere.
    pub call: ItemId,
    /// The tool's name.
    pub name: String,
    /// Its input.
    pub input: serde_json::Value,
    /// Where it runs, if it does.
    #[serde(default)]
    pub place: Place,
    /// How far it is.
    pub progress: CallProgress,
    /// Whether a person allowed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
    /// When the model made it, or when it was begun.
    pub asked_at: Timestamp,
}

/// How far an open call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallProgress {
    /// A person must allow it first.
    NeedsApproval,
    /// The client runs it.
    AtClient,
    /// It is a question, and a person is to answer it.
    Question,
    /// It may run when its turn comes.
    Ready,
    /// It has been handed to the sandbox, or the server runs it.
    Started,
}

/// What somebody outside says to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Input {
    /// A message for the agent.
    Message {
        /// What it says.
        content: Vec<Block>,
        /// When it is read, if the agent is at work.
        #[serde(default, skip_serializing_if = "Delivery::is_after_turn")]
        delivery: Delivery,
    },
    /// Instructions of whoever runs the agent, beside its system prompt from then on.
    SystemMessage {
        /// What it says: text.
        content: Vec<Block>,
        /// When it is read: with what it came with.
        #[serde(default, skip_serializing_if = "Delivery::is_after_turn")]
        delivery: Delivery,
    },
    /// A message that is the answer to a question the model asked. The result of that call follows it.
    Answer {
        /// The question's call.
        call: ItemId,
        /// What it says.
        content: Vec<Block>,
    },
    /// Stop what is going on.
    Interrupt {
        /// On one thread, or on all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<ThreadId>,
    },
    /// A person's answer to a call that needs approval.
    Confirmation {
        /// The call.
        call: ItemId,
        /// The answer.
        answer: Answer,
    },
    /// The result of a call that the client ran.
    ClientResult {
        /// The call.
        call: ItemId,
        /// Its result.
        content: Vec<Block>,
        /// Whether it failed.
        is_error: bool,
    },
}

impl Input {
    /// Whether it is read before the turn under way asks its model again.
    pub fn steers(&self) -> bool {
        match self {
            Self::Message { delivery, .. } | Self::SystemMessage { delivery, .. } => *delivery == Delivery::Steer,
            Self::Answer { .. } | Self::Interrupt { .. } | Self::Confirmation { .. } | Self::ClientResult { .. } => {
                false
            }
        }
    }

    /// Whether calls that haven't begun are given up for it.
    pub fn goes_before_calls(&self) -> bool {
        matches!(self, Self::Message { .. }) && self.steers()
    }

    /// Whether it is something to answer, and not only to heed.
    pub fn wants_a_turn(&self) -> bool {
        !matches!(self, Self::SystemMessage { .. })
    }
}

/// When a message is read that comes while the agent is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// When the turn is over.
    #[default]
    AfterTurn,
    /// Within the turn: as soon as the call that runs is over. Calls that haven't begun are given up for it.
    Steer,
}

impl Delivery {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
    fn is_after_turn(&self) -> bool {
        *self == Self::AfterTurn
    }
}

/// Whether a call may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer {
    /// It may.
    Allow,
    /// It may not.
    Deny {
        /// Why, for the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

/// Names and values a client attaches to a session.
pub type Metadata = BTreeMap<String, String>;

/// The most pairs anything has.
pub const MAX_METADATA: usize = 16;

/// Short words a client attaches to a session to find it again.
pub type Labels = BTreeSet<String>;
