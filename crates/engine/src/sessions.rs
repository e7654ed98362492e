//! Sessions, as front doors see them.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use tenure_core::agent::{Environment, LimitsChange, ToolConfig};
use tenure_core::command::create::{Create, create};
use tenure_core::command::{End, Hold, Resume, Send, Tick, Update, Withdraw};
use tenure_core::decide::{Decision, decide};
use tenure_core::fact::StoredFact;
use tenure_core::id::{AgentId, EnvironmentId, ItemId, SessionId, TenantId};
use tenure_core::phase::Phase;
use tenure_core::price::Budget;
use tenure_core::session::{ContextPolicy, Definition, Input, Keep, Labels, Lifetimes, Metadata, Outcome};
use tenure_core::state::State;
use tenure_store::{Append, FeedKind, IdempotencyRecord, Order, Page, SessionQuery, SessionRow, Start, TimeRange};
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::agents::ModelChange;
use crate::cursor::Cursor;
use crate::directory::Mail;
use crate::engine::Shared;
use crate::error::Error;
use crate::failpoint;
use crate::limits;
use crate::live::{Live, merge};
use crate::owner::Executed;
use crate::sandboxes::Job;
use crate::view::{Done, Keyed, SessionView};

mod compare;
mod copies;
mod events;
mod points;
mod sandbox;

pub use compare::{Comparison, Stage};
pub use copies::{NewClone, NewFork};
pub use events::{EventPage, EventPosition, EventQuery};
pub use points::Point;
pub use sandbox::Wanted;

/// Sessions that match a prefix, at most.
const PREFIX_MATCHES: usize = 20;

/// A tenant's sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

/// A new session.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    /// Which agent.
    pub agent: AgentChoice,
    /// In which environment.
    pub environment: EnvironmentId,
    /// A label for people.
    pub title: Option<String>,
    /// Names and values of the client's.
    pub metadata: Metadata,
    /// Short words to find it again by.
    pub labels: Labels,
    /// When it stops or ends by itself; `None` is the operator's choice.
    pub lifetimes: Option<Lifetimes>,
    /// What it may cost, if that is limited.
    pub budget: Option<Budget>,
    /// In what its limits differ from those of its environment.
    pub limits: LimitsChange,
    /// What is said to it at once.
    pub inputs: Vec<Input>,
}

/// An agent, pinned to a version, perhaps with changes for this session alone.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentChoice {
    /// Which agent.
    pub id: AgentId,
    /// Which version; `None` is the newest.
    pub version: Option<u32>,
    /// What is different in this session.
    pub overrides: Overrides,
}

/// What is different from the agent; `None` leaves a part as it is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// Another model.
    pub model: Option<ModelChange>,
    /// Another system prompt; the inner `None` is none.
    pub system: Option<Option<String>>,
    /// Other tools.
    pub tools: Option<Vec<ToolConfig>>,
}

/// Which sessions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only with this agent.
    pub agent: Option<AgentId>,
    /// Only with this version of the agent.
    pub agent_version: Option<u32>,
    /// Only with all of these labels.
    pub labels: Vec<String>,
    /// Only in one of these phases.
    pub phases: Option<Vec<Phase>>,
    /// Only those created then.
    pub created: TimeRange,
    /// Whether archived ones are listed too.
    pub include_archived: bool,
    /// Which end comes first.
    pub order: Order,
    /// Where the page lies.
    pub start: Option<Start>,
    /// The most rows.
    pub limit: usize,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFrom {
    /// With what happens next.
    Now,
    /// With what follows the fact at this place; 0 is the beginning.
    After(u64),
}

