//! Sessions to store: readable ids, times that count up, and rows that follow the facts.

use std::sync::Arc;

use tenure_core::agent::{Agent, Environment, Limits};
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::id::{AgentId, EnvironmentId, ItemId, KeyId, SessionId, TenantId, ThreadId};
use tenure_core::model::{ModelConfig, TokenUsage};
use tenure_core::packages::Packages;
use tenure_core::phase::Fold;
use tenure_core::price::{ModelFacts, Usd};
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::root::Root;
use tenure_core::session::{
    Absent, ContextPolicy, Definition, Labels, Lifecycle, Lifetimes, Metadata, RetryPolicy, Sandbox, StopReason,
};
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;
use tenure_store::{Append, IdempotencyRecord};

pub(crate) const TENANT: TenantId = TenantId::from_bits(7);
pub(crate) const OTHER_TENANT: TenantId = TenantId::from_bits(8);
pub(crate) const THREAD: ThreadId = ThreadId::from_bits(3);

/// A session's log as its only writer knows it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) row: Summary,
    next_item: u128,
}

impl Log {
    pub(crate) fn new(session: u128) -> Self {
        Self::created_at(session, 1_000)
    }

    pub(crate) fn created_at(session: u128, micros: i64) -> Self {
        Self { row: summary(session, micros), next_item: 0 }
    }

    pub(crate) fn id(&self) -> SessionId {
        self.row.session
    }

    /// The append of the session's first fact.
    pub(crate) fn create(&mut self) -> Append {
        let fact = Fact::SessionCreated {
            definition: definition(),
            thread: THREAD,
            title: None,
            metadata: Metadata::default(),
            labels: Labels::default(),
            budget: None,
        };
        let mut append = self.append([fact]);
        append.definition = Some(definition());
        append
    }

    /// The append of these facts, a microsecond after the last.
    pub(crate) fn append(&mut self, facts: impl IntoIterator<Item = Fact>) -> Append {
        let expected_seq = self.row.seq;
        let at = Timestamp::from_micros(self.row.updated_at.as_micros() + 1);
        let place = |(seq, fact)| StoredFact { session: self.row.session, seq, at, fact: Arc::new(fact) };
        let facts: Vec<_> = (expected_seq + 1..).zip(facts).map(place).collect();
        self.row.seq += facts.len() as u64;
        self.row.updated_at = at;
        Append {
            session: self.row.session,
            expected_seq,
            facts,
            summary: self.row.clone(),
            definition: None,
            feed: Vec::new(),
            answer: None,
        }
    }

    /// The append of so many small facts.
    pub(crate) fn say(&mut self, messages: usize) -> Append {
        let facts: Vec<_> = (0..messages).map(|_| self.message("hello")).collect();
        self.append(facts)
    }

    pub(crate) fn message(&mut self, text: &str) -> Fact {
        self.next_item += 1;
        Fact::MessageSaid { item: ItemId::from_bits(self.next_item), thread: THREAD, text: text.to_owned() }
    }
}

pub(crate) fn summary(session: u128, micros: i64) -> Summary {
    let at = Timestamp::from_micros(micros);
    Summary {
        session: SessionId::from_bits(session),
        tenant: TENANT,
        agent: AgentId::from_bits(1),
        agent_version: 1,
        agent_name: "assistant".to_owned(),
        environment: EnvironmentId::from_bits(2),
        thread: THREAD,
        title: None,
        first_line: None,
        metadata: Metadata::default(),
        labels: Labels::default(),
        lifecycle: Lifecycle::Open,
        sandbox: Sandbox::Absent { why: Absent::NotYet },
        fold: Fold::Idle,
        stop: StopReason::EndTurn,
        tokens: TokenUsage::default(),
        tokens_cost: Usd::ZERO,
        web_fetches: 0,
        budget: None,
        rewinds: Vec::new(),
        forked_from: None,
        active_ms: 0,
        working_since: None,
        messages: 0,
        created_at: at,
        updated_at: at,
        last_active_at: at,
        seq: 0,
        queued: Vec::new(),
        wake_at: None,
        unsettled: false,
    }
}

pub(crate) fn agent() -> Agent {
    Agent {
        id: AgentId::from_bits(1),
        version: 1,
        name: "assistant".to_owned(),
        description: None,
        model: ModelConfig::named("script/demo"),
        system: Some("be kind".to_owned()),
        tools: Vec::new(),
    }
}

pub(crate) fn definition() -> Arc<Definition> {
    Arc::new(Definition {
        tenant: TENANT,
        agent: Arc::new(agent()),
        environment: Environment {
            id: EnvironmentId::from_bits(2),
            limits: Limits::default(),
            root: Root::Host,
            packages: Packages::default(),
        },
        lifetimes: Lifetimes::default(),
        retry: RetryPolicy::default(),
        model_facts: ModelFacts::default(),
        context: ContextPolicy::default(),
    })
}

pub(crate) fn agent_record(id: u128, slug: &str, created_at: i64) -> AgentRecord {
    AgentRecord {
        tenant: TENANT,
        agent: Agent { id: AgentId::from_bits(id), ..agent() },
        slug: slug.to_owned(),
        metadata: Metadata::default(),
        created_at: Timestamp::from_micros(created_at),
        updated_at: Timestamp::from_micros(created_at),
        archived_at: None,
    }
}

pub(crate) fn environment_record(id: u128, name: &str, created_at: i64) -> EnvironmentRecord {
    EnvironmentRecord {
        id: EnvironmentId::from_bits(id),
        tenant: TENANT,
        name: name.to_owned(),
        description: None,
        limits: Limits::default(),
        root: Root::Host,
        packages: Packages::default(),
        metadata: Metadata::default(),
        created_at: Timestamp::from_micros(created_at),
        updated_at: Timestamp::from_micros(created_at),
        archived_at: None,
    }
}

pub(crate) fn key_record(id: u128, hash: &str) -> KeyRecord {
    KeyRecord {
        id: KeyId::from_bits(id),
        tenant: TENANT,
        name: "laptop".to_owned(),
        hash: hash.to_owned(),
        hint: "tnr_abcd".to_owned(),
        created_at: Timestamp::from_micros(5),
        revoked_at: None,
    }
}

/// An answer kept from `created_at` to `expires_at`.
pub(crate) fn answer(key: &str, created_at: i64, expires_at: i64) -> IdempotencyRecord {
    IdempotencyRecord {
        tenant: TENANT,
        key: key.to_owned(),
        fingerprint: [9; 32],
        status: 200,
        body: b"{}".to_vec(),
        created_at: Timestamp::from_micros(created_at),
        expires_at: Timestamp::from_micros(expires_at),
        replaces: false,
    }
}
