//! The world outside of a session: it carries out what the session wants done, late, in any order, or never, and keeps
//! what outlives a server: the sandbox, and the journal of its calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tenure_core::command::{
    CallResult, Command, FailAttempt, FilesReport, FinishAttempt, FinishCall, ReportFiles, ReportSandbox, SandboxReport,
};
use tenure_core::content::Block;
use tenure_core::effect::Effect;
use tenure_core::files::SnapshotEnding;
use tenure_core::id::{AttemptId, ItemId, SandboxId, SnapshotId};
use tenure_core::model::{FailureKind, MalformedInput, ModelStop, Reply, ReplyPart, TokenUsage};

use crate::scene::failure;

/// What became of a call, as its journal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    Running,
    Ended,
    Cancelled,
    /// It ran when its sandbox died.
    Dead,
}

#[derive(Debug, Default)]
pub(super) struct World {
    /// Effects under way in the present server.
    pub(super) pending: Vec<Effect>,
    pub(super) sandbox_alive: bool,
    pub(super) journals: BTreeMap<ItemId, Journal>,
    /// Whether the present server has the session in its queue for room.
    pub(super) waits_for_room: bool,
    /// Model requests that ended in a pause: the next one goes on where the reply broke off.
    pub(super) paused: bool,
    /// Who wrote to the files so far.
    pub(super) files: Vec<ItemId>,
    /// What snapshots hold.
    pub(super) snapshots: BTreeMap<SnapshotId, Vec<ItemId>>,
    rewound: BTreeSet<u64>,
    asked: BTreeSet<AttemptId>,
    made: BTreeSet<SandboxId>,
    /// Calls that may be ordered again: the server, or their sandbox, died since.
    again: BTreeSet<ItemId>,
    ordered: BTreeSet<ItemId>,
    cancelled: BTreeSet<ItemId>,
}

impl World {
    /// Takes an order. Nothing is ordered twice under one name, unless something died in between.
    pub(super) fn order(&mut self, effect: Effect, after_restart: bool) {
        let known = self.pending.contains(&effect);
        match &effect {
            Effect::CallModel { attempt } => assert!(self.asked.insert(*attempt) || known, "asked twice: {attempt:?}"),
            Effect::StartSandbox { sandbox } => {
                assert!(self.made.insert(*sandbox) || after_restart, "made twice: {sandbox:?}");
            }
            Effect::RunCall { call } | Effect::RunHostedCall { call } => {
                let anew = self.ordered.insert(*call);
                let again = self.again.remove(call);
                assert!(anew || again || after_restart, "ordered twice: {call:?}");
            }
            Effect::CancelModel { .. } => assert!(!known, "cancelled twice: {effect:?}"),
            // Doing these again does no more than doing them once.
            Effect::CancelCall { call } => drop(self.cancelled.insert(*call)),
            Effect::EndHostedCall { .. } | Effect::StopSandbox { .. } | Effect::RemoveFiles => {}
            // A snapshot may be ordered again, since its name says that it is the same. Putting files back twice would take
            // what was written in between, so it must not be ordered again while a server lives.
            Effect::TakeSnapshot { .. } | Effect::KeepSnapshots { .. } => {}
            Effect::RewindFiles { place, .. } => {
                assert!(self.rewound.insert(*place) || after_restart, "put back twice");
            }
        }
        if !known {
            self.pending.push(effect);
        }
    }

    /// The server dies, and with it all it was doing.
    pub(super) fn server_dies(&mut self) {
        self.pending.clear();
        self.waits_for_room = false;
        self.again.extend(&self.ordered);
    }

    pub(super) fn sandbox_dies(&mut self) {
        self.sandbox_alive = false;
        for journal in self.journals.values_mut().filter(|journal| **journal == Journal::Running) {
            *journal = Journal::Dead;
        }
        self.again.extend(&self.ordered);
    }

    pub(super) fn running(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.journals.iter().filter(|(_, journal)| **journal == Journal::Running).map(|(call, _)| *call)
    }

    /// The calls that the present server runs itself.
    pub(super) fn hosted(&self) -> Vec<ItemId> {
        let run = |effect: &Effect| match effect {
            Effect::RunHostedCall { call } => Some(*call),
            _ => None,
        };
        self.pending.iter().filter_map(run).collect()
    }

