//! How long sandboxes take and what they weigh, beside other programs that make them: one JSON line for each row.
//!
//! Each round does every case once, so that all meet the same noise. `cargo run --release --example sandbox_bench [rounds
//! [alive]]`

mod files;
mod floor;
mod lives;
mod many;
mod others;
mod pauses;
mod weight;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tenure_core::id::{ItemId, SessionId};
use tenure_sandbox::{Backend, CallEnd, Native, Order, Sandbox, Spec, Work};

fn main() {
    tenure_sandbox::dispatch(&[pauses::CLOCK]);
    let number =
        |at: usize, default: u32| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, alive) = (number(1, 40).max(1), number(2, 1_000).max(1));
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = rustix::process::Rlimit { current: files.maximum, ..files };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, most).expect("it may be raised this far");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        lives::lives(rounds).await;
        files::snapshots(rounds.min(5)).await;
        pauses::pauses(rounds.min(5)).await;
        weight::weigh().await;
        many::many(u128::from(alive)).await;
    });
}

/// A line of what is printed.
struct Row<'r> {
    row: &'r str,
    measured: String,
    unit: &'r str,
    target: &'r str,
    /// Whether the target is met, if there is one.
    met: Option<bool>,
    beside: String,
}

impl Row<'_> {
    #[expect(clippy::print_stdout, reason = "the lines are this program's output")]
    fn print(self) {
        let Self { row, measured, unit, target, met, beside } = self;
        let line =
            json!({"row": row, "measured": measured, "unit": unit, "target": target, "met": met, "beside": beside});
        println!("{line}");
    }
}

/// The times of one case.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn add(&mut self, began: Instant) {
        self.0.push(began.elapsed());
    }

    /// The time that such a share of all don't exceed, in milliseconds.
    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
        sorted.get(place).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }

    fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The median, and the time that 19 of 20 don't reach.
    fn shown(&self) -> String {
        format!("{:.2} / {:.2}", self.median(), self.at(0.95))
    }
}

/// What [`Times::shown`] shows.
const MILLISECONDS: &str = "ms p50 / p95";

async fn open(backend: &Native, session: SessionId) -> Arc<dyn Sandbox> {
    Backend::open(backend, Spec::new(session)).await.expect("a sandbox").sandbox
}

fn program() -> Work {
    exec(&["/bin/true"])
}

fn exec(argv: &[&str]) -> Work {
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    Work::Exec { argv, env: Vec::new(), cwd: "/".to_owned(), stdin: Vec::new() }
}

async fn run(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) {
    let end = sandbox.run(Order::new(ItemId::from_bits(n), work), None).await.expect("a result");
    assert!(matches!(end, CallEnd::Exited(exit) if exit.code == Some(0)));
}
