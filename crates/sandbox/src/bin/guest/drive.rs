//! A server that does nothing of its own: it carries out what it is told, a line each, and says what came of it. For tests that
//! kill it.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_sandbox::{Backend, CallEnd, Error, Native, NativeConfig, Order, Spec, Work};

#[derive(Deserialize)]
struct Told {
    number: u64,
    session: SessionId,
    what: What,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Shell { call: ItemId, command: String },
    Exec { call: ItemId, command: String },
    Stop,
    Snapshot { snapshot: SnapshotId },
    Fork { snapshot: SnapshotId, to: SessionId },
    Rewind { snapshot: SnapshotId },
    Keep { snapshots: Vec<SnapshotId> },
    Destroy,
    Tidy { known: Vec<SessionId> },
}

#[derive(Serialize)]
struct Answer {
    number: u64,
    /// What it came to, or that it failed.
    outcome: Result<String, String>,
}

/// Serves until its standard input ends.
pub(crate) fn drive(dir: &Path, most_layers: usize) {
    let mut config = NativeConfig::new(dir);
    config.most_layers = most_layers;
    config.linger = Duration::from_secs(60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (told, mut hear) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let _ = told.send(serde_json::from_str::<Told>(&line).expect("an order"));
        }
    });
    runtime.block_on(async move {
        let backend = Arc::new(Native::new(config));
        let mut working = tokio::task::JoinSet::new();
        while let Some(Told { number, session, what }) = hear.recv().await {
            let backend = Arc::clone(&backend);
            working.spawn(async move {
                let outcome = carry_out(&backend, session, what).await.map_err(|error| format!("{error:?}"));
                let mut line = serde_json::to_vec(&Answer { number, outcome }).expect("plain data");
                line.push(b'\n');
                std::io::stdout().write_all(&line).expect("it is read");
            });
        }
    });
}

async fn carry_out(backend: &Native, session: SessionId, what: What) -> Result<String, Error> {
    let done = |()| String::new();
    match what {
        What::Shell { call, command } => run(backend, session, call, Work::Shell { command, restart: false }).await,
        What::Exec { call, command } => {
            let argv = ["bash", "-c", &command].map(str::to_owned).to_vec();
            let work = Work::Exec { argv, env: Vec::new(), cwd: "/workspace".to_owned(), stdin: Vec::new() };
            run(backend, session, call, work).await
        }
        What::Stop => {
            let sandbox = backend.open(Spec::new(session)).await?.sandbox;
            sandbox.stop(Duration::ZERO).await.map(done)
        }
        What::Snapshot { snapshot } => {
            backend.snapshot(session, snapshot, None).await.map(|taken| format!("{taken:?}"))
        }
        What::Fork { snapshot, to } => backend.fork(session, snapshot, &[], to).await.map(done),
        What::Rewind { snapshot } => backend.rewind(session, Some(snapshot)).await.map(done),
        What::Keep { snapshots } => backend.keep_snapshots(session, &snapshots).await.map(done),
        What::Destroy => backend.destroy(session).await.map(done),
        What::Tidy { known } => {
            backend.leftovers(&known).await.map(|left| left.iter().map(|left| format!("{left}\n")).collect())
        }
    }
}

async fn run(backend: &Native, session: SessionId, call: ItemId, work: Work) -> Result<String, Error> {
    let sandbox = backend.open(Spec::new(session)).await?.sandbox;
    let order = Order { asked_at: Some(SystemTime::now()), ..Order::new(call, work) };
    Ok(match sandbox.run(order, None).await? {
        CallEnd::Exited(exit) => String::from_utf8_lossy(&exit.stdout).into_owned(),
        CallEnd::Interrupted { .. } => "interrupted".to_owned(),
    })
}
