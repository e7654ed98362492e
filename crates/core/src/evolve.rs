//! How each fact changes the state. Evolving never refuses and never decides: what a fact says has happened.

use std::sync::Arc;

use crate::content::Block;
use crate::fact::{AttemptEnding, CallEnding, Fact, Gate, StoredFact, Thinking};
use crate::files::{Files, FilesWork, Snapshot, SnapshotEnding};
use crate::fork::ForkKind;
use crate::id::ItemId;
use crate::model::{Part, Role, TokenUsage};
use crate::past::Rewind;
use crate::price::Usd;
use crate::session::{
    Absent, Activity, Answer, Attempt, CallProgress, Input, Keep, Lifecycle, OpenCall, Purpose, Sandbox, StopReason,
};
use crate::state::{Measured, Queued, State};
use crate::time::Timestamp;

/// The longest first line a list shows, in characters.
const FIRST_LINE_CHARS: usize = 120;

/// No model takes less. A provider that finds less too long means something else than tokens.
const LEAST_LIMIT: u64 = 1_000;

/// The part of what is guessed, one in so many, below which a count isn't believed.
const LEAST_COUNTED: u64 = 8;
/// The built-in tool that is counted, as the API counts it.
const WEB_FETCH: &str = "web_fetch";

impl State {
    /// Takes in the next fact. After [`Fact::SessionRewound`], the conversation has still to [go back](Self::go_back).
    pub fn evolve(&mut self, stored: &StoredFact) {
        let at = stored.at;
        self.seq = stored.seq;
        self.at = at;
        match &*stored.fact {
            Fact::SessionCreated { .. } => {}
            Fact::SessionUpdated { title, metadata, labels, tools, budget, limits, .. } => {
                if let Some(title) = title {
                    self.title.clone_from(title);
                }
                if let Some(metadata) = metadata {
                    self.metadata.clone_from(metadata);
                }
                if let Some(labels) = labels {
                    self.labels.clone_from(labels);
                }
                if let Some(tools) = tools {
                    let definition = Arc::make_mut(&mut self.definition);
                    Arc::make_mut(&mut definition.agent).tools.clone_from(tools);
                }
                if let Some(budget) = budget {
                    self.budget = *budget;
                }
                if let Some(limits) = limits {
                    Arc::make_mut(&mut self.definition).environment.limits = *limits;
                }
            }
            Fact::InputQueued { item, input, .. } => {
                self.queue.push_back(Arc::new(Queued { item: *item, seq: stored.seq, input: input.clone() }));
                self.last_active_at = at;
            }
            Fact::InputProcessed { item, input, .. } => {
                self.fruitless_recoveries = 0;
                self.take_in(*item, input, at);
            }
            Fact::InputWithdrawn { item, .. } => self.unqueue(*item),
            Fact::ThreadRunning { turn, .. } => {
                if self.thread.turn != Some(*turn) {
                    self.thread.turn = Some(*turn);
                    self.thread.attempts = 0;
                    self.thread.cuts = 0;
                    self.begin_anew();
                }
                self.thread.activity = Activity::Calling;
            }
            Fact::ThreadIdle { stop, .. } => {
                self.last_active_at = at;
                self.thread.activity = match stop {
                    StopReason::RequiresAction { .. } => Activity::Waiting { since: at },
                    StopReason::EndTurn
                    | StopReason::RetriesExhausted
                    | StopReason::BudgetReached
                    | StopReason::Refusal { .. } => Activity::Idle { stop: stop.clone(), since: at },
                };
            }
            Fact::ThreadRescheduled { failures, until, .. } => {
                self.thread.activity = Activity::Rescheduling { failures: *failures, until: *until };
                self.thread.summary_failed = false;
            }
            Fact::SessionRunning { .. } => self.working_since = self.working_since.or(Some(at)),
            Fact::SessionIdle { stop, .. } => {
                self.active_ms = self.active_ms(at);
                self.working_since = None;
                let turn_is_over = !matches!(stop, StopReason::RequiresAction { .. });
                if turn_is_over && self.files.changed {
                    self.files.due = Some(stored.seq);
                }
            }
            Fact::SessionRescheduled { .. } => {
                self.active_ms = self.active_ms(at);
                self.working_since = None;
            }
            Fact::UsageRecorded { .. } | Fact::ErrorRaised { .. } => {}
            Fact::AttemptStarted { item, attempt, failures, purpose, .. } => {
                self.thread.attempts += 1;
                let attempt = Attempt { id: *attempt, item: *item, failures: *failures, purpose: *purpose };
                self.thread.activity = Activity::Asking { attempt };
            }
            Fact::AttemptEnded { usage, ending, .. } => {
                self.book(*usage);
                self.end_attempt(*ending, *usage);
            }
            Fact::ThinkingSaid { thinking, .. } => {
                let part = match thinking {
                    Thinking::Plain { text, signature } => {
                        Part::Thinking { text: text.clone(), signature: signature.clone() }
                    }
                    Thinking::Redacted { data } => Part::RedactedThinking { data: data.clone() },
                };
                self.thread.transcript.push(Role::Assistant, part);
            }
            Fact::MessageSaid { text, .. } => {
                self.messages += 1;
                self.last_active_at = at;
                self.thread.transcript.push(Role::Assistant, Part::Content { block: Block::text(text) });
            }
            Fact::CallRequested { item, name, input, gate, place, .. } => {
                let part = Part::ToolUse { call: *item, name: name.clone(), input: input.clone() };
                self.thread.transcript.push(Role::Assistant, part);
                let progress = match gate {
                    Gate::Allowed | Gate::Refused => CallProgress::Ready,
                    Gate::NeedsApproval => CallProgress::NeedsApproval,
                    Gate::AtClient => CallProgress::AtClient,
                    Gate::Question => CallProgress::Question,
                };
                let (name, input) = (name.clone(), input.clone());
                self.thread.calls.push(OpenCall {
                    call: *item,
                    name,
                    input,
                    place: *place,
                    progress,
                    approved: false,
                    asked_at: at,
                });
            }
            Fact::CallStarted { call } => {
                if self.call(*call).is_some_and(|open| open.name == WEB_FETCH) {
                    self.web_fetches += 1;
                }
                self.set_progress(*call, CallProgress::Started);
                if let Some(open) = self.open_call(*call) {
                    open.asked_at = at;
                    if open.place.is_sandbox() {
                        self.files.changed = true;
                        self.files.due = None;
                    }
                }
            }
            Fact::CallEnded { call, ending, content, is_error, .. } => {
                self.close_call(*call, content, *is_error);
                match ending {
                    CallEnding::Finished => self.fruitless_recoveries = 0,
                    CallEnding::Cancelled => self.thread.ending.push(*call),
                    CallEnding::Interrupted | CallEnding::Skipped | CallEnding::Denied | CallEnding::Lost => {}
                }
            }
            Fact::CallSettled { call } => self.thread.ending.retain(|ending| ending != call),
            Fact::ConversationCompacted { summary, left, emptied, .. } => {
                self.thread.transcript.compact(summary.as_deref(), *left as usize, *emptied as usize);
                self.thread.measured = None;
                self.thread.compactions += 1;
            }
            Fact::SandboxStarting { sandbox } => self.sandbox = Sandbox::Starting { sandbox: *sandbox },
            Fact::SandboxRunning { sandbox } => self.sandbox = Sandbox::Running { sandbox: *sandbox, since: at },
            Fact::SandboxStopping { sandbox, why } => self.sandbox = Sandbox::Stopping { sandbox: *sandbox, why: *why },
            Fact::SandboxAbsent { why, .. } => {
                self.sandbox = Sandbox::Absent { why: *why };
                match why {
                    // Whatever ran in it is over.
                    Absent::NotYet | Absent::Stopped => self.thread.ending.clear(),
                    // It is taken for dead. The next one, or the same one after all, is told of cancelled calls anyway.
                    Absent::Queued | Absent::Lost => {}
                }
            }
            Fact::SnapshotStarted { snapshot, turn_end, name } => {
                self.files.begin_snapshot(*snapshot, turn_end.unwrap_or(stored.seq), name.clone());
            }
            Fact::SnapshotEnded { snapshot, ending } => self.files.end_snapshot(*snapshot, ending, at),
            Fact::SnapshotRemoved { snapshot } => self.files.remove_snapshot(*snapshot),
            Fact::FilesChanged {} => {
                self.files.changed = true;
                self.last_active_at = at;
            }
            Fact::FilesRewound { failed } => self.files.end_rewind(failed.is_none()),
            Fact::SessionRewound { to, snapshot, files } => {
                self.rewinds.push(Rewind { place: stored.seq, to: *to });
                self.last_active_at = at;
                self.files.due = None;
                if *files {
                    self.files.work = Some(FilesWork::Rewind { place: stored.seq, snapshot: *snapshot });
                }
            }
            Fact::SessionForked { .. } => self.begin_apart(stored),
            Fact::SessionRecovered { fruitless } => self.fruitless_recoveries = *fruitless,
            Fact::SessionHeld {} => self.held = true,
            Fact::SessionResumed {} => {
                self.held = false;
                self.last_active_at = at;
                if self.sandbox == (Sandbox::Absent { why: Absent::Stopped }) {
                    self.sandbox = Sandbox::Absent { why: Absent::NotYet };
                }
            }
            Fact::SessionClosing { outcome, keep } => {
                self.lifecycle = Lifecycle::Closing { outcome: *outcome, keep: *keep, at };
                match keep {
                    Keep::Everything => {}
                    Keep::Log => self.files = Files::default(),
                }
            }
            Fact::SessionEnded { outcome, .. } => {
                let began = match self.lifecycle {
                    Lifecycle::Closing { at: began, .. } => began,
                    Lifecycle::Open | Lifecycle::Ended { .. } => at,
                };
                self.lifecycle = Lifecycle::Ended { outcome: *outcome, at: began };
                self.working_since = None;
                self.thread.ending.clear();
                (self.files.work, self.files.due) = (None, None);
            }
        }
    }