    /// Carries on with one of the effects under way; gives what is told to the session, if anything is yet.
    pub(super) fn perform(&mut self, which: usize, how: usize) -> Option<Command> {
        if self.pending.is_empty() {
            return None;
        }
        let which = self.next_job(which % self.pending.len());
        match self.pending[which].clone() {
            Effect::CallModel { attempt } => {
                self.pending.remove(which);
                Some(self.reply(attempt, how))
            }
            Effect::CancelModel { attempt } => {
                self.pending.remove(which);
                // Or its answer comes all the same.
                if how.is_multiple_of(2) {
                    self.pending.retain(|pending| *pending != Effect::CallModel { attempt });
                }
                None
            }
            Effect::RunCall { call } => self.run(which, call, how),
            Effect::CancelCall { call } => {
                self.pending.retain(|pending| !matches!(pending, Effect::CancelCall { call: of } | Effect::RunCall { call: of } if *of == call));
                if self.sandbox_alive && !matches!(self.journals.get(&call), Some(Journal::Ended | Journal::Dead)) {
                    self.journals.insert(call, Journal::Cancelled);
                }
                Some(FinishCall { call, result: CallResult::Cancelled }.into())
            }
            Effect::RunHostedCall { .. } if how.is_multiple_of(4) => None,
            Effect::RunHostedCall { call } => {
                self.pending.remove(which);
                Some(FinishCall { call, result: ended(how) }.into())
            }
            Effect::EndHostedCall { call } => {
                self.pending.remove(which);
                // Or its result comes all the same.
                if how.is_multiple_of(2) {
                    self.pending.retain(|pending| *pending != Effect::RunHostedCall { call });
                }
                None
            }
            Effect::StartSandbox { sandbox } => {
                self.pending.remove(which);
                let report = match how % 8 {
                    _ if self.sandbox_alive => SandboxReport::Started,
                    0 => SandboxReport::Failed { reason: "the disk is full".into() },
                    1 | 2 => {
                        self.waits_for_room = true;
                        SandboxReport::Queued
                    }
                    _ => SandboxReport::Started,
                };
                self.sandbox_alive |= report == SandboxReport::Started;
                Some(ReportSandbox { sandbox, report }.into())
            }
            Effect::StopSandbox { sandbox, .. } => {
                self.pending.remove(which);
                self.sandbox_dies();
                Some(ReportSandbox { sandbox, report: SandboxReport::Stopped }.into())
            }
            Effect::TakeSnapshot { snapshot, most_copied } => {
                self.pending.remove(which);
                assert_eq!(self.running().count(), 0, "a call runs while a snapshot is taken");
                let ending = match (how % 8, most_copied) {
                    (0, _) => SnapshotEnding::Failed { reason: "the disk is full".into() },
                    (1, Some(most)) => SnapshotEnding::Skipped { bytes: most + 1 },
                    (2, _) => SnapshotEnding::Copied { bytes: 100 },
                    _ => SnapshotEnding::Sealed,
                };
                if ending.is_taken() {
                    let files = self.files.clone();
                    self.snapshots.entry(snapshot).or_insert(files);
                }
                let keep = how.is_multiple_of(3).then_some(how % 5);
                Some(ReportFiles { report: FilesReport::Snapshot { snapshot, ending, keep } }.into())
            }
            Effect::RewindFiles { place, snapshot } => {
                self.pending.remove(which);
                self.sandbox_dies();
                let failed = how.is_multiple_of(16).then(|| "the disk is full".to_owned());
                if failed.is_none() {
                    self.files = match snapshot {
                        Some(snapshot) => self.snapshots.get(&snapshot).expect("it is kept").clone(),
                        None => Vec::new(),
                    };
                }
                Some(ReportFiles { report: FilesReport::Rewound { place, failed } }.into())
            }
            Effect::KeepSnapshots { keep } => {
                self.pending.remove(which);
                self.snapshots.retain(|id, _| keep.contains(id));
                None
            }
            Effect::RemoveFiles => {
                self.pending.remove(which);
                self.files.clear();
                self.snapshots.clear();
                assert!(!self.sandbox_alive, "files are removed while processes may write them");
                Some(ReportSandbox { sandbox: SandboxId::from_bits(0), report: SandboxReport::FilesRemoved }.into())
            }
        }
    }