impl Sessions {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes a session, and says to it what comes with it, in one step.
    pub async fn create(&self, tenant: TenantId, new: NewSession, keyed: Option<Keyed>) -> Result<SessionView, Error> {
        let _environments_stay = self.shared.choosing_environments.read().await;
        let definition = self.define(tenant, new.agent.clone(), new.environment, new.lifetimes, new.limits).await?;
        if new.budget.is_some() && definition.model_facts.price.is_none() {
            let model = &definition.agent.model.id;
            let message = format!(
                "model_not_budgetable: `{model}` has no list price; name another model, leave the budget out, or have \
                 the operator put its price into models.toml"
            );
            return Err(Error::invalid("budget", message));
        }
        let mut moment = self.shared.clock.moment();
        let now = moment.at;
        let session = SessionId::from_bits(moment.ids.bits());
        let NewSession { title, metadata, labels, budget, inputs, .. } = new;
        let command = Create { session, definition, title, metadata, labels, budget };
        let first = create(command, moment);
        let mut state = State::open(&first).ok_or_else(Error::busy)?;
        let mut facts = vec![first];
        if !inputs.is_empty() {
            let Decision { facts: more, refusal } =
                decide(&state, self.send_command(inputs).into(), self.shared.clock.moment());
            if let Some(refusal) = refusal {
                return Err(refusal.into());
            }
            more.iter().for_each(|stored| state.evolve(stored));
            facts.extend(more);
        }
        let generation = self.shared.store.generation();
        let view = SessionView {
            summary: state.summary(),
            definition: state.definition.clone(),
            now,
            generation,
            preparing: None,
        };
        let answer = keyed.map(|keyed| keyed.record(tenant, &Done::Session(view.clone()), now));
        let append = Append {
            session,
            expected_seq: 0,
            facts: facts.clone(),
            summary: view.summary.clone(),
            definition: Some(view.definition.clone()),
            feed: vec![FeedKind::Created, FeedKind::PhaseChanged { phase: state.phase() }],
            answer,
        };
        self.shared.store.append(append).instrument(crate::traced::append(facts.len())).await?;
        self.shared.timers.note(view.summary.wake_at);
        metrics::counter!("tenure_sessions_created_total").increment(1);
        if facts.len() > 1 {
            self.shared.directory.adopt(state, &facts);
        }
        Ok(view)
    }

    /// When a session stops or ends by itself, as the operator chose.
    pub fn default_lifetimes(&self) -> Lifetimes {
        self.shared.config.lifetimes
    }

    /// A session.
    pub async fn get(&self, tenant: TenantId, session: SessionId) -> Result<SessionView, Error> {
        let row = self.row(tenant, session).await?;
        let view = self.up_to_date(row).await?;
        Ok(SessionView { preparing: self.shared.sandboxes.preparing(session), ..view })
    }