    /// What happened so far happened to another session, from which this one was made.
    fn begin_apart(&mut self, stored: &StoredFact) {
        let Fact::SessionForked { from, name, earlier, title } = &*stored.fact else { return };
        let is_shared = |kept: &&Snapshot| earlier.contains(&kept.id) || from.snapshot == Some(kept.id);
        let mut snapshots: Vec<Snapshot> = self.files.snapshots.iter().filter(is_shared).cloned().collect();
        if let Some(id) = from.snapshot
            && !snapshots.iter().any(|kept| kept.id == id)
        {
            let point = match (from.what, &self.files.work) {
                // Places of the other's log say nothing here: the files are there from the beginning.
                (ForkKind::Clone, _) => stored.seq,
                // The log parts before it says that the snapshot was taken. It may be that of a turn before.
                (ForkKind::Fork, Some(FilesWork::Snapshot { snapshot, point, .. })) if *snapshot == id => *point,
                (ForkKind::Fork, Some(FilesWork::Snapshot { .. } | FilesWork::Rewind { .. }) | None) => from.at,
            };
            let ending = SnapshotEnding::Reused;
            snapshots.push(Snapshot { id, point, name: name.clone(), at: stored.at, ending });
        }
        self.files = Files { current: from.snapshot, snapshots: Arc::new(snapshots), ..Files::default() };
        self.forked_from = Some(*from);
        self.title.clone_from(title);
        self.lifecycle = Lifecycle::Open;
        self.sandbox = Sandbox::Absent { why: Absent::NotYet };
        self.held = false;
        self.thread.ending.clear();
        self.queue.clear();
        self.fruitless_recoveries = 0;
        (self.tokens, self.tokens_cost, self.web_fetches) = (TokenUsage::default(), Usd::ZERO, 0);
        (self.active_ms, self.working_since) = (0, None);
        (self.created_at, self.last_active_at) = (stored.at, stored.at);
    }

