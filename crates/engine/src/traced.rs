//! What a trace shows of the engine's work: a command under what it came of, its append, and what it set off.
//!
//! Spans bear ids, names and counts, never what people or models say. Nobody who only logs asks for this target at this
//! level, and then they are not made.

use tenure_core::command::Command;
use tenure_core::id::{AttemptId, SessionId, TurnId};
use tenure_core::phase::Fold;
use tenure_core::session::OpenCall;
use tenure_core::state::State;
use tracing::{Span, trace_span};

/// Deciding on a command, storing what follows, and setting off what is to be done. `from` is what it came of.
pub(crate) fn command(from: &Span, session: SessionId, command: &Command) -> Span {
    trace_span!(
        target: "tenure::trace",
        parent: from,
        "command",
        session = session.prefixed(),
        command = command.name()
    )
}

/// Taking up what a dead server left behind.
pub(crate) fn recovery(session: SessionId) -> Span {
    trace_span!(target: "tenure::trace", parent: None, "command", session = session.prefixed(), command = "recover")
}

/// Until the facts are on disk.
pub(crate) fn append(facts: usize) -> Span {
    trace_span!(target: "tenure::trace", "append", facts)
}

/// The turn a session is on.
#[derive(Debug)]
pub(crate) struct Turn {
    id: Option<TurnId>,
    span: Span,
}

impl Turn {
    pub(crate) fn none() -> Self {
        Self { id: None, span: Span::none() }
    }

    /// Begins and ends with the turns of the state.
    pub(crate) fn follow(&mut self, state: &State) {
        let id = state.thread.turn.filter(|_| state.fold() != Fold::Idle);
        if id == self.id {
            return;
        }
        self.span = match id {
            Some(turn) => {
                trace_span!(target: "tenure::trace", "turn", session = state.session.prefixed(), turn = %turn)
            }
            None => Span::none(),
        };
        self.id = id;
    }

    /// What an outcome came of: what happens to the sandbox or by itself belongs to the turn.
    pub(crate) fn cause(&self, command: &Command, from: Span) -> Span {
        match command {
            Command::ReportSandbox(_) | Command::Tick(_) => self.span.clone(),
            _ => from,
        }
    }

    /// A model request, until its outcome is brought to the session.
    pub(crate) fn attempt(&self, state: &State, attempt: AttemptId) -> Span {
        trace_span!(
            target: "tenure::trace",
            parent: &self.span,
            "attempt",
            session = state.session.prefixed(),
            %attempt,
            model = state.definition.agent.model.id,
        )
    }

    /// A tool call, until its outcome is brought to the session.
    pub(crate) fn call(&self, state: &State, open: &OpenCall) -> Span {
        trace_span!(
            target: "tenure::trace",
            parent: &self.span,
            "call",
            session = state.session.prefixed(),
            call = %open.call,
            tool = open.name,
        )
    }
}
