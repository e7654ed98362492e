//! What has happened to a session. Facts are stored, in order, and never change.
//!
//! A fact carries every id its frames print and prints at most one frame per front door from itself alone, so a client
//! that resumes needs no replay. `docs/facts.md` describes every kind; the serde names here are the stored form.
//!
//! Long because every kind stands here, with what each question about a fact answers for each kind.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Limits, Place, ToolConfig};
use crate::content::{BlobId, Block};
use crate::files::SnapshotEnding;
use crate::fork::ForkedFrom;
use crate::id::{AttemptId, ItemId, SandboxId, SessionId, SnapshotId, ThreadId, TurnId};
use crate::model::{FailureKind, TokenUsage};
use crate::price::{Budget, Usd};
use crate::session::{Absent, Definition, Input, Keep, Labels, Metadata, Outcome, Purpose, StopCause, StopReason};
use crate::time::Timestamp;

/// A fact in its place in a session's log.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFact {
    /// Whose it is.
    pub session: SessionId,
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// When it happened; never earlier than the fact before it.
    pub at: Timestamp,
    /// What happened.
    pub fact: Arc<Fact>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// The session exists. Always the first fact.
    SessionCreated {
        /// What it was created with.
        definition: Arc<Definition>,
        /// Its primary thread.
        thread: ThreadId,
        /// A label for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
        /// Names and values of the client's.
        #[serde(default)]
        metadata: Metadata,
        /// Short words to find it again by.
        #[serde(default, skip_serializing_if = "Labels::is_empty")]
        labels: Labels,
        /// What it may cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
    },
    /// Its title, metadata or labels, its agent's tools, its budget or its limits changed; only what changed is named.
    SessionUpdated {
        /// Shown under this id.
        item: ItemId,
        /// The new title; the inner `None` cleared it.
        #[serde(default, with = "cleared", skip_serializing_if = "Option::is_none")]
        title: Option<Option<String>>,
        /// The whole new metadata.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata>,
        /// The whole new labels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        labels: Option<Labels>,
        /// The agent's whole new tools.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tools: Option<Vec<ToolConfig>>,
        /// The new budget; the inner `None` took it away for good.
        #[serde(default, with = "cleared", skip_serializing_if = "Option::is_none")]
        budget: Option<Option<Budget>>,
        /// All limits of its sandbox from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limits: Option<Limits>,
    },
    /// Input was accepted and waits for its turn.
    InputQueued {
        /// Shown under this id.
        item: ItemId,
        /// For which thread.
        thread: ThreadId,
        /// What it says.
        input: Input,
    },
    /// Input took effect.
    InputProcessed {
        /// Shown under this id, the same as when it was queued.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// What it says.
        input: Input,
    },
    /// Queued input was taken back before it took effect.
    InputWithdrawn {
        /// Shown under this id, the same as when it was queued.
        item: ItemId,
        /// For which thread it was.
        thread: ThreadId,
        /// What it said.
        input: Input,
    },
    /// A turn began, or went on after waiting.
    ThreadRunning {
        /// Shown under this id.
        item: ItemId,
        /// Which thread.
        thread: ThreadId,
        /// Which turn.
        turn: TurnId,
        /// The name of the thread's agent.
        agent_name: String,
    },
    /// A thread has nothing to do, or waits.
    ThreadIdle {
        /// Shown under this id.
        item: ItemId,
        /// Which thread.
        thread: ThreadId,
        /// Which turn stopped.
        turn: TurnId,
        /// The name of the thread's agent.
        agent_name: String,
        /// Why it stopped.
        stop: StopReason,
    },
    /// A failed model request will be made again.
    ThreadRescheduled {
        /// Shown under this id.
        item: ItemId,
        /// Which thread.
        thread: ThreadId,
        /// The name of the thread's agent.
        agent_name: String,
        /// How many have failed in a row.
        failures: u32,
        /// When it will be made.
        until: Timestamp,
    },
    /// The session, as the fold of its threads, is at work.
    SessionRunning {
        /// Shown under this id.
        item: ItemId,
    },
    /// The session, as the fold of its threads, has nothing to do or waits.
    SessionIdle {
        /// Shown under this id.
        item: ItemId,
        /// Why.
        stop: StopReason,
    },
    /// The session, as the fold of its threads, waits to ask a model again.
    SessionRescheduled {
        /// Shown under this id.
        item: ItemId,
    },
    /// The tokens and the time used so far. Comes right before every [`Fact::SessionIdle`].
    UsageRecorded {
        /// Shown under this id.
        item: ItemId,
        /// All tokens of the session.
        tokens: TokenUsage,
        /// Milliseconds the session has worked.
        active_ms: u64,
        /// Pages the server has fetched for it.
        #[serde(default, skip_serializing_if = "is_zero")]
        web_fetches: u64,
        /// What it has cost at list prices; `None` if nobody knows the price of its model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        list_cost: Option<Usd>,
        /// What it may cost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        budget: Option<Budget>,
    },
    /// A model request is about to be made.
    AttemptStarted {
        /// Shown under this id.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// The token its result must carry.
        attempt: AttemptId,
        /// How many requests of this turn have failed in a row before it.
        failures: u32,
        /// What it is made for.
        #[serde(default, skip_serializing_if = "Purpose::is_reply")]
        purpose: Purpose,
    },
    /// A model request is over.
    AttemptEnded {
        /// Shown under this id.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// Which.
        attempt: AttemptId,
        /// The item that showed its start.
        start: ItemId,
        /// How it ended.
        ending: AttemptEnding,
        /// The tokens it took.
        usage: TokenUsage,
    },
    /// The model thought.
    ThinkingSaid {
        /// Shown under this id.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// The thought.
        thinking: Thinking,
    },
    /// The model said something.
    MessageSaid {
        /// Shown under this id.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// What.
        text: String,
    },
    /// The model called a tool.
    CallRequested {
        /// Shown under this id, which names the call.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// The tool's name.
        name: String,
        /// Its input.
        input: Value,
        /// What was decided about it.
        gate: Gate,
        /// Where it runs, if it does.
        #[serde(default, skip_serializing_if = "Place::is_sandbox")]
        place: Place,
    },
    /// A call was begun: handed to the sandbox, or run by the server itself.
    CallStarted {
        /// Which.
        call: ItemId,
    },
    /// A cancelled call is done with: everything it started is over, or nothing more can be done about it.
    CallSettled {
        /// Which.
        call: ItemId,
    },
    /// A call is over.
    CallEnded {
        /// Shown under this id.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// Which.
        call: ItemId,
        /// How it ended.
        ending: CallEnding,
        /// Its result, for the model.
        content: Vec<Block>,
        /// Whether it failed.
        is_error: bool,
    },
    /// The conversation became too long for the model, and from now on is sent without its older part. What was said stays
    /// in the log.
    ConversationCompacted {
        /// Shown under this id.
        item: ItemId,
        /// On which thread.
        thread: ThreadId,
        /// What the model wrote to stand in place of what left; without it, nothing does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        summary: Option<String>,
        /// So many of the oldest messages that were sent until now have left.
        left: u32,
        /// In so many of the oldest of those that stay, long output of calls gave way to a note.
        #[serde(default)]
        emptied: u32,
    },
    /// Something failed that people should know of.
    ErrorRaised {
        /// Shown under this id.
        item: ItemId,
        /// What.
        problem: Problem,
        /// What happens next.
        next: AfterError,
    },
    /// A sandbox is wanted.
    SandboxStarting {
        /// Which.
        sandbox: SandboxId,
    },
    /// A sandbox is there.
    SandboxRunning {
        /// Which.
        sandbox: SandboxId,
    },
    /// A sandbox is to end.
    SandboxStopping {
        /// Which.
        sandbox: SandboxId,
        /// Why.
        why: StopCause,
    },
    /// There is no sandbox.
    SandboxAbsent {
        /// Why not.
        why: Absent,
        /// The cause, for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A snapshot of the files is being taken.
    SnapshotStarted {
        /// Which.
        snapshot: SnapshotId,
        /// The place of the turn's end it belongs to; without it, it belongs to this very place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        turn_end: Option<u64>,
        /// Its name, if somebody asked for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// A snapshot was taken, or won't be.
    SnapshotEnded {
        /// Which.
        snapshot: SnapshotId,
        /// How it ended.
        ending: SnapshotEnding,
    },
    /// A snapshot isn't kept any longer.
    SnapshotRemoved {
        /// Which.
        snapshot: SnapshotId,
    },
    /// Somebody other than a call wrote to the files, or runs something that may. The session isn't idle while they do.
    FilesChanged {},
    /// The session goes on from an earlier place of its log.
    SessionRewound {
        /// The place.
        to: u64,
        /// The snapshot that the files go back to; `None`: what a session starts with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<SnapshotId>,
        /// Whether the files go back at all: those that nobody ever wrote to needn't.
        files: bool,
    },
    /// The files are what they were at the place that the session was rewound to.
    FilesRewound {
        /// Why they aren't, for a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// The session was made from another. What stands before it in the log happened to that one.
    SessionForked {
        /// From which, where, and what was taken over.
        #[serde(flatten)]
        from: ForkedFrom,
        /// The name of the snapshot whose files it begins with, if that has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The earlier snapshots that it has too.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        earlier: Vec<SnapshotId>,
        /// Its own label for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// The server died while the session worked, and what was cut off is taken up.
    SessionRecovered {
        /// How many times in a row this has happened without progress in between, this one included.
        fruitless: u32,
    },
    /// Somebody stopped the session: it does nothing more until resumed or spoken to.
    SessionHeld {},
    /// The session goes on after a stop.
    SessionResumed {},
    /// The session is to end.
    SessionClosing {
        /// How.
        outcome: Outcome,
        /// What is kept.
        keep: Keep,
    },
    /// The session is over. Always the last fact.
    SessionEnded {
        /// Shown under this id.
        item: ItemId,
        /// How.
        outcome: Outcome,
    },
}

/// What the model thought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Thinking {
    /// In words.
    Plain {
        /// The words; empty when the provider hides them.
        text: String,
        /// The provider's proof.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// Encrypted by the provider.
    Redacted {
        /// Its opaque data.
        data: String,
    },
}

/// How a model request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptEnding {
    /// With a reply.
    Replied,
    /// With a reply that was cut off at the most tokens one may have.
    Cut,
    /// With a failure.
    Failed,
    /// The provider found the conversation too long.
    TooLong,
    /// Somebody interrupted it. Its tokens are estimated.
    Interrupted,
    /// The server died while it was in flight. Its tokens are estimated.
    Lost,
}

/// What was decided about a call when the model made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// It runs.
    Allowed,
    /// It waits for a person.
    NeedsApproval,
    /// The client runs it.
    AtClient,
    /// A person answers it.
    Question,
    /// It doesn't run: no such tool, a tool that is switched off, or input that is no JSON object.
    Refused,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallEnding {
    /// It ran to its end.
    Finished,
    /// It was interrupted while it ran in the sandbox; it is being ended.
    Cancelled,
    /// It was interrupted while the server ran it, and is over with that.
    Interrupted,
    /// It never ran.
    Skipped,
    /// A person said no.
    Denied,
    /// It had started and what ran it died: the outcome is unknown.
    Lost,
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Problem {
    /// A model request.
    Model {
        /// What kind of failure.
        failure: FailureKind,
        /// What was expected and what came.
        message: String,
    },
    /// The sandbox couldn't be made.
    Sandbox {
        /// Why.
        message: String,
    },
    /// The turn made more model requests than are allowed.
    TooManyAttempts {
        /// How many are allowed.
        limit: u32,
    },
    /// The model's replies were cut off again and again at the most tokens one may have.
    RepliesCut {
        /// How many in a row.
        times: u32,
    },
    /// The server died again and again while the session worked, without progress in between.
    ServerDied {
        /// How many times in a row.
        times: u32,
    },
}

/// What happens after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterError {
    /// It is tried again by itself.
    Retrying,
    /// The turn is over; the session takes new input.
    TurnOver,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks in this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `Some(None)` is stored as null and read back as such; plain serde would read null as `None`.
mod cleared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        clippy::option_option,
        reason = "the signature is serde's; the two levels mean unchanged and cleared"
    )]
    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &Option<Option<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    #[expect(clippy::option_option, reason = "the two levels mean unchanged and cleared")]
    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::<T>::deserialize(deserializer).map(Some)
    }
}