    fn take_in(&mut self, item: ItemId, input: &Input, at: Timestamp) {
        self.unqueue(item);
        self.last_active_at = at;
        match input {
            Input::Message { content, .. } => {
                self.count_message(content);
                for block in content {
                    self.thread.transcript.push(Role::User, Part::Content { block: block.clone() });
                }
            }
            Input::SystemMessage { content, .. } => {
                for text in content.iter().filter_map(Block::as_text) {
                    self.thread.transcript.push(Role::User, Part::System { text: text.to_owned() });
                }
            }
            Input::Answer { content, .. } => self.count_message(content),
            Input::Interrupt { .. } => {}
            Input::Confirmation { call, answer } => match answer {
                Answer::Allow => {
                    self.set_progress(*call, CallProgress::Ready);
                    if let Some(open) = self.open_call(*call) {
                        open.approved = true;
                    }
                }
                Answer::Deny { .. } => {}
            },
            Input::ClientResult { call, content, is_error } => self.close_call(*call, content, *is_error),
        }
    }

    fn count_message(&mut self, content: &[Block]) {
        self.messages += 1;
        if self.first_line.is_none() {
            self.first_line = first_line(content);
        }
    }

    fn end_attempt(&mut self, ending: AttemptEnding, usage: TokenUsage) {
        let purpose = match self.thread.activity {
            Activity::Asking { attempt } => attempt.purpose,
            Activity::Idle { .. } | Activity::Calling | Activity::Waiting { .. } | Activity::Rescheduling { .. } => {
                Purpose::Reply
            }
        };
        match (purpose, ending) {
            (_, AttemptEnding::Interrupted | AttemptEnding::Lost) | (Purpose::Reply, AttemptEnding::Failed) => {}
            (Purpose::Summary, AttemptEnding::Replied | AttemptEnding::Cut) => {
                self.fruitless_recoveries = 0;
                self.thread.summary_failed = true;
            }
            (Purpose::Summary, AttemptEnding::Failed | AttemptEnding::TooLong) => self.thread.summary_failed = true,
            (Purpose::Reply, AttemptEnding::Replied | AttemptEnding::Cut) => {
                self.fruitless_recoveries = 0;
                self.thread.cuts = if ending == AttemptEnding::Cut { self.thread.cuts + 1 } else { 0 };
                self.thread.transcript.end_reply();
                self.begin_anew();
                self.measure(usage.total());
            }
            (Purpose::Reply, AttemptEnding::TooLong) => {
                let refused = crate::context::estimate_tokens(self);
                let limit = crate::compaction::limit(self);
                self.thread.learned_limit = Some(limit.min(refused - refused / 10).max(LEAST_LIMIT));
                self.thread.too_long = true;
            }
        }
        self.thread.activity = Activity::Calling;
    }

