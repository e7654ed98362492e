//! Appends per second into SQLite, beside a raw file that commits in groups: prints one JSON object per line.
//!
//! `cargo run --release -p tenure-store --example store_bench [folder [producers]]`

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tenure_core::fact::Fact;
use tenure_store::sqlite::{SqliteOptions, SqliteStore};
use tenure_store::{SessionQuery, Store};
use tokio::sync::{mpsc, oneshot};

#[path = "../tests/it/fixture.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod fixture;

use fixture::{Log, TENANT};

const SPAN: Duration = Duration::from_secs(2);
const FACT_BYTES: usize = 512;

#[tokio::main]
async fn main() {
    let base = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let only: Option<usize> = std::env::args().nth(2).and_then(|producers| producers.parse().ok());
    for producers in [1, 64, 512].into_iter().filter(|producers| only.is_none_or(|only| only == *producers)) {
        let dir = tempfile::tempdir_in(&base).unwrap();
        floor(dir.path(), producers).await;
        for facts in [1, 4] {
            let dir = tempfile::tempdir_in(&base).unwrap();
            appends(dir.path(), producers, facts).await;
        }
    }
    if only.is_none() {
        let dir = tempfile::tempdir_in(&base).unwrap();
        reads(dir.path()).await;
    }
}

fn open(dir: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(SqliteOptions { dir: dir.to_owned(), master_key: None }).unwrap())
}

/// A file of facts of the same size, synced once for all that wait: what the disk allows.
async fn floor(dir: &Path, producers: usize) {
    let mut file = File::create_new(dir.join("log")).unwrap();
    let (queue, mut waiting) = mpsc::channel::<oneshot::Sender<()>>(4096);
    let writer = std::thread::spawn(move || {
        while let Some(first) = waiting.blocking_recv() {
            let mut batch = vec![first];
            while batch.len() < 512
                && let Ok(next) = waiting.try_recv()
            {
                batch.push(next);
            }
            file.write_all(&vec![b'x'; batch.len() * FACT_BYTES]).unwrap();
            file.sync_data().unwrap();
            for reply in batch {
                let _ = reply.send(());
            }
        }
    });
    let measured = run(producers, || {
        let queue = queue.clone();
        move || {
            let queue = queue.clone();
            async move {
                let (reply, answer) = oneshot::channel();
                queue.send(reply).await.unwrap();
                answer.await.unwrap();
                1
            }
        }
    });
    print("floor", producers, 1, measured.await);
    drop(queue);
    writer.join().unwrap();
}

async fn appends(dir: &Path, producers: usize, facts: usize) {
    let store = open(dir);
    let text = "x".repeat(FACT_BYTES - 110);
    let mut logs = Vec::new();
    for session in 0..producers as u128 {
        let mut log = Log::new(session.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        store.append(log.create()).await.unwrap();
        logs.push(log);
    }
    let mut logs = logs.into_iter();
    let measured = run(producers, move || {
        let (store, mut log, text) = (Arc::clone(&store), logs.next().unwrap(), text.clone());
        move || {
            let messages: Vec<Fact> = (0..facts).map(|_| log.message(&text)).collect();
            let append = log.append(messages);
            let store = Arc::clone(&store);
            async move {
                store.append(append).await.unwrap();
                facts
            }
        }
    });
    print("sqlite", producers, facts, measured.await);
}

/// Reads of a store with 100,000 sessions.
async fn reads(dir: &Path) {
    let store = open(dir);
    let creations = (0..64u128).map(|lane| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for session in (lane..100_000).step_by(64) {
                let id = session.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
                let mut log = Log::created_at(id, 1_000 + session as i64);
                log.row.unsettled = session % 10_000 == 0;
                store.append(log.create()).await.unwrap();
            }
        })
    });
    let begun = Instant::now();
    futures_util::future::join_all(creations).await;
    println(json!({ "what": "create 100,000 sessions", "seconds": begun.elapsed().as_secs_f64() }));

    let session = Log::new(0).id();
    for (what, limit) in [("list newest 20", 20), ("list newest 100", 100)] {
        time(what, || async { store.sessions(SessionQuery::newest(TENANT, limit)).await.unwrap().rows.len() }).await;
    }
    let working =
        || SessionQuery { phases: Some(vec![tenure_core::phase::Phase::Working]), ..SessionQuery::newest(TENANT, 20) };
    time("list by a phase nobody is in", || async { store.sessions(working()).await.unwrap().rows.len() }).await;
    time("one row", || async { usize::from(store.session(None, session).await.unwrap().is_some()) }).await;
    time("read facts", || async { store.read_facts(session, 0, 100).await.unwrap().len() }).await;
    time("unsettled", || async { store.unsettled(None, 1000).await.unwrap().len() }).await;
    time("next due", || async { usize::from(store.next_due().await.unwrap().is_some()) }).await;
    drop(store);
    let begun = Instant::now();
    let _store = open(dir);
    println(json!({ "what": "open with 100,000 sessions", "ms": begun.elapsed().as_secs_f64() * 1e3 }));
}

async fn time<F: Future<Output = usize>>(what: &str, mut read: impl FnMut() -> F) {
    let mut latencies = Vec::new();
    let mut rows = 0;
    for _ in 0..300 {
        let begun = Instant::now();
        rows = read().await;
        latencies.push(begun.elapsed());
    }
    latencies.sort_unstable();
    println(json!({ "what": what, "rows": rows, "p50_us": micros(&latencies, 50), "p99_us": micros(&latencies, 99) }));
}

struct Measured {
    facts: usize,
    seconds: f64,
    cpu_seconds: f64,
    latencies: Vec<Duration>,
}

/// Runs producers side by side for a while; each of their rounds says how many facts it stored.
async fn run<P, F>(producers: usize, mut make: impl FnMut() -> P) -> Measured
where
    P: FnMut() -> F + Send + 'static,
    F: Future<Output = usize> + Send,
{
    let stop = Arc::new(AtomicBool::new(false));
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> = (0..producers)
        .map(|_| {
            let (mut produce, stop) = (make(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut facts, mut latencies) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    facts += produce().await;
                    latencies.push(begun.elapsed());
                }
                (facts, latencies)
            })
        })
        .collect();
    tokio::time::sleep(SPAN).await;
    stop.store(true, Ordering::Relaxed);
    let (mut facts, mut latencies) = (0, Vec::new());
    for task in tasks {
        let (stored, mut own) = task.await.unwrap();
        facts += stored;
        latencies.append(&mut own);
    }
    latencies.sort_unstable();
    Measured { facts, seconds: begun.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu, latencies }
}

fn print(what: &str, producers: usize, facts_per_append: usize, measured: Measured) {
    let Measured { facts, seconds, cpu_seconds, latencies } = measured;
    println(json!({
        "what": what,
        "producers": producers,
        "facts_per_append": facts_per_append,
        "facts_per_second": (facts as f64 / seconds).round(),
        "appends_per_second": (latencies.len() as f64 / seconds).round(),
        "p50_us": micros(&latencies, 50),
        "p99_us": micros(&latencies, 99),
        // Of the whole process, producers included: tells more than the rate on a machine that is shared.
        "cpu_us_per_append": (cpu_seconds * 1e6 / latencies.len() as f64 * 10.0).round() / 10.0,
    }));
}

/// What this process has used of all processors, from `/proc/self/stat`, whose ticks are hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    let ticks: f64 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

fn micros(sorted: &[Duration], percent: usize) -> u128 {
    sorted.get(sorted.len() * percent / 100).map_or(0, Duration::as_micros)
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn println(line: serde_json::Value) {
    println!("{line}");
}
