//! Turns in process, on SQLite, with a scripted model.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure_core::id::SessionId;
use tenure_core::resource::DEFAULT_TENANT;
use tenure_engine::{Config, ModelEntry, ModelTable};
use tenure_store::Store;
use tenure_store::sqlite::{SqliteOptions, SqliteStore};
use tenure_testkit::{TestEngine, message, script};

use crate::{Row, quantile_ms, resident_kib};

const CLIENTS: usize = 64;
const SPAN: Duration = Duration::from_secs(3);
const AWAKE: usize = 5_000;

/// The window of a model whose conversations are summed up.
const WINDOW: u64 = 12_000;

pub(crate) async fn run() {
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    let engine = Arc::new(start(dir.path()).await);
    engine.script("one", &script(&["{text: done}"]));
    turns(&engine).await;
    long_conversation(&engine, "script/one", "turn 2,000 of a conversation against turn 100").await;
    engine.script("narrow", &script(&["{text: done}"]));
    let narrow = "turn 2,000 against turn 100, summed up every few hundred turns";
    long_conversation(&engine, "script/narrow", narrow).await;
    awake(&engine).await;
}

async fn start(dir: &std::path::Path) -> TestEngine {
    let options = SqliteOptions { dir: dir.to_owned(), master_key: None };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options).expect("the store opens"));
    let models = ModelTable::default()
        .with("script/narrow", ModelEntry { context_window: Some(WINDOW), ..ModelEntry::default() });
    let config = Config { models, awake_linger: Duration::from_secs(60), ..Config::default() };
    TestEngine::on_store(store, None, config).await
}

/// Message, reply, idle: as many as go, from many sessions at once.
async fn turns(engine: &Arc<TestEngine>) {
    let agent = engine.agent("script/one").await;
    let mut sessions = Vec::new();
    for _ in 0..CLIENTS {
        sessions.push(engine.session_for(agent.clone(), None).await);
    }
    let began = Instant::now();
    let clients = sessions.into_iter().map(|session| {
        let engine = engine.clone();
        tokio::spawn(async move {
            let (mut turns, mut seq) = (0u64, 1);
            while began.elapsed() < SPAN {
                seq = turn(&engine, session, seq).await;
                turns += 1;
            }
            turns
        })
    });
    let mut total = 0;
    for client in clients.collect::<Vec<_>>() {
        total += client.await.expect("clients don't panic");
    }
    let rate = total as f64 / began.elapsed().as_secs_f64();
    Row::new("full turns, script model in process", format!("{rate:.0}"), "turns/s")
        .target("≥ 1,000", rate >= 1_000.0)
        .beside("64 sessions, SQLite, fsynced".to_owned())
        .print();
}

async fn turn(engine: &TestEngine, session: SessionId, after: u64) -> u64 {
    engine.say(session, "go").await;
    engine.until_idle(session, after).await.last().expect("a turn has facts").seq
}

/// A late turn of a conversation beside an early one.
async fn long_conversation(engine: &Arc<TestEngine>, model: &str, row: &'static str) {
    let session = engine.session(model).await;
    let mut seq = 1;
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for number in 0..2_050 {
        let began = Instant::now();
        seq = turn(engine, session, seq).await;
        match number {
            50..150 => early.push(began.elapsed()),
            1_950..2_050 => late.push(began.elapsed()),
            _ => {}
        }
    }
    let (early, late) = (quantile_ms(&mut early, 0.5), quantile_ms(&mut late, 0.5));
    let beside = format!("turn 100: {early:.2} ms, turn 2,000: {late:.2} ms (medians of 100)");
    Row::new(row, format!("{:.2}", late / early), "×").target("≤ 1.5", late / early <= 1.5).beside(beside).print();
}

/// What a session costs while its owner is awake. A first batch fills the database's page cache, which isn't theirs.
async fn awake(engine: &Arc<TestEngine>) {
    wake_batch(engine).await;
    let before = resident_kib(std::process::id());
    wake_batch(engine).await;
    let each = (resident_kib(std::process::id()) - before) as f64 / AWAKE as f64;
    let beside = format!("{AWAKE} more sessions with one turn each; {} awake", engine.engine.stats().awake);
    Row::new("memory of an awake session", format!("{each:.1}"), "KiB")
        .target("≤ 10", each <= 10.0)
        .beside(beside)
        .print();
}

async fn wake_batch(engine: &Arc<TestEngine>) {
    let agent = engine.agent("script/one").await;
    for _ in 0..AWAKE {
        let session = engine.session_for(agent.clone(), None).await;
        let said = engine.engine.sessions().send(DEFAULT_TENANT, session, vec![message("go")], None).await;
        said.expect("the session takes messages");
        engine.until_idle(session, 1).await;
    }
}