    /// Takes over what the provider counted, unless that can't be: some count nothing, or not what they kept from before.
    fn measure(&mut self, counted: u64) {
        let guessed = self.thread.transcript.tokens();
        let is_likely = counted >= guessed / LEAST_COUNTED;
        self.thread.measured = (is_likely && counted > 0).then_some(Measured { counted, guessed });
        // More than was thought too much went through.
        self.thread.learned_limit = self.thread.learned_limit.filter(|limit| counted < *limit);
    }

    /// Nothing has been tried yet to make the conversation shorter.
    fn begin_anew(&mut self) {
        self.thread.too_long = false;
        self.thread.summary_failed = false;
        self.thread.compactions = 0;
    }

    fn unqueue(&mut self, item: ItemId) {
        // It is nearly always the first.
        if let Some(at) = self.queue.iter().position(|queued| queued.item == item) {
            self.queue.remove(at);
        }
    }

    fn set_progress(&mut self, call: ItemId, progress: CallProgress) {
        if let Some(open) = self.open_call(call) {
            open.progress = progress;
        }
    }

    fn open_call(&mut self, call: ItemId) -> Option<&mut OpenCall> {
        self.thread.calls.iter_mut().find(|open| open.call == call)
    }

    fn close_call(&mut self, call: ItemId, content: &[Block], is_error: bool) {
        self.thread.calls.retain(|open| open.call != call);
        let part = Part::ToolResult { call, content: content.to_vec(), is_error };
        self.thread.transcript.push(Role::User, part);
    }
}

fn first_line(content: &[Block]) -> Option<String> {
    let line =
        content.iter().filter_map(Block::as_text).flat_map(str::lines).map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(FIRST_LINE_CHARS).collect())
}
