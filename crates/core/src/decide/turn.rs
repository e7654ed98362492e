//! How work goes on: turns start, calls run one after another, the model is asked again.

use std::time::Duration;

use super::{Draft, MAX_ATTEMPTS_PER_TURN};
use crate::agent::Place;
use crate::compaction;
use crate::content::Block;
use crate::fact::{AfterError, CallEnding, Fact, Problem};
use crate::model::TokenUsage;
use crate::session::{
    Absent, Activity, CallProgress, Keep, Lifecycle, OpenCall, Outcome, Purpose, Sandbox, StopReason,
};

impl Draft {
    /// Takes every step that follows by itself, until there is none.
    pub(crate) fn settle(&mut self) {
        match self.state.lifecycle {
            Lifecycle::Open => self.take_due_snapshot(),
            Lifecycle::Closing { outcome, keep: Keep::Everything, .. } => return self.finish_closing(outcome),
            Lifecycle::Closing { keep: Keep::Log, .. } | Lifecycle::Ended { .. } => return,
        }
        match self.state.thread.activity {
            Activity::Idle { .. } => self.start_turn(),
            Activity::Calling => self.go_on(),
            Activity::Waiting { .. } => self.leave_waiting(),
            Activity::Asking { .. } | Activity::Rescheduling { .. } => {}
        }
    }

    /// Starts a turn on all input that waits, if there is any that wants one.
    pub(crate) fn start_turn(&mut self) {
        // What waits then waits on: the turn that stopped goes on first.
        if self.state.budget_reached() {
            return;
        }
        let mut inputs: Vec<_> = if self.state.held {
            Vec::new()
        } else {
            self.state.queue.iter().map(|queued| (queued.item, queued.input.clone())).collect()
        };
        inputs.append(&mut self.fresh);
        if inputs.is_empty() {
            return;
        }
        let wants_a_turn = inputs.iter().any(|(_, input)| input.wants_a_turn());
        if wants_a_turn {
            let turn = self.ids.turn();
            self.run_thread(turn);
        }
        for (item, input) in inputs {
            self.push(Fact::InputProcessed { item, thread: self.state.thread.id, input });
        }
        if wants_a_turn {
            self.ask(0);
        }
    }

    /// Goes on with the turn after `span`. So many model requests have failed in a row.
    pub(crate) fn reschedule(&mut self, failures: u32, span: Duration) {
        let until = self.at.after(span);
        let (item, thread, agent_name) = (self.ids.item(), self.state.thread.id, self.agent_name());
        self.push(Fact::ThreadRescheduled { item, thread, agent_name, failures, until });
        let item = self.ids.item();
        self.push(Fact::SessionRescheduled { item });
    }

    /// Makes the failed request again. If it was calls that had to wait, they go on by themselves.
    pub(crate) fn retry(&mut self, failures: u32) {
        self.resume_thread();
        if self.state.thread.calls.is_empty() {
            self.ask(failures);
        }
    }

    /// The thread stops, for this reason.
    pub(crate) fn rest(&mut self, stop: StopReason) {
        let done = stop == StopReason::EndTurn;
        self.fall_idle(stop);
        let nothing_waits = self.state.queue.is_empty() && self.fresh.is_empty();
        if done && nothing_waits && self.state.definition.lifetimes.end_when_agent_exits && !self.state.held {
            self.close(Outcome::Completed, Keep::Everything);
        }
    }

    /// The same, but nothing follows from it.
    pub(crate) fn fall_idle(&mut self, stop: StopReason) {
        let thread = self.state.thread.id;
        let turn = self.state.thread.turn.unwrap_or_else(|| self.ids.turn());
        let (item, agent_name) = (self.ids.item(), self.agent_name());
        self.push(Fact::ThreadIdle { item, thread, turn, agent_name, stop: stop.clone() });
        let (item, tokens, active_ms) = (self.ids.item(), self.state.tokens, self.state.active_ms(self.at));
        let (web_fetches, list_cost) = (self.state.web_fetches, self.state.list_cost(self.at));
        let budget = self.state.budget;
        self.push(Fact::UsageRecorded { item, tokens, active_ms, web_fetches, list_cost, budget });
        let item = self.ids.item();
        self.push(Fact::SessionIdle { item, stop });
        self.take_due_snapshot();
    }