    /// A page of sessions.
    pub async fn list(&self, tenant: TenantId, filter: SessionFilter) -> Result<Page<SessionView>, Error> {
        let SessionFilter { agent, agent_version, labels, phases, created, include_archived, order, start, limit } =
            filter;
        let environment = None;
        let query = SessionQuery {
            tenant,
            agent,
            agent_version,
            environment,
            labels,
            phases,
            created,
            include_archived,
            order,
            start,
            limit,
        };
        let page = self.shared.store.sessions(query).await?;
        let mut rows = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            rows.push(self.up_to_date(row).await?);
        }
        Ok(Page { rows, prev: page.prev, next: page.next })
    }

    /// The sessions whose ids begin with these hex digits, at most 20.
    pub async fn resolve_prefix(&self, tenant: TenantId, hex: &str) -> Result<Vec<SessionId>, Error> {
        Ok(self.shared.store.sessions_by_prefix(tenant, hex.to_lowercase(), PREFIX_MATCHES).await?)
    }

    /// Says something. Gives for each input the fact that shows it now: queued, or taken up.
    pub async fn send(
        &self,
        tenant: TenantId,
        session: SessionId,
        inputs: Vec<Input>,
        keyed: Option<Keyed>,
    ) -> Result<Vec<StoredFact>, Error> {
        let command = self.send_command(inputs);
        let items: Vec<ItemId> = command.inputs.iter().map(|(item, _)| *item).collect();
        let executed = self.shared.directory.execute(tenant, session, command, keyed).await?;
        Ok(crate::owner::receipts(&items, &executed.facts))
    }

    /// Changes labels or tools.
    pub async fn update(
        &self,
        tenant: TenantId,
        session: SessionId,
        update: Update,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        self.execute(tenant, session, update, keyed).await
    }

    /// Stops it for now.
    pub async fn hold(&self, tenant: TenantId, session: SessionId, keyed: Option<Keyed>) -> Result<SessionView, Error> {
        self.execute(tenant, session, Hold {}, keyed).await
    }

    /// Lets it go on.
    pub async fn resume(
        &self,
        tenant: TenantId,
        session: SessionId,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        self.execute(tenant, session, Resume {}, keyed).await
    }

    /// Ends or archives it.
    pub async fn end(
        &self,
        tenant: TenantId,
        session: SessionId,
        outcome: Outcome,
        keep: Keep,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        self.execute(tenant, session, End { outcome, keep }, keyed).await
    }

    /// Takes queued input back.
    pub async fn withdraw(&self, tenant: TenantId, session: SessionId, item: ItemId) -> Result<SessionView, Error> {
        self.execute(tenant, session, Withdraw { item }, None).await
    }

    /// Removes it and everything of it. Refused while it works.
    pub async fn delete(&self, tenant: TenantId, session: SessionId) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.shared.directory.post(session, Mail::Delete { tenant, reply })?;
        answer.await.map_err(|_| Error::busy())??;
        let (reply, removed) = oneshot::channel();
        self.shared.sandboxes.order(&self.shared.directory, session, Job::Remove { reply: Some(reply) });
        // The rows are gone; files that can't be removed now are removed at the next start.
        if matches!(removed.await, Ok(Ok(()))) {
            self.shared.store.purge_done(session).await?;
        }
        Ok(())
    }

    /// A page of what happened.
    pub async fn events(&self, tenant: TenantId, session: SessionId, query: EventQuery) -> Result<EventPage, Error> {
        let row = self.row(tenant, session).await?;
        events::page(&*self.shared.store, &row.summary, query).await
    }

    /// What happens, as it happens, from a place in the log on. Everything stored after this returns is in the stream.
    pub async fn stream(
        &self,
        tenant: TenantId,
        session: SessionId,
        from: StreamFrom,
    ) -> Result<BoxStream<'static, Result<Live, Error>>, Error> {
        let row = self.row(tenant, session).await?;
        // The row may lag behind nothing: it is written with the facts. A fact stored after this read is live.
        let head = row.summary.seq;
        let after = match from {
            StreamFrom::Now => head,
            StreamFrom::After(after) if after <= head => after,
            StreamFrom::After(after) => {
                let message = format!("expected a cursor of this session's log, which ends at {head}, got {after}");
                return Err(Error::invalid("after", message));
            }
        };
        let channel = self.shared.channels.of(session);
        let facts = self.shared.store.tail(session, after);
        Ok(merge(facts, channel, after, head).map(|live| live.map_err(Error::from)).boxed())
    }

    /// The cursor of a place in the log of a session.
    pub fn cursor(&self, seq: u64) -> Cursor {
        Cursor { generation: self.shared.store.generation(), seq }
    }

    /// The place in the log that a client's cursor names; refused if the data were restored since it was given out.
    pub fn place(&self, cursor: Cursor) -> Result<u64, Error> {
        cursor.within(self.shared.store.generation())
    }

    /// The answer that is kept under an idempotency key.
    pub async fn answer(&self, tenant: TenantId, key: &str) -> Result<Option<IdempotencyRecord>, Error> {
        Ok(self.shared.store.answer(tenant, key.to_owned(), self.shared.clock.now()).await?)
    }

    /// The session with everything applied that is due by now, so that nobody reads a status that has passed.
    async fn up_to_date(&self, row: SessionRow) -> Result<SessionView, Error> {
        let now = self.shared.clock.now();
        if row.summary.wake_at.is_none_or(|at| at > now) {
            return Ok(SessionView::of(row, now, self.shared.store.generation()));
        }
        let (tenant, session) = (row.summary.tenant, row.summary.session);
        match self.shared.directory.execute(tenant, session, Tick {}, None).await {
            Ok(executed) => Ok(executed.view),
            // It is just being deleted, or has too much to do: what was read is the best there is.
            Err(_) => Ok(SessionView::of(row, now, self.shared.store.generation())),
        }
    }

    /// Forgets the answer that is kept under an idempotency key, durably with the next write.
    pub async fn forget_answer(&self, tenant: TenantId, key: String) -> Result<(), Error> {
        failpoint::hit("before_answer_mark");
        Ok(self.shared.store.forget_answer(tenant, key).await?)
    }

    async fn execute(
        &self,
        tenant: TenantId,
        session: SessionId,
        command: impl Into<tenure_core::command::Command>,
        keyed: Option<Keyed>,
    ) -> Result<SessionView, Error> {
        let Executed { view, .. } = self.shared.directory.execute(tenant, session, command, keyed).await?;
        Ok(view)
    }

    async fn row(&self, tenant: TenantId, session: SessionId) -> Result<SessionRow, Error> {
        let row = self.shared.store.session(Some(tenant), session).await?;
        row.ok_or_else(|| Error::not_found("session", session.prefixed()))
    }

    fn send_command(&self, inputs: Vec<Input>) -> Send {
        let mut ids = self.shared.clock.ids();
        Send { inputs: inputs.into_iter().map(|input| (ids.item(), input)).collect() }
    }

    async fn define(
        &self,
        tenant: TenantId,
        choice: AgentChoice,
        environment: EnvironmentId,
        lifetimes: Option<Lifetimes>,
        limits: LimitsChange,
    ) -> Result<Arc<Definition>, Error> {
        let found = match choice.version {
            None => self.shared.store.agent(tenant, choice.id).await?,
            Some(version) => self.shared.store.agent_version(tenant, choice.id, version).await?,
        };
        let record = found.ok_or_else(|| Error::not_found("agent", choice.id.prefixed()))?;
        if record.archived_at.is_some() {
            let message = "it is archived; new sessions need one that isn't";
            return Err(Error::Archived { what: "agent", field: "agent", message });
        }
        let mut agent = record.agent;
        let Overrides { model, system, tools } = choice.overrides;
        if let Some(model) = model {
            agent.model = model.over(&agent.model)?;
        }
        agent.system = system.unwrap_or(agent.system);
        agent.tools = tools.unwrap_or(agent.tools);
        let model_facts = self.shared.config.models.facts(&agent.model);
        let window = model_facts.context_window.unwrap_or(self.shared.config.context.window);
        let reply = tenure_models::reply_tokens(&agent.model);
        let found = self.shared.store.environment(tenant, environment).await?;
        let environment = found.ok_or_else(|| Error::not_found("environment", environment.prefixed()))?;
        if environment.archived_at.is_some() {
            let message = "it is archived; new sessions need one that isn't";
            return Err(Error::Archived { what: "environment", field: "environment_id", message });
        }
        limits::check(&self.shared, limits, "limits.").await?;
        let limits = limits.apply(environment.limits);
        Ok(self.shared.definitions.share(Arc::new(Definition {
            tenant,
            agent: Arc::new(agent),
            environment: Environment {
                id: environment.id,
                limits,
                root: environment.root,
                packages: environment.packages,
            },
            lifetimes: lifetimes.unwrap_or(self.shared.config.lifetimes),
            retry: self.shared.config.retry,
            model_facts,
            context: ContextPolicy { window, reply, ..self.shared.config.context },
        })))
    }
}
