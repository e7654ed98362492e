//! As many sandboxes at once as are wanted, each at work.

use std::time::{Duration, Instant};

use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{Backend, Native, NativeConfig, Order, Spec};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::{Row, Times, exec, program, run};

/// A program's argument that no other on the host has.
const NAPPING: &str = "86399.5";
/// How long all of them may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn many(wanted: u128) {
    let dir = tempfile::tempdir().expect("a directory");
    let backend = Native::new(NativeConfig { pool: 0, ..NativeConfig::new(dir.path().join("many")) });
    let mut alive = Vec::new();
    let (began, mut creates, mut stopped_by) = (Instant::now(), Times::default(), String::new());
    for n in 1..=wanted {
        let one = Instant::now();
        match Backend::open(&backend, Spec::new(SessionId::from_bits(n))).await {
            Ok(opened) => alive.push(opened.sandbox),
            Err(error) => {
                stopped_by = format!("; then: {error}");
                break;
            }
        }
        creates.add(one);
    }
    let opened = began.elapsed().as_secs_f64();
    let mut execs = Times::default();
    for sandbox in &alive {
        let one = Instant::now();
        run(sandbox, 1, program()).await;
        execs.add(one);
    }
    let (say, mut said) = mpsc::channel(alive.len().max(1));
    let (began, mut running) = (Instant::now(), JoinSet::new());
    for sandbox in &alive {
        let (sandbox, say) = (sandbox.clone(), say.clone());
        let order = Order::new(ItemId::from_bits(2), exec(&["sh", "-c", &format!("echo; exec sleep {NAPPING}")]));
        running.spawn(async move { sandbox.run(order, Some(say)).await.is_ok() });
    }
    for _ in &alive {
        said.recv().await.expect("each prints a line");
    }
    // A line is printed a moment before the program becomes the one that is looked for.
    while napping() < alive.len() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (at_work, count) = (began.elapsed().as_secs_f64(), napping());
    running.abort_all();
    let held = alive.len();
    drop(alive);
    let began = Instant::now();
    backend.shutdown().await.expect("shut down");
    let ended = began.elapsed().as_secs_f64();
    let beside = format!(
        "{held} made in {opened:.1} s ({} ms each, p50 / p95), a program run in each, one after another ({} ms), then one started in \
         all at once ({at_work:.1} s until all ran); all ended in {ended:.1} s{stopped_by}",
        creates.shown(),
        execs.shown()
    );
    Row {
        row: "sandbox: alive at once, a program running in each",
        measured: count.to_string(),
        unit: "sandboxes",
        target: "≥ 1,000",
        met: (wanted >= 1_000).then_some(count >= 1_000),
        beside,
    }
    .print();
}

/// How many of the programs run now.
fn napping() -> usize {
    let is_one = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == format!("sleep\0{NAPPING}\0").as_bytes())
    };
    std::fs::read_dir("/proc").expect("/proc").flatten().filter(is_one).count()
}
