//! Events: at most one for each fact, from the fact alone.

use std::borrow::Cow;

use tenure_core::agent::Agent;
use tenure_core::fact::{AfterError, AttemptEnding, Fact, Gate, Problem, StoredFact, Thinking};
use tenure_core::files::SnapshotEnding;
use tenure_core::id::{ItemId, SnapshotId};
use tenure_core::model::FailureKind;
use tenure_core::session::{Answer, Delivery, Input, Keep, Outcome, StopCause, StopReason};
use tenure_engine::{Preview, PreviewPart};

use super::super::ingest::Attached;
use super::super::wire::{self, Body, Id, Tagged, Time};
use super::content::blocks;
use super::session::{Used, absent, usage};
use super::{agent_core, json};

/// Who is shown an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Audience {
    /// Everybody: it is the peer's.
    All,
    /// Everybody who lists; of those who stream, those who ask for ours.
    Listing,
    /// Those who ask for ours.
    Asking,
}

/// An event as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Printed {
    pub(in super::super) kind: &'static str,
    pub(in super::super) audience: Audience,
    /// One line of JSON.
    pub(in super::super) json: Vec<u8>,
}

/// Every event type the peer documents, whether or not we have it yet, and ours.
pub(in super::super) const TYPES: &[&str] = &[
    "user.message",
    "user.interrupt",
    "user.tool_confirmation",
    "user.custom_tool_result",
    "user.tool_result",
    "user.define_outcome",
    "system.message",
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.custom_tool_use",
    "agent.mcp_tool_use",
    "agent.mcp_tool_result",
    "agent.thread_message_received",
    "agent.thread_message_sent",
    "agent.thread_context_compacted",
    "session.error",
    "session.updated",
    "session.usage",
    "session.status_running",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.thread_created",
    "session.thread_status_running",
    "session.thread_status_idle",
    "session.thread_status_rescheduled",
    "session.thread_status_terminated",
    "span.model_request_start",
    "span.model_request_end",
    "span.outcome_evaluation_start",
    "span.outcome_evaluation_ongoing",
    "span.outcome_evaluation_end",
    "workflow_run.created",
    "workflow_run.status_running",
    "workflow_run.status_idle",
    "workflow_run.status_ended",
    "workflow_run.error",
    "workflow_run.phase_started",
    "workflow_run.phase_ended",
    "tenure.call_started",
    "tenure.call_settled",
    "tenure.session_recovered",
    "tenure.sandbox_starting",
    "tenure.sandbox_running",
    "tenure.sandbox_stopping",
    "tenure.sandbox_absent",
    "tenure.session_stopped",
    "tenure.session_resumed",
    "tenure.session_closing",
    "tenure.snapshot_started",
    "tenure.snapshot_ended",
    "tenure.snapshot_removed",
    "tenure.files_changed",
    "tenure.session_rewound",
    "tenure.files_rewound",
    "tenure.session_forked",
];

/// The kinds of facts that print an event, each with the types it may print, and for whom.
pub(in super::super) const KINDS: &[(&str, &[&str], Audience)] = &[
    ("session_updated", &["session.updated"], Audience::All),
    ("input_queued", INPUTS, Audience::All),
    ("input_processed", INPUTS, Audience::All),
    ("input_withdrawn", INPUTS, Audience::Listing),
    ("thread_running", &["session.thread_status_running"], Audience::All),
    ("thread_idle", &["session.thread_status_idle"], Audience::All),
    ("thread_rescheduled", &["session.thread_status_rescheduled"], Audience::All),
    ("session_running", &["session.status_running"], Audience::All),
    ("session_idle", &["session.status_idle"], Audience::All),
    ("session_rescheduled", &["session.status_rescheduled"], Audience::All),
    ("usage_recorded", &["session.usage"], Audience::All),
    ("attempt_started", &["span.model_request_start"], Audience::All),
    ("attempt_ended", &["span.model_request_end"], Audience::All),
    ("thinking_said", &["agent.thinking"], Audience::All),
    ("message_said", &["agent.message"], Audience::All),
    ("call_requested", &["agent.tool_use", "agent.custom_tool_use"], Audience::All),
    ("call_ended", &["agent.tool_result"], Audience::All),
    ("conversation_compacted", &["agent.thread_context_compacted"], Audience::All),
    ("error_raised", &["session.error"], Audience::All),
    ("session_ended", &["session.status_terminated"], Audience::All),
    ("call_started", &["tenure.call_started"], Audience::Asking),
    ("call_settled", &["tenure.call_settled"], Audience::Asking),
    ("sandbox_starting", &["tenure.sandbox_starting"], Audience::Asking),
    ("sandbox_running", &["tenure.sandbox_running"], Audience::Asking),
    ("sandbox_stopping", &["tenure.sandbox_stopping"], Audience::Asking),
    ("sandbox_absent", &["tenure.sandbox_absent"], Audience::Asking),
    ("session_recovered", &["tenure.session_recovered"], Audience::Asking),
    ("session_held", &["tenure.session_stopped"], Audience::Asking),
    ("session_resumed", &["tenure.session_resumed"], Audience::Asking),
    ("session_closing", &["tenure.session_closing"], Audience::Asking),
    ("snapshot_started", &["tenure.snapshot_started"], Audience::Asking),
    ("snapshot_ended", &["tenure.snapshot_ended"], Audience::Asking),
    ("snapshot_removed", &["tenure.snapshot_removed"], Audience::Asking),
    ("files_changed", &["tenure.files_changed"], Audience::Asking),
    ("session_rewound", &["tenure.session_rewound"], Audience::Asking),
    ("files_rewound", &["tenure.files_rewound"], Audience::Asking),
    ("session_forked", &["tenure.session_forked"], Audience::Asking),
];

