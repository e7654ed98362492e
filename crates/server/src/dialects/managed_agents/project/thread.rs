//! Threads.

use tenure_engine::SessionView;

use super::super::status::Status;
use super::super::wire::{self, Id, Null, Time};
use super::agent_core;
use super::session::{Used, spans, usage};

/// A session's primary thread. While it is the only one, what it does is what the session does.
pub(crate) fn thread(view: &SessionView) -> wire::Thread<'_> {
    let summary = &view.summary;
    let agent = &view.definition.agent;
    let (active_ms, stats) = spans(view);
    // A thread's cost is that of its tokens; the time is the session's.
    let list_cost = view.definition.model_facts.price.map(|_| summary.tokens_cost);
    let used = Used { tokens: summary.tokens, active_ms, web_fetches: summary.web_fetches, list_cost };
    let begun = summary.messages > 0;
    wire::Thread {
        id: Id(summary.thread),
        kind: "session_thread",
        session_id: Id(summary.session),
        parent_thread_id: Null,
        agent: agent_core(agent, &agent.tools),
        status: Status::of(view.phase()),
        workflow_run_id: Null,
        stats: begun.then_some(stats),
        usage: begun.then(|| usage(used)),
        created_at: Time(summary.created_at),
        updated_at: Time(summary.updated_at),
        archived_at: summary.archived_at().map(Time),
    }
}