    /// Begins the snapshot of a turn's end, once no cancelled call can write any more.
    pub(crate) fn take_due_snapshot(&mut self) {
        let files = &self.state.files;
        let gone = matches!(self.state.sandbox, Sandbox::Absent { .. }) && self.state.lifecycle != Lifecycle::Open;
        if files.work.is_some() || !(gone || self.state.thread.ending.is_empty()) {
            return;
        }
        if let Some(turn_end) = files.due {
            let snapshot = self.ids.snapshot();
            self.push(Fact::SnapshotStarted { snapshot, turn_end: Some(turn_end), name: None });
        }
    }

    /// The turn ends because it can't go on. What was queued joins the conversation, so that nothing accepted is lost.
    pub(crate) fn give_up(&mut self, problem: Problem) {
        let item = self.ids.item();
        self.push(Fact::ErrorRaised { item, problem, next: AfterError::TurnOver });
        let queued: Vec<_> = self.state.queue.iter().map(|queued| (queued.item, queued.input.clone())).collect();
        for (item, input) in queued {
            self.push(Fact::InputProcessed { item, thread: self.state.thread.id, input });
        }
        self.rest(StopReason::RetriesExhausted);
    }

    /// Goes on with a turn that had stopped because of the budget, now that the budget is another.
    pub(crate) fn go_on_within_budget(&mut self) {
        if !self.state.budget_reached() {
            return;
        }
        if self.state.held {
            self.push(Fact::SessionResumed {});
        }
        self.resume_thread();
        self.ask(0);
    }

    /// Whether the next request is within the budget: what it will surely take, its input at the price of input that no
    /// cache has, is reserved. So a budget is overdrawn by one reply at most.
    fn is_within_budget(&self) -> bool {
        let (Some(budget), Some(price)) = (self.state.budget, self.state.definition.model_facts.price) else {
            return true;
        };
        let spent = self.state.list_cost(self.at).unwrap_or_default();
        let input = crate::context::estimate_tokens(&self.state);
        let reserved = price.of_request(TokenUsage { input, ..TokenUsage::default() });
        spent < budget.limit() && spent.plus(reserved) <= budget.limit()
    }

    /// Asks the model, which now reads what was said to steer it.
    pub(crate) fn ask(&mut self, failures: u32) {
        if self.state.thread.attempts >= MAX_ATTEMPTS_PER_TURN {
            return self.give_up(Problem::TooManyAttempts { limit: MAX_ATTEMPTS_PER_TURN });
        }
        let steering = self.state.queue.iter().filter(|queued| queued.input.steers());
        let steering: Vec<_> = steering.map(|queued| (queued.item, queued.input.clone())).collect();
        for (item, input) in steering {
            self.push(Fact::InputProcessed { item, thread: self.state.thread.id, input });
        }
        if !self.is_within_budget() {
            return self.rest(StopReason::BudgetReached);
        }
        let purpose = match compaction::wants_summary(&self.state, failures) {
            true => Purpose::Summary,
            false => Purpose::Reply,
        };
        let (item, attempt) = (self.ids.item(), self.ids.attempt());
        self.push(Fact::AttemptStarted { item, thread: self.state.thread.id, attempt, failures, purpose });
    }

    /// Makes the conversation shorter without a summary. Says whether anything could be left out.
    pub(crate) fn shrink(&mut self) -> bool {
        let Some(compaction::Shrink { left, emptied }) = compaction::shrink(&self.state) else { return false };
        self.compact(None, left, emptied);
        true
    }

    /// Goes on after a summary couldn't be had. If nothing can be left out without one, the provider is to judge whether
    /// the conversation is too long.
    pub(crate) fn do_without_summary(&mut self, failures: u32) {
        if !self.shrink() {
            self.ask(failures);
        }
    }

    pub(crate) fn compact(&mut self, summary: Option<String>, left: usize, emptied: usize) {
        let (item, thread) = (self.ids.item(), self.state.thread.id);
        let count = |messages| u32::try_from(messages).unwrap_or(u32::MAX);
        let (left, emptied) = (count(left), count(emptied));
        self.push(Fact::ConversationCompacted { item, thread, summary, left, emptied });
    }