const INPUTS: &[&str] =
    &["user.message", "user.interrupt", "user.tool_confirmation", "user.custom_tool_result", "system.message"];

/// The kinds of facts to list for these types (none named: all), and for somebody who asks for ours or doesn't.
pub(in super::super) fn kinds_of(types: &[String], ours: bool) -> Vec<&'static str> {
    let wanted = |printed: &[&str]| types.is_empty() || printed.iter().any(|kind| types.iter().any(|ty| ty == kind));
    let shown = |audience: Audience| ours || audience != Audience::Asking;
    KINDS.iter().filter(|(_, types, audience)| wanted(types) && shown(*audience)).map(|(kind, ..)| *kind).collect()
}

/// The event of a fact, if it has one. `agent` is the session's, which `session.updated` shows whole with its new tools.
pub(in super::super) fn print(stored: &StoredFact, agent: Option<&Agent>, attached: &Attached) -> Option<Printed> {
    let fact = &*stored.fact;
    let (kind, body) = body(fact, agent, attached)?;
    let (_, _, audience) = KINDS.iter().find(|(name, ..)| *name == fact.kind())?;
    // Facts without an item are ours alone; their place makes an id that is theirs in this session.
    let id = fact.item().unwrap_or(ItemId::from_bits(u128::from(stored.seq)));
    let processed_at = match fact {
        Fact::InputQueued { .. } | Fact::InputWithdrawn { .. } => None,
        _ => Some(Time(stored.at)),
    };
    let event = wire::Event { id: Id(id), kind, processed_at, body };
    Some(Printed { kind, audience: *audience, json: json(&event) })
}