impl Fact {
    /// The stored name of this kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SessionCreated { .. } => "session_created",
            Self::SessionUpdated { .. } => "session_updated",
            Self::InputQueued { .. } => "input_queued",
            Self::InputProcessed { .. } => "input_processed",
            Self::InputWithdrawn { .. } => "input_withdrawn",
            Self::ThreadRunning { .. } => "thread_running",
            Self::ThreadIdle { .. } => "thread_idle",
            Self::ThreadRescheduled { .. } => "thread_rescheduled",
            Self::SessionRunning { .. } => "session_running",
            Self::SessionIdle { .. } => "session_idle",
            Self::SessionRescheduled { .. } => "session_rescheduled",
            Self::UsageRecorded { .. } => "usage_recorded",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AttemptEnded { .. } => "attempt_ended",
            Self::ThinkingSaid { .. } => "thinking_said",
            Self::MessageSaid { .. } => "message_said",
            Self::CallRequested { .. } => "call_requested",
            Self::CallStarted { .. } => "call_started",
            Self::CallSettled { .. } => "call_settled",
            Self::CallEnded { .. } => "call_ended",
            Self::ConversationCompacted { .. } => "conversation_compacted",
            Self::ErrorRaised { .. } => "error_raised",
            Self::SandboxStarting { .. } => "sandbox_starting",
            Self::SandboxRunning { .. } => "sandbox_running",
            Self::SandboxStopping { .. } => "sandbox_stopping",
            Self::SandboxAbsent { .. } => "sandbox_absent",
            Self::SnapshotStarted { .. } => "snapshot_started",
            Self::SnapshotEnded { .. } => "snapshot_ended",
            Self::SnapshotRemoved { .. } => "snapshot_removed",
            Self::FilesChanged {} => "files_changed",
            Self::SessionRewound { .. } => "session_rewound",
            Self::FilesRewound { .. } => "files_rewound",
            Self::SessionForked { .. } => "session_forked",
            Self::SessionRecovered { .. } => "session_recovered",
            Self::SessionHeld {} => "session_held",
            Self::SessionResumed {} => "session_resumed",
            Self::SessionClosing { .. } => "session_closing",
            Self::SessionEnded { .. } => "session_ended",
        }
    }

    /// What people or tools said in it.
    pub fn content(&self) -> &[Block] {
        match self {
            Self::InputQueued { input, .. }
            | Self::InputProcessed { input, .. }
            | Self::InputWithdrawn { input, .. } => match input {
                Input::Message { content, .. }
                | Input::SystemMessage { content, .. }
                | Input::Answer { content, .. }
                | Input::ClientResult { content, .. } => content,
                Input::Interrupt { .. } | Input::Confirmation { .. } => &[],
            },
            Self::CallEnded { content, .. } => content,
            Self::SessionCreated { .. }
            | Self::SessionUpdated { .. }
            | Self::ThreadRunning { .. }
            | Self::ThreadIdle { .. }
            | Self::ThreadRescheduled { .. }
            | Self::SessionRunning { .. }
            | Self::SessionIdle { .. }
            | Self::SessionRescheduled { .. }
            | Self::UsageRecorded { .. }
            | Self::AttemptStarted { .. }
            | Self::AttemptEnded { .. }
            | Self::ThinkingSaid { .. }
            | Self::MessageSaid { .. }
            | Self::CallRequested { .. }
            | Self::CallStarted { .. }
            | Self::CallSettled { .. }
            | Self::ConversationCompacted { .. }
            | Self::ErrorRaised { .. }
            | Self::SandboxStarting { .. }
            | Self::SandboxRunning { .. }
            | Self::SandboxStopping { .. }
            | Self::SandboxAbsent { .. }
            | Self::SnapshotStarted { .. }
            | Self::SnapshotEnded { .. }
            | Self::SnapshotRemoved { .. }
            | Self::FilesChanged {}
            | Self::SessionRewound { .. }
            | Self::FilesRewound { .. }
            | Self::SessionForked { .. }
            | Self::SessionRecovered { .. }
            | Self::SessionHeld {}
            | Self::SessionResumed {}
            | Self::SessionClosing { .. }
            | Self::SessionEnded { .. } => &[],
        }
    }

    /// The blobs its content names.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobId> {
        self.content().iter().filter_map(Block::blob)
    }

    /// The item this fact shows, if any.
    pub fn item(&self) -> Option<ItemId> {
        match self {
            Self::SessionUpdated { item, .. }
            | Self::InputQueued { item, .. }
            | Self::InputProcessed { item, .. }
            | Self::InputWithdrawn { item, .. }
            | Self::ThreadRunning { item, .. }
            | Self::ThreadIdle { item, .. }
            | Self::ThreadRescheduled { item, .. }
            | Self::SessionRunning { item }
            | Self::SessionIdle { item, .. }
            | Self::SessionRescheduled { item }
            | Self::UsageRecorded { item, .. }
            | Self::AttemptStarted { item, .. }
            | Self::AttemptEnded { item, .. }
            | Self::ThinkingSaid { item, .. }
            | Self::MessageSaid { item, .. }
            | Self::CallRequested { item, .. }
            | Self::CallEnded { item, .. }
            | Self::ConversationCompacted { item, .. }
            | Self::ErrorRaised { item, .. }
            | Self::SessionEnded { item, .. } => Some(*item),
            Self::SessionCreated { .. }
            | Self::CallStarted { .. }
            | Self::CallSettled { .. }
            | Self::SandboxStarting { .. }
            | Self::SandboxRunning { .. }
            | Self::SandboxStopping { .. }
            | Self::SandboxAbsent { .. }
            | Self::SnapshotStarted { .. }
            | Self::SnapshotEnded { .. }
            | Self::SnapshotRemoved { .. }
            | Self::FilesChanged {}
            | Self::SessionRewound { .. }
            | Self::FilesRewound { .. }
            | Self::SessionForked { .. }
            | Self::SessionRecovered { .. }
            | Self::SessionHeld {}
            | Self::SessionResumed {}
            | Self::SessionClosing { .. } => None,
        }
    }
}
