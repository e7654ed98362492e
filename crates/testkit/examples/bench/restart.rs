//! Starting on a data directory with many sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_core::agent::Environment;
use tenure_core::command::create::{Create, create};
use tenure_core::price::ModelFacts;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_core::session::{ContextPolicy, Definition, Labels, Lifetimes, Metadata, RetryPolicy};
use tenure_core::state::State;
use tenure_engine::{Clock, Config};
use tenure_store::sqlite::{SqliteOptions, SqliteStore};
use tenure_store::{Append, Store};
use tenure_testkit::TestEngine;
use tokio::task::JoinSet;

use crate::Row;

pub(crate) const SESSIONS: usize = 100_000;

pub(crate) async fn run() {
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    fill(dir.path(), SESSIONS).await;
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let engine = TestEngine::on_store(open(dir.path()), None, Config::default()).await;
        times.push(began.elapsed());
        drop(engine);
    }
    times.sort_unstable();
    let beside = "open, migrate check, default resources, deadlines; median of 5";
    let median = times[2].as_secs_f64();
    Row::new("restart with 100,000 sessions", format!("{median:.3}"), "s")
        .target("≤ 1", median <= 1.0)
        .beside(beside.to_owned())
        .print();
}

pub(crate) fn open(dir: &std::path::Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(SqliteOptions { dir: dir.to_owned(), master_key: None }).expect("the store opens"))
}

/// Puts so many idle sessions into a data directory.
pub(crate) async fn fill(dir: &std::path::Path, sessions: usize) {
    let store = open(dir);
    let engine = TestEngine::on_store(store.clone(), None, Config::default()).await;
    let agent = engine.engine.agents().by_slug(DEFAULT_TENANT, "assistant").await.expect("it is always there");
    let environment = engine.engine.environments().by_name(DEFAULT_TENANT, "default").await.expect("so is it");
    let definition = Arc::new(Definition {
        tenant: DEFAULT_TENANT,
        agent: Arc::new(agent.agent),
        environment: Environment {
            id: environment.id,
            limits: environment.limits,
            root: environment.root,
            packages: environment.packages,
        },
        lifetimes: Lifetimes { sandbox_idle: Some(Duration::from_secs(3600)), ..Lifetimes::default() },
        retry: RetryPolicy::default(),
        model_facts: ModelFacts::default(),
        context: ContextPolicy::default(),
    });
    let mut writes = JoinSet::new();
    for _ in 0..sessions {
        if writes.len() >= 256 {
            writes.join_next().await;
        }
        let (store, definition) = (store.clone(), definition.clone());
        writes.spawn(async move {
            let mut moment = Clock::System.moment();
            let session = tenure_core::id::SessionId::from_bits(moment.ids.bits());
            let command = Create {
                session,
                definition: definition.clone(),
                title: None,
                metadata: Metadata::new(),
                labels: Labels::new(),
                budget: None,
            };
            let first = create(command, moment);
            let summary = State::open(&first).expect("it creates the session").summary();
            let append = Append {
                session,
                expected_seq: 0,
                facts: vec![first],
                summary,
                definition: Some(definition),
                feed: Vec::new(),
                answer: None,
            };
            store.append(append).await.expect("the store takes it");
        });
    }
    while writes.join_next().await.is_some() {}
}