fn body<'a>(fact: &'a Fact, agent: Option<&'a Agent>, attached: &'a Attached) -> Option<(&'static str, Body<'a>)> {
    Some(match fact {
        Fact::SessionCreated { .. } => return None,
        Fact::SessionUpdated { item: _, title, metadata, labels, tools, budget, limits } => (
            "session.updated",
            Body::Updated {
                title: title.as_ref().map(|title| title.as_deref()),
                metadata: metadata.as_ref(),
                labels: labels.as_ref(),
                agent: agent.zip(tools.as_ref()).map(|(agent, tools)| Box::new(agent_core(agent, tools))),
                budget: budget.map(|budget| budget.map(super::session::budget)),
                limits: limits.map(|limits| super::environment::limits(limits).map(Box::new)),
            },
        ),
        Fact::InputQueued { input, .. } | Fact::InputProcessed { input, .. } => said(input, attached),
        Fact::InputWithdrawn { input, .. } => match said(input, attached) {
            (kind, Body::Message { content, delivery, answers, .. }) => {
                (kind, Body::Message { content, delivery, answers, withdrawn: true })
            }
            (kind, Body::SystemMessage { content, .. }) => (kind, Body::SystemMessage { content, withdrawn: true }),
            other => other,
        },
        Fact::ThreadRunning { thread, agent_name, .. } => {
            ("session.thread_status_running", Body::Thread { session_thread_id: Id(*thread), agent_name })
        }
        Fact::ThreadIdle { thread, agent_name, stop, .. } => {
            let (stop_reason, stop_details) = stopped(stop);
            let session_thread_id = Id(*thread);
            let body = Body::ThreadIdle { session_thread_id, agent_name, stop_reason, stop_details };
            ("session.thread_status_idle", body)
        }
        Fact::ThreadRescheduled { thread, agent_name, .. } => {
            ("session.thread_status_rescheduled", Body::Thread { session_thread_id: Id(*thread), agent_name })
        }
        Fact::SessionRunning { .. } => ("session.status_running", Body::Empty {}),
        Fact::SessionIdle { stop, .. } => {
            let (stop_reason, stop_details) = stopped(stop);
            ("session.status_idle", Body::Idle { stop_reason, stop_details })
        }
        Fact::SessionRescheduled { .. } => ("session.status_rescheduled", Body::Empty {}),
        Fact::UsageRecorded { item: _, tokens, active_ms, web_fetches, list_cost, budget } => {
            let used =
                Used { tokens: *tokens, active_ms: *active_ms, web_fetches: *web_fetches, list_cost: *list_cost };
            ("session.usage", Body::Usage { usage: usage(used), budget: budget.map(super::session::budget) })
        }
        Fact::AttemptStarted { .. } => ("span.model_request_start", Body::Empty {}),
        Fact::AttemptEnded { start, ending, usage, .. } => {
            let model_usage = wire::SpanUsage {
                input_tokens: usage.input,
                output_tokens: usage.output,
                cache_creation_input_tokens: usage.cache_write_5m + usage.cache_write_1h,
                cache_read_input_tokens: usage.cache_read,
            };
            let is_error = match ending {
                AttemptEnding::Replied | AttemptEnding::Cut | AttemptEnding::Interrupted => false,
                AttemptEnding::Failed | AttemptEnding::TooLong | AttemptEnding::Lost => true,
            };
            ("span.model_request_end", Body::SpanEnd { model_request_start_id: Id(*start), is_error, model_usage })
        }
        Fact::ThinkingSaid { thinking, .. } => {
            let thinking = match thinking {
                Thinking::Plain { text, .. } if !text.is_empty() => Some(text.as_str()),
                Thinking::Plain { .. } | Thinking::Redacted { .. } => None,
            };
            ("agent.thinking", Body::Thinking { thinking })
        }
        Fact::MessageSaid { text, .. } => {
            ("agent.message", Body::Content { content: vec![wire::Block::Text { text }] })
        }
        Fact::CallRequested { name, input, gate, .. } => called(name, input, *gate),
        Fact::CallStarted { call } => ("tenure.call_started", Body::About { event_id: Id(*call) }),
        Fact::CallSettled { call } => ("tenure.call_settled", Body::About { event_id: Id(*call) }),
        Fact::CallEnded { call, content, is_error, .. } => {
            let content = blocks(content, attached);
            ("agent.tool_result", Body::ToolResult { tool_use_id: Id(*call), content, is_error: *is_error })
        }
        Fact::ConversationCompacted { summary, .. } => {
            ("agent.thread_context_compacted", Body::Compacted { summary: summary.as_deref() })
        }
        Fact::ErrorRaised { problem, next, .. } => ("session.error", Body::Failed { error: failed(problem, *next) }),
        Fact::SandboxStarting { sandbox } => ("tenure.sandbox_starting", sandboxed(Some(sandbox.prefixed()))),
        Fact::SandboxRunning { sandbox } => ("tenure.sandbox_running", sandboxed(Some(sandbox.prefixed()))),
        Fact::SandboxStopping { sandbox, why } => {
            let why = Some(match why {
                StopCause::Asked => "asked",
                StopCause::IdleTooLong => "idle_too_long",
            });
            ("tenure.sandbox_stopping", Body::Sandbox { sandbox: Some(sandbox.prefixed()), why, reason: None })
        }
        Fact::SandboxAbsent { why, reason } => {
            let (why, reason) = (Some(absent(*why)), reason.as_deref());
            ("tenure.sandbox_absent", Body::Sandbox { sandbox: None, why, reason })
        }
        Fact::SnapshotStarted { snapshot, turn_end, name } => {
            let (turn_end, name) = (*turn_end, name.as_deref());
            ("tenure.snapshot_started", Body::SnapshotStarted { snapshot_id: snapshot.prefixed(), turn_end, name })
        }
        Fact::SnapshotEnded { snapshot, ending } => {
            let (how, bytes, reason) = how_taken(ending);
            let snapshot_id = snapshot.prefixed();
            ("tenure.snapshot_ended", Body::SnapshotEnded { snapshot_id, how, bytes, reason })
        }
        Fact::SnapshotRemoved { snapshot } => {
            ("tenure.snapshot_removed", Body::SnapshotRemoved { snapshot_id: snapshot.prefixed() })
        }
        Fact::FilesChanged {} => ("tenure.files_changed", Body::Empty {}),
        Fact::SessionRewound { to, snapshot, files: _ } => {
            let snapshot_id = snapshot.map(SnapshotId::prefixed);
            ("tenure.session_rewound", Body::Rewound { to: *to, snapshot_id })
        }
        Fact::FilesRewound { failed } => ("tenure.files_rewound", Body::FilesRewound { failed: failed.as_deref() }),
        Fact::SessionForked { from, .. } => {
            ("tenure.session_forked", Body::Forked { forked_from: super::session::forked_from(*from) })
        }
        Fact::SessionRecovered { fruitless } => ("tenure.session_recovered", Body::Recovered { fruitless: *fruitless }),
        Fact::SessionHeld {} => ("tenure.session_stopped", Body::Empty {}),
        Fact::SessionResumed {} => ("tenure.session_resumed", Body::Empty {}),
        Fact::SessionClosing { outcome, keep } => {
            let keep = match keep {
                Keep::Everything => "everything",
                Keep::Log => "log",
            };
            ("tenure.session_closing", Body::Closing { outcome: outcome_name(*outcome), keep })
        }
        Fact::SessionEnded { .. } => ("session.status_terminated", Body::Empty {}),
    })
}