    /// What is done to the sandbox itself is done in the order in which it was asked for.
    fn next_job(&self, which: usize) -> usize {
        let is_job = |effect: &Effect| match effect {
            Effect::StartSandbox { .. } | Effect::StopSandbox { .. } | Effect::RemoveFiles => true,
            Effect::TakeSnapshot { .. } | Effect::RewindFiles { .. } | Effect::KeepSnapshots { .. } => true,
            Effect::CallModel { .. } | Effect::CancelModel { .. } => false,
            Effect::RunCall { .. } | Effect::CancelCall { .. } => false,
            Effect::RunHostedCall { .. } | Effect::EndHostedCall { .. } => false,
        };
        let first = self.pending.iter().position(is_job).unwrap_or(which);
        if is_job(&self.pending[which]) { first } else { which }
    }

    fn run(&mut self, which: usize, call: ItemId, how: usize) -> Option<Command> {
        let journal = self.journals.get(&call).copied();
        let result = match journal {
            None if self.cancelled.contains(&call) => CallResult::Cancelled,
            None => {
                // A sandbox that died unnoticed is made again for it.
                self.sandbox_alive = true;
                self.journals.insert(call, Journal::Running);
                self.files.push(call);
                return None;
            }
            Some(Journal::Running) if how.is_multiple_of(4) => return None,
            Some(Journal::Running) => {
                self.journals.insert(call, Journal::Ended);
                ended(how)
            }
            Some(Journal::Ended) => ended(how),
            Some(Journal::Cancelled) => CallResult::Cancelled,
            Some(Journal::Dead) => CallResult::Lost { reason: "its sandbox died".into() },
        };
        self.pending.remove(which);
        Some(FinishCall { call, result }.into())
    }

    fn reply(&mut self, attempt: AttemptId, how: usize) -> Command {
        let kind = match how % 32 {
            0..2 => Some(FailureKind::Overloaded),
            2 => Some(FailureKind::Unavailable),
            3 if how.is_multiple_of(3) => Some(FailureKind::TooLong),
            3 => Some(FailureKind::Rejected),
            _ => None,
        };
        if let Some(kind) = kind {
            return FailAttempt { attempt, failure: failure(kind), answered: how.is_multiple_of(2) }.into();
        }
        let text = |text: &str| ReplyPart::Text(text.into());
        let thought = || ReplyPart::Thinking { text: "let me see".into(), signature: Some("proof".into()) };
        let call = |name: &str| ReplyPart::ToolUse { name: name.into(), input: Ok(json!({"question": "Which?"})) };
        let malformed = || MalformedInput { raw: "{".into(), problem: "it ends too soon".into() };
        let names = [
            "bash",
            "write",
            "weather",
            "web_fetch",
            "ask",
            "bash",
            "write",
            "weather",
            "web_fetch",
            "grep",
            "ask",
            "nonsense",
        ];
        let named = |at: usize| call(names[(how / 32 + at * (1 + how / 256)) % names.len()]);
        let (parts, stop) = match how % 32 {
            0..10 => (vec![text("done")], ModelStop::EndTurn),
            10 => (Vec::new(), ModelStop::EndTurn),
            11 => (vec![text(""), text(" \n")], ModelStop::EndTurn),
            12 => (vec![thought(), text("I see")], ModelStop::EndTurn),
            13 => (vec![text("so far")], ModelStop::Pause),
            14 => (vec![text("too lo")], ModelStop::MaxTokens),
            15 => (vec![text("well")], ModelStop::Refusal { category: None, explanation: None }),
            16 => (vec![named(0)], ModelStop::Refusal { category: None, explanation: None }),
            17 => (vec![text(""), named(0)], ModelStop::MaxTokens),
            18 => {
                let broken = ReplyPart::ToolUse { name: "bash".into(), input: Err(malformed()) };
                (vec![broken, named(1)], ModelStop::ToolUse)
            }
            19..24 => (vec![thought(), text("first"), named(0)], ModelStop::ToolUse),
            24..28 => (vec![named(0), named(1)], ModelStop::ToolUse),
            _ => (vec![named(0), named(1), named(2)], ModelStop::ToolUse),
        };
        let usage = TokenUsage { input: 10, output: 5, ..TokenUsage::default() };
        FinishAttempt { attempt, reply: Reply { parts, stop, usage }, previewed: Vec::new() }.into()
    }
}

fn ended(how: usize) -> CallResult {
    let text = if how.is_multiple_of(7) { "a long list ".repeat(30) } else { "ok".to_owned() };
    CallResult::Finished { content: vec![Block::text(text)], is_error: how.is_multiple_of(3) }
}
