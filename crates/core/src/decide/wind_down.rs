//! How work stops: interrupted, held, or closed for good.

use super::Draft;
use crate::agent::Place;
use crate::content::Block;
use crate::fact::{AttemptEnding, CallEnding, Fact};
use crate::model::TokenUsage;
use crate::session::{
    Absent, Activity, CallProgress, Keep, Lifecycle, OpenCall, Outcome, Sandbox, StopCause, StopReason,
};

/// What becomes of calls that wait for somebody outside when work is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blockers {
    /// They go on waiting.
    Stay,
    /// They are answered as interrupted.
    End,
}

impl Draft {
    /// Stops the work under way. Afterwards the thread is idle, or waits if blockers stay.
    pub(crate) fn interrupt(&mut self, blockers: Blockers) {
        match self.state.thread.activity {
            Activity::Idle { .. } => return,
            Activity::Waiting { .. } if blockers == Blockers::Stay => return,
            Activity::Asking { attempt } => self.end_attempt(attempt, AttemptEnding::Interrupted),
            Activity::Calling | Activity::Waiting { .. } | Activity::Rescheduling { .. } => {}
        }
        let open: Vec<OpenCall> = self.state.thread.calls.clone();
        for call in open.iter().filter(|call| blockers == Blockers::End || !call.is_blocked()) {
            self.interrupt_call(call);
        }
        let waiting = self.state.blockers();
        self.rest(match waiting.is_empty() {
            true => StopReason::EndTurn,
            false => StopReason::RequiresAction { calls: waiting },
        });
    }

    /// Closes the request in flight without a reply; what it took is estimated from what was sent.
    pub(crate) fn end_attempt(&mut self, attempt: crate::session::Attempt, ending: AttemptEnding) {
        let input = match ending {
            // It wasn't read.
            AttemptEnding::TooLong => 0,
            AttemptEnding::Replied
            | AttemptEnding::Cut
            | AttemptEnding::Failed
            | AttemptEnding::Interrupted
            | AttemptEnding::Lost => crate::context::estimate_tokens(&self.state),
        };
        self.finish_attempt(attempt, ending, TokenUsage { input, ..TokenUsage::default() });
    }

    /// Closes the request in flight, which took so many tokens.
    pub(crate) fn finish_attempt(
        &mut self,
        attempt: crate::session::Attempt,
        ending: AttemptEnding,
        usage: TokenUsage,
    ) {
        let (item, thread) = (self.ids.item(), self.state.thread.id);
        self.push(Fact::AttemptEnded { item, thread, attempt: attempt.id, start: attempt.item, ending, usage });
    }

    /// Stops the session until it is resumed or spoken to. Blockers and queued input stay.
    pub(crate) fn hold(&mut self) {
        if !self.state.held {
            self.push(Fact::SessionHeld {});
        }
        self.interrupt(Blockers::Stay);
        match self.state.sandbox {
            Sandbox::Absent { why: Absent::Stopped } => {}
            Sandbox::Absent { why: Absent::NotYet | Absent::Queued | Absent::Lost } => {
                self.push(Fact::SandboxAbsent { why: Absent::Stopped, reason: None });
            }
            Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. } => {
                self.stop_sandbox(StopCause::Asked);
            }
        }
    }

    /// Closes what was open where a session was forked or rewound to: it was begun elsewhere, or earlier, and nobody
    /// brings its outcome here.
    pub(crate) fn come_apart(&mut self, why: &str) {
        if let Activity::Asking { attempt } = self.state.thread.activity {
            self.finish_attempt(attempt, AttemptEnding::Interrupted, TokenUsage::default());
        }
        for open in self.state.thread.calls.clone() {
            let ending = match open.progress {
                CallProgress::Started => CallEnding::Interrupted,
                CallProgress::Ready | CallProgress::NeedsApproval | CallProgress::AtClient | CallProgress::Question => {
                    CallEnding::Skipped
                }
            };
            self.end_call(open.call, ending, vec![Block::text(format!("interrupted: {why}"))], true);
        }
        match self.state.thread.activity {
            Activity::Idle { .. } => {}
            Activity::Asking { .. } | Activity::Calling | Activity::Waiting { .. } | Activity::Rescheduling { .. } => {
                self.fall_idle(StopReason::EndTurn)
            }
        }
    }

    /// Ends the session: at once, or as soon as its sandbox is gone.
    pub(crate) fn close(&mut self, outcome: Outcome, keep: Keep) {
        if !matches!(self.state.lifecycle, Lifecycle::Open) {
            return;
        }
        self.push(Fact::SessionClosing { outcome, keep });
        self.interrupt(Blockers::End);
        self.stop_sandbox(StopCause::Asked);
        if keep == Keep::Everything {
            self.finish_closing(outcome);
        }
    }

    /// The last fact, once no process can write any more and the last snapshot, if the files stay, is there.
    pub(crate) fn finish_closing(&mut self, outcome: Outcome) {
        match self.state.sandbox {
            Sandbox::Absent { .. } => {
                self.take_due_snapshot();
                if self.state.files.work.is_some() {
                    return;
                }
                let item = self.ids.item();
                self.push(Fact::SessionEnded { item, outcome });
            }
            Sandbox::Starting { .. } | Sandbox::Running { .. } | Sandbox::Stopping { .. } => {}
        }
    }

    /// Asks the sandbox, if there is one, to end.
    pub(crate) fn stop_sandbox(&mut self, why: StopCause) {
        match self.state.sandbox {
            Sandbox::Starting { sandbox } | Sandbox::Running { sandbox, .. } => {
                self.push(Fact::SandboxStopping { sandbox, why });
            }
            Sandbox::Stopping { sandbox, why: StopCause::IdleTooLong } if why == StopCause::Asked => {
                self.push(Fact::SandboxStopping { sandbox, why });
            }
            Sandbox::Stopping { .. } | Sandbox::Absent { .. } => {}
        }
    }

    fn interrupt_call(&mut self, open: &OpenCall) {
        let (ending, text) = match open.progress {
            CallProgress::Started => match open.place {
                Place::Sandbox => (
                    CallEnding::Cancelled,
                    "interrupted by the user while it ran; it is being ended, and what it had done until then remains",
                ),
                Place::Server { idempotent: true } => {
                    (CallEnding::Interrupted, "interrupted by the user while it ran; it gave nothing")
                }
                Place::Server { idempotent: false } => {
                    (CallEnding::Interrupted, "interrupted by the user while it ran; whether it took effect is unknown")
                }
            },
            CallProgress::Ready | CallProgress::NeedsApproval | CallProgress::AtClient => {
                (CallEnding::Skipped, "interrupted by the user before it ran; it had no effect")
            }
            CallProgress::Question => (CallEnding::Skipped, "interrupted by the user, who gave no answer"),
        };
        self.end_call(open.call, ending, vec![Block::text(text)], true);
    }

    /// Gives a call its result.
    pub(crate) fn end_call(
        &mut self,
        call: crate::id::ItemId,
        ending: CallEnding,
        content: Vec<Block>,
        is_error: bool,
    ) {
        let (item, thread) = (self.ids.item(), self.state.thread.id);
        self.push(Fact::CallEnded { item, thread, call, ending, content, is_error });
    }
}