/// How a snapshot was taken: the word, the bytes and the reason.
pub(crate) fn how_taken(ending: &SnapshotEnding) -> (&'static str, Option<u64>, Option<&str>) {
    match ending {
        SnapshotEnding::Sealed => ("sealed", None, None),
        SnapshotEnding::Copied { bytes } => ("copied", Some(*bytes), None),
        SnapshotEnding::Reused => ("reused", None, None),
        SnapshotEnding::Skipped { bytes } => ("skipped", Some(*bytes), None),
        SnapshotEnding::Failed { reason } => ("failed", None, Some(reason)),
    }
}

fn said<'a>(input: &'a Input, attached: &'a Attached) -> (&'static str, Body<'a>) {
    match input {
        Input::Message { content, delivery } => {
            let delivery = match delivery {
                Delivery::AfterTurn => None,
                Delivery::Steer => Some("steer"),
            };
            let content = blocks(content, attached);
            ("user.message", Body::Message { content, delivery, answers: None, withdrawn: false })
        }
        Input::SystemMessage { content, .. } => {
            ("system.message", Body::SystemMessage { content: blocks(content, attached), withdrawn: false })
        }
        Input::Answer { call, content } => {
            let (content, answers) = (blocks(content, attached), Some(Id(*call)));
            ("user.message", Body::Message { content, delivery: None, answers, withdrawn: false })
        }
        Input::Interrupt { thread } => ("user.interrupt", Body::Interrupt { session_thread_id: thread.map(Id) }),
        Input::Confirmation { call, answer } => {
            let (result, deny_message) = match answer {
                Answer::Allow => ("allow", None),
                Answer::Deny { message } => ("deny", message.as_deref()),
            };
            ("user.tool_confirmation", Body::Confirmation { tool_use_id: Id(*call), result, deny_message })
        }
        Input::ClientResult { call, content, is_error } => {
            let (content, is_error) = (blocks(content, attached), *is_error);
            ("user.custom_tool_result", Body::ClientResult { custom_tool_use_id: Id(*call), content, is_error })
        }
    }
}

fn called<'a>(name: &'a str, input: &'a serde_json::Value, gate: Gate) -> (&'static str, Body<'a>) {
    let (evaluated_permission, evaluation) = match gate {
        Gate::AtClient => return ("agent.custom_tool_use", Body::CustomToolUse { name, input, question: false }),
        Gate::Question => return ("agent.custom_tool_use", Body::CustomToolUse { name, input, question: true }),
        Gate::Allowed => ("allow", Some(Tagged { kind: "always_allow" })),
        Gate::NeedsApproval => ("ask", Some(Tagged { kind: "always_ask" })),
        // Refused before any policy applied, which the peer shows by leaving the evaluation out.
        Gate::Refused => ("deny", None),
    };
    ("agent.tool_use", Body::ToolUse { name, input, evaluated_permission, evaluation })
}

fn stopped(stop: &StopReason) -> (wire::StopReason<'_>, Option<wire::Refusal<'_>>) {
    match stop {
        StopReason::EndTurn => (wire::StopReason::EndTurn, None),
        StopReason::RequiresAction { calls } => {
            (wire::StopReason::RequiresAction { event_ids: calls.iter().map(Id).collect() }, None)
        }
        StopReason::RetriesExhausted => (wire::StopReason::RetriesExhausted, None),
        StopReason::BudgetReached => (wire::StopReason::BudgetReached, None),
        StopReason::Refusal { category, explanation } => {
            // SDKs that validate take the peer's categories alone; another provider's is still worth a word.
            let known = |category: &&str| wire::REFUSALS.contains(category);
            let explanation = explanation.as_deref().or(category.as_deref().filter(|category| !known(category)));
            let category = category.as_deref().filter(known);
            (wire::StopReason::Refusal, Some(wire::Refusal { kind: "refusal", category, explanation }))
        }
    }
}

