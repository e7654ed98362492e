//! Deciding: a state, a command and a moment give the facts that follow.

use std::sync::Arc;

use crate::command::{Command, NoteFiles};
use crate::fact::{Fact, StoredFact};
use crate::files::MAX_NAMED;
use crate::id::{Ids, ItemId, SnapshotId};
use crate::lifetime;
use crate::session::{Input, MAX_METADATA, Outcome};
use crate::state::State;
use crate::time::Timestamp;

mod turn;
mod wind_down;

pub(crate) use wind_down::Blockers;

/// The most inputs that may wait in a session.
pub const MAX_QUEUED: usize = 1_000;

/// The most model requests of one turn.
pub const MAX_ATTEMPTS_PER_TURN: u32 = 500;

/// The outside world as deciding sees it.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The time. It is moved up to the session's last fact if a clock went backwards.
    pub at: Timestamp,
    /// Fresh ids.
    pub ids: Ids,
    /// Whether somebody other than the session just runs something in its sandbox, or writes its files.
    pub in_use: bool,
}

/// What follows from a command.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Decision {
    /// What has happened, in order. There may be facts beside a refusal: what was due by itself.
    pub facts: Vec<StoredFact>,
    /// Why the command itself had no effect, if it was refused.
    pub refusal: Option<Refusal>,
}

/// Why a command is refused. Each answers what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing: it is over, or about to be.
    #[error("the session has ended ({}); it takes no more input", outcome_word(*.outcome))]
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// Interrupt it first, and wait until it is idle.
    #[error("the session is running; send a `user.interrupt` event and wait until it is idle")]
    Busy,
    /// Wait: its sandbox is just being stopped.
    #[error("the session is stopping; try again when it has stopped")]
    Stopping,
    /// Name an open call.
    #[error("no open tool call `{}`: it doesn't exist, or already has its result", .call.prefixed())]
    NoSuchCall {
        /// The call.
        call: ItemId,
    },
    /// Send what this call waits for.
    #[error("tool call `{}` waits for {wanted}, not for {given}", .call.prefixed())]
    WrongAnswer {
        /// The call.
        call: ItemId,
        /// What it waits for.
        wanted: &'static str,
        /// What came.
        given: &'static str,
    },
    /// Name queued input.
    #[error("no queued input `{}`: it doesn't exist, or was already taken up", .item.prefixed())]
    NotQueued {
        /// The item.
        item: ItemId,
    },
    /// Remove some, or send less.
    #[error(
        "metadata: expected at most {MAX_METADATA} pairs after the change, got {pairs}; remove some by sending null"
    )]
    TooMuchMetadata {
        /// How many there would be.
        pairs: usize,
    },
    /// Send them with what they belong to.
    #[error(
        "a `system.message` is taken right after a `user.message`, by itself only when the session is idle, and when it \
         waits for the result of a tool only right after that"
    )]
    MisplacedInstructions,
    /// Raise the budget or take it away.
    #[error(
        "the session has stopped because of its budget: {} of {} are used up. Raise `budget` with an update of the \
         session, or remove it with null, and it goes on by itself; then say more",
        dollars(*.spent_cents), dollars(*.limit_cents)
    )]
    BudgetReached {
        /// What has been spent, in cents.
        spent_cents: u64,
        /// The budget, in cents.
        limit_cents: u64,
    },
    /// Make a session that has one.
    #[error(
        "budget: budget_create_only: a session gets its budget when it is created; this one has none, or no longer"
    )]
    BudgetCreateOnly,
    /// Name more.
    #[error(
        "budget.max_list_cost.amount: budget_not_raised: expected more cents than the {spent_cents} that the session \
         has cost so far, got {given_cents}"
    )]
    BudgetNotRaised {
        /// What has been spent, in cents.
        spent_cents: u64,
        /// What was given, in cents.
        given_cents: u64,
    },
    /// Wait, or interrupt it.
    #[error("a call is running in the sandbox; wait until it is over, or interrupt it, and ask again")]
    CallRunning,
    /// Wait.
    #[error("the session's files are being kept or put back; try again when that is done")]
    FilesBusy,
    /// Choose another name, or remove that snapshot.
    #[error("name: the session has a snapshot named `{name}`; choose another name, or delete that one first")]
    SnapshotNameTaken {
        /// The name.
        name: String,
    },
    /// Remove some.
    #[error("the session has {MAX_NAMED} named snapshots, and no more are kept; delete one first")]
    TooManySnapshots,
    /// Name one that is kept.
    #[error("no snapshot `{}`: it doesn't exist, or isn't kept any longer", .snapshot.prefixed())]
    NoSuchSnapshot {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// Try again later.
    #[error("{MAX_QUEUED} inputs already wait in this session; try again when it has taken some up")]
    QueueFull,
}

/// What follows from `command`. What was due by itself at `moment` is applied first.
pub fn decide(state: &State, command: Command, moment: Moment) -> Decision {
    let mut draft = Draft::new(state, moment);
    // Whoever has just left was there until now.
    draft.in_use |= matches!(command, Command::NoteFiles(NoteFiles { over: true }));
    // What waits to be tried again wasn't under way when the server died, so it is left until that is judged.
    let recovers = matches!(command, Command::Recover(_));
    // A copy has nothing to do with what was due in the other session.
    let is_copy = matches!(command, Command::Fork(_));
    match recovers {
        _ if is_copy => {}
        true => lifetime::apply_due_ends(&mut draft),
        false => lifetime::apply_due(&mut draft),
    }
    if !is_copy {
        draft.settle();
    }
    let due = draft.facts.len();
    match command.decide(&mut draft) {
        Ok(()) => {
            draft.settle();
            if recovers {
                lifetime::apply_due(&mut draft);
                draft.settle();
            }
            Decision { facts: draft.facts, refusal: None }
        }
        Err(refusal) => {
            draft.facts.truncate(due);
            Decision { facts: draft.facts, refusal: Some(refusal) }
        }
    }
}

/// A decision in the making: the facts so far and the state they lead to.
pub(crate) struct Draft {
    pub(crate) state: State,
    pub(crate) facts: Vec<StoredFact>,
    pub(crate) at: Timestamp,
    pub(crate) ids: Ids,
    /// Whether somebody other than the session uses its sandbox: it isn't idle then.
    pub(crate) in_use: bool,
    /// Messages that start a turn in this very decision and so were never queued.
    pub(crate) fresh: Vec<(ItemId, Input)>,
    /// Whether this decision took in an answer that a waiting call asked for.
    pub(crate) answered: bool,
}

impl Draft {
    fn new(state: &State, moment: Moment) -> Self {
        let at = moment.at.max(state.at);
        let Moment { at: _, ids, in_use } = moment;
        Self { state: state.clone(), facts: Vec::new(), at, ids, in_use, fresh: Vec::new(), answered: false }
    }

    /// Records a fact.
    pub(crate) fn push(&mut self, fact: Fact) {
        let stored =
            StoredFact { session: self.state.session, seq: self.state.seq + 1, at: self.at, fact: Arc::new(fact) };
        self.state.evolve(&stored);
        self.facts.push(stored);
    }

    pub(crate) fn agent_name(&self) -> String {
        self.state.definition.agent.name.clone()
    }
}

fn dollars(cents: u64) -> String {
    format!("${}.{:02}", cents / 100, cents % 100)
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::EndedByUser => "ended by its user",
        Outcome::TimedOut => "timed out",
        Outcome::Archived => "archived",
        Outcome::Failed => "failed",
    }
}