    /// Between a reply and the next request: runs the next call, waits, or asks.
    fn go_on(&mut self) {
        self.make_way();
        let calls = &self.state.thread.calls;
        if calls.is_empty() {
            return self.ask(0);
        }
        if calls.iter().all(OpenCall::is_blocked) {
            return self.rest(StopReason::RequiresAction { calls: self.state.blockers() });
        }
        self.advance_calls();
    }

    /// What is said to steer the agent isn't kept waiting by calls that haven't begun: the model made them without knowing
    /// it. Those that somebody outside was asked about, or has allowed, stay.
    fn make_way(&mut self) {
        let calls = &self.state.thread.calls;
        let started = calls.iter().any(|open| open.progress == CallProgress::Started);
        if started || !self.state.queue.iter().any(|queued| queued.input.goes_before_calls()) {
            return;
        }
        let unbegun = calls.iter().filter(|open| open.progress == CallProgress::Ready && !open.approved);
        let unbegun: Vec<_> = unbegun.map(|open| open.call).collect();
        for call in unbegun {
            let text = "not run: the user said something before it began. It had no effect; call it again if it is \
                        still wanted.";
            self.end_call(call, CallEnding::Skipped, vec![Block::text(text)], true);
        }
        self.leave_the_line();
    }

    /// Waits no longer for room for a sandbox if no call needs one.
    pub(crate) fn leave_the_line(&mut self) {
        let runs = |open: &OpenCall| match open.progress {
            CallProgress::Ready | CallProgress::Started => open.place.is_sandbox(),
            CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Question => false,
        };
        let needed = self.state.thread.calls.iter().any(runs);
        if !needed && self.state.sandbox == (Sandbox::Absent { why: Absent::Queued }) {
            self.push(Fact::SandboxAbsent { why: Absent::NotYet, reason: None });
        }
    }

    /// Calls run one after another, in the order the model made them: a script is written before it is run.
    fn advance_calls(&mut self) {
        let calls = &self.state.thread.calls;
        let started = calls.iter().find(|open| open.progress == CallProgress::Started);
        let next = started.or_else(|| calls.iter().find(|open| open.progress == CallProgress::Ready));
        let Some((call, place, progress)) = next.map(|open| (open.call, open.place, open.progress)) else { return };
        if place.is_sandbox() && self.state.files.work.is_some() {
            return;
        }
        match (place, self.state.sandbox, progress == CallProgress::Started) {
            (Place::Server { .. }, _, false) => self.push(Fact::CallStarted { call }),
            (Place::Server { .. }, _, true) => {}
            (Place::Sandbox, Sandbox::Absent { why: Absent::NotYet | Absent::Stopped | Absent::Lost }, _) => {
                let sandbox = self.ids.sandbox();
                self.push(Fact::SandboxStarting { sandbox });
            }
            (Place::Sandbox, Sandbox::Running { .. }, false) => self.push(Fact::CallStarted { call }),
            (Place::Sandbox, Sandbox::Running { .. }, true) => {}
            (
                Place::Sandbox,
                Sandbox::Absent { why: Absent::Queued } | Sandbox::Starting { .. } | Sandbox::Stopping { .. },
                _,
            ) => {}
        }
    }

    /// After an answer came: goes back to work, or tells what is still waited for.
    fn leave_waiting(&mut self) {
        let blockers = self.state.blockers();
        if blockers.len() < self.state.thread.calls.len() || blockers.is_empty() {
            self.resume_thread();
            return self.go_on();
        }
        if self.answered {
            self.rest(StopReason::RequiresAction { calls: blockers });
        }
    }

    /// The thread goes on with its turn after waiting.
    pub(crate) fn resume_thread(&mut self) {
        let turn = self.state.thread.turn.unwrap_or_else(|| self.ids.turn());
        self.run_thread(turn);
    }

    fn run_thread(&mut self, turn: crate::id::TurnId) {
        let item = self.ids.item();
        self.push(Fact::SessionRunning { item });
        let (item, thread, agent_name) = (self.ids.item(), self.state.thread.id, self.agent_name());
        self.push(Fact::ThreadRunning { item, thread, turn, agent_name });
    }
}