fn failed(problem: &Problem, next: AfterError) -> wire::Error<'_> {
    let (kind, message) = match problem {
        Problem::Model { failure, message } => {
            let kind = match failure {
                FailureKind::Overloaded => "model_overloaded_error",
                FailureKind::RateLimited => "model_rate_limited_error",
                FailureKind::Billing => "billing_error",
                FailureKind::Unavailable
                | FailureKind::Authentication
                | FailureKind::Rejected
                | FailureKind::TooLong => "model_request_failed_error",
            };
            (kind, Cow::Borrowed(message.as_str()))
        }
        Problem::Sandbox { message } => ("unknown_error", Cow::Owned(format!("the sandbox: {message}"))),
        Problem::TooManyAttempts { limit } => (
            "tool_use_limit_reached_error",
            Cow::Owned(format!("the turn made {limit} model requests, the most allowed")),
        ),
        Problem::RepliesCut { times } => (
            "model_request_failed_error",
            Cow::Owned(format!(
                "{times} replies of the model in a row reached the most tokens that one reply may have, and were cut off; \
                 give the agent's model a larger `max_tokens`, or ask for less at once"
            )),
        ),
        Problem::ServerDied { times } => ("unknown_error", Cow::Owned(server_died(*times, next))),
    };
    let retry_status = Tagged {
        kind: match next {
            AfterError::Retrying => "retrying",
            AfterError::TurnOver => "exhausted",
        },
    };
    wire::Error { kind, message, retry_status }
}

fn server_died(times: u32, next: AfterError) -> String {
    let what_next = match next {
        AfterError::Retrying => "it goes on after a while",
        AfterError::TurnOver => {
            "it may be what this session does that the server dies of, so the turn is over; the next message starts another"
        }
    };
    format!(
        "the server died {times} times in a row while this session worked, without progress in between; {what_next}"
    )
}

fn sandboxed(sandbox: Option<String>) -> Body<'static> {
    Body::Sandbox { sandbox, why: None, reason: None }
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::EndedByUser => "ended_by_user",
        Outcome::TimedOut => "timed_out",
        Outcome::Archived => "archived",
        Outcome::Failed => "failed",
    }
}

/// The event type of what a preview previews.
fn previewed(part: PreviewPart) -> &'static str {
    match part {
        PreviewPart::Message => "agent.message",
        PreviewPart::Thinking => "agent.thinking",
    }
}

/// A preview as it is sent, for somebody who asked for previews of these types. Thinking has a beginning only.
pub(in super::super) fn preview(preview: &Preview, wanted: &[&str]) -> Option<(&'static str, Vec<u8>)> {
    let part = match preview {
        Preview::Started { part, .. } | Preview::Delta { part, .. } => *part,
    };
    if !wanted.contains(&previewed(part)) {
        return None;
    }
    match preview {
        Preview::Started { item, .. } => {
            let event = wire::PreviewedEvent { kind: previewed(part), id: Id(*item) };
            Some(("event_start", json(&wire::Preview::Start { event })))
        }
        Preview::Delta { part: PreviewPart::Thinking, .. } => None,
        Preview::Delta { item, text, .. } => {
            let delta = wire::PreviewDelta { index: 0, content: wire::PreviewText { text } };
            Some(("event_delta", json(&wire::Preview::Delta { event_id: Id(*item), delta })))
        }
    }
}

#[cfg(test)]
mod tests {
    use tenure_core::session::StopReason;

    use super::stopped;

    #[test]
    fn only_the_peers_categories_of_refusals_are_told_as_such() {
        let told = |category: &str, explanation: Option<&str>| {
            let explanation = explanation.map(str::to_owned);
            let stop = StopReason::Refusal { category: Some(category.to_owned()), explanation };
            let refusal = stopped(&stop).1.unwrap();
            (refusal.category.map(str::to_owned), refusal.explanation.map(str::to_owned))
        };
        let owned = |text: &str| Some(text.to_owned());
        assert_eq!(told("cyber", None), (owned("cyber"), None));
        assert_eq!(told("cyber", Some("no")), (owned("cyber"), owned("no")));
        assert_eq!(told("content_filter", None), (None, owned("content_filter")));
        assert_eq!(told("content_filter", Some("no")), (None, owned("no")));
    }
}
