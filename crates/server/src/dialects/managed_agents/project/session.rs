//! Sessions.

use tenure_core::fork::{ForkKind, ForkedFrom};
use tenure_core::id::SnapshotId;
use tenure_core::model::TokenUsage;
use tenure_core::price::{Budget, Usd};
use tenure_core::session::{Absent, IdleThen, Lifecycle, Lifetimes, Sandbox};
use tenure_engine::SessionView;

use super::super::status::Status;
use super::super::wire::{self, EmptyList, Id, Null, Time, seconds};
use super::agent_core;
use crate::fronts;

/// A session.
pub(crate) fn session(view: &SessionView) -> wire::Session<'_> {
    let summary = &view.summary;
    let agent = &view.definition.agent;
    let phase = view.phase();
    let (active_ms, stats) = spans(view);
    let price = view.definition.model_facts.price;
    let list_cost = price.map(|price| summary.tokens_cost.plus(price.of_time(active_ms)));
    let used = Used { tokens: summary.tokens, active_ms, web_fetches: summary.web_fetches, list_cost };
    wire::Session {
        id: Id(summary.session),
        kind: "session",
        status: Status::of(phase),
        title: summary.title.as_deref(),
        agent: agent_core(agent, &agent.tools),
        environment_id: Id(summary.environment),
        resources: EmptyList,
        vault_ids: EmptyList,
        metadata: &summary.metadata,
        budget: summary.budget.map(budget),
        deployment_id: Null,
        usage: usage(used),
        stats,
        outcome_evaluations: EmptyList,
        created_at: Time(summary.created_at),
        updated_at: Time(summary.updated_at),
        archived_at: summary.archived_at().map(Time),
        tenure: wire::TenureSession {
            phase: phase.name(),
            cli_status: fronts::cli::status(phase),
            console_status: fronts::console::status(phase),
            sandbox: sandbox(&summary.sandbox),
            preparing: view.preparing.as_deref(),
            lifetimes: lifetimes(&view.definition.lifetimes),
            limits: super::environment::limits(view.definition.environment.limits),
            labels: &summary.labels,
            messages: summary.messages,
            first_line: summary.first_line.as_deref(),
            last_active_at: Time(summary.last_active_at),
            cursor: view.cursor().to_string(),
            queued: summary.queued.len(),
            forked_from: summary.forked_from.map(forked_from),
            rewinds: summary.rewinds.len(),
        },
    }
}

/// What a session was made from.
pub(super) fn forked_from(from: ForkedFrom) -> wire::ForkedFrom {
    let ForkedFrom { session, at, what, snapshot } = from;
    let what = match what {
        ForkKind::Fork => "fork",
        ForkKind::Clone => "clone",
    };
    wire::ForkedFrom { session_id: Id(session), at, what, snapshot_id: snapshot.map(SnapshotId::prefixed) }
}

/// How many milliseconds it has worked, and what is told of that.
pub(super) fn spans(view: &SessionView) -> (u64, wire::Stats) {
    let summary = &view.summary;
    let until = match summary.lifecycle {
        Lifecycle::Ended { .. } => summary.updated_at,
        Lifecycle::Open | Lifecycle::Closing { .. } => view.now,
    };
    let current = summary.working_since.map_or(0, |since| view.now.since(since).as_millis());
    let active_ms = summary.active_ms.saturating_add(u64::try_from(current).unwrap_or(u64::MAX));
    let duration_ms = u64::try_from(until.since(summary.created_at).as_millis()).unwrap_or(u64::MAX);
    (active_ms, wire::Stats { active_seconds: seconds(active_ms), duration_seconds: seconds(duration_ms) })
}

/// What a session or a thread has used.
pub(super) struct Used {
    pub(super) tokens: TokenUsage,
    pub(super) active_ms: u64,
    pub(super) web_fetches: u64,
    pub(super) list_cost: Option<Usd>,
}

pub(super) fn budget(budget: Budget) -> wire::Budget {
    wire::Budget { kind: "limit", max_list_cost: money(budget.max_list_cost_cents) }
}

fn money(cents: u64) -> wire::Money {
    wire::Money { amount: cents.to_string(), currency: "USD" }
}

pub(super) fn usage(used: Used) -> wire::Usage {
    let Used { tokens, active_ms, web_fetches, list_cost } = used;
    wire::Usage {
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        cache_read_input_tokens: tokens.cache_read,
        cache_creation: wire::CacheCreation {
            ephemeral_5m_input_tokens: tokens.cache_write_5m,
            ephemeral_1h_input_tokens: tokens.cache_write_1h,
        },
        server_tool_use: wire::ServerToolUse { web_fetch_requests: web_fetches, web_search_requests: 0 },
        active_seconds: seconds(active_ms),
        list_cost: list_cost.map(|cost| money(cost.cents())),
    }
}

fn lifetimes(lifetimes: &Lifetimes) -> wire::Lifetimes {
    let Lifetimes { idle, sandbox_idle, max_duration, end_when_agent_exits, stop_grace } = *lifetimes;
    let (then, outcome, keep) = match idle.map(|rule| rule.then) {
        None => (None, None, None),
        Some(IdleThen::Stop) => (Some("stop"), None, None),
        Some(IdleThen::End { outcome, keep }) => (Some("end"), Some(outcome), Some(keep)),
    };
    wire::Lifetimes {
        idle_seconds: idle.map(|rule| rule.after.as_secs()),
        then,
        outcome,
        keep,
        sandbox_idle_seconds: sandbox_idle.map(|span| span.as_secs()),
        max_duration_seconds: max_duration.map(|span| span.as_secs()),
        end_when_agent_exits,
        stop_grace_seconds: stop_grace.as_secs(),
    }
}

fn sandbox(sandbox: &Sandbox) -> &'static str {
    match sandbox {
        Sandbox::Absent { why } => absent(*why),
        Sandbox::Starting { .. } => "starting",
        Sandbox::Running { .. } => "running",
        Sandbox::Stopping { .. } => "stopping",
    }
}

pub(super) fn absent(why: Absent) -> &'static str {
    match why {
        Absent::NotYet => "not_yet",
        Absent::Queued => "queued",
        Absent::Stopped => "stopped",
        Absent::Lost => "lost",
    }
}
