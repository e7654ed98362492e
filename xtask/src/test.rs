//! `cargo xtask test`: every test in a process of its own, timed, with an end to those that hang.
//!
//! libtest doesn't say how long a test took, and a fresh machine has no other runner.

mod binaries;
mod one;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::repo::Repo;
use binaries::Binary;
use one::{Ran, Verdict};

/// How many of the slowest are named.
const SLOWEST: usize = 10;

pub(crate) fn run(repo: &Repo, filter: Option<&str>) -> Result<()> {
    let binaries = binaries::build(repo)?;
    let mut waiting = VecDeque::new();
    let mut ignored = 0;
    for binary in &binaries {
        let tests = binary.tests()?;
        ignored += tests.ignored;
        let wanted = tests.names.into_iter().filter(|name| filter.is_none_or(|filter| name.contains(filter)));
        waiting.extend(wanted.map(|name| (binary, name)));
    }
    let begun = Instant::now();
    let logs = repo.root().join("target/tests");
    std::fs::create_dir_all(&logs).context("making a folder for what tests print")?;
    let mut ran = all(waiting, &logs);
    ran.sort_by_key(|ran| Reverse(ran.took));
    for failed in ran.iter().filter(|ran| ran.verdict.is_failure()) {
        println!("\n--- {} {}\n{}", failed.name, failed.verdict, failed.output);
    }
    report(&ran, ignored, begun.elapsed());
    let failed = ran.iter().filter(|ran| ran.verdict.is_failure()).count();
    if failed > 0 {
        bail!("{failed} failed");
    }
    Ok(())
}

/// Runs them, as many at once as there are processors.
fn all(waiting: VecDeque<(&Binary, String)>, logs: &Path) -> Vec<Ran> {
    let waiting = Mutex::new(waiting);
    let done = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let take = || waiting.lock().ok()?.pop_front();
    thread::scope(|scope| {
        for worker in 0..workers {
            let log = logs.join(format!("{worker}.log"));
            let (take, done) = (&take, &done);
            scope.spawn(move || {
                while let Some((binary, name)) = take() {
                    let ran = one::run(binary, &name, &log);
                    if let Ok(mut done) = done.lock() {
                        done.push(ran);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default()
}

fn report(ran: &[Ran], ignored: usize, took: Duration) {
    println!("\nthe ten slowest tests:");
    for slow in ran.iter().take(SLOWEST) {
        println!("  {:>7.2} s  {}", slow.took.as_secs_f64(), slow.name);
    }
    let count = |wanted: fn(&Verdict) -> bool| ran.iter().filter(|ran| wanted(&ran.verdict)).count();
    for skipped in ran.iter().filter(|ran| matches!(ran.verdict, Verdict::Skipped { .. })) {
        println!("skipped: {} ({})", skipped.name, skipped.verdict);
    }
    println!(
        "\n{} passed, {} failed, {} skipped, {ignored} ignored in {:.0} s",
        count(|verdict| matches!(verdict, Verdict::Passed)),
        count(Verdict::is_failure),
        count(|verdict| matches!(verdict, Verdict::Skipped { .. })),
        took.as_secs_f64()
    );
}
