//! `tenure doctor`: whether this machine can do what Tenure promises, tried for real.

mod disk;
mod leftovers;

use anyhow::Result;
use serde_json::{Value, json};
use tenure_sandbox::{Backend as _, Check, Native, NativeConfig, Outcome, Report};

use super::block_on;
use crate::cli::Shared;
use crate::failure::Exit;
use crate::local::DataDir;
use crate::terminal::{out, plain, say};

/// Test whether sandboxes isolate on this machine, and look for what is left of old ones
///
/// It makes sandboxes and tries to break out of them. Exit code 1 says that isolation can't be had, or that something is
/// left over.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let dir = DataDir::at(shared.data_dir.as_deref())?;
        dir.create()?;
        let (mut checks, left) = block_on(async {
            let mut checks = vec![disk::check(&dir)];
            checks.extend(probe(&dir).await.checks);
            Ok((checks, leftovers::find(&dir).await))
        })?;
        checks.push(leftovers::check(left));
        let report = Report { checks };
        let isolates = report.isolates();
        match shared.json {
            true => out::json(&as_json(&report, isolates, &dir)),
            false => print(&report, isolates),
        }
        Ok(if isolates { Exit::Success } else { Exit::Failure })
    }
}

/// Tests isolation in a directory of its own beside the server's, on the same file system, and leaves nothing.
async fn probe(dir: &DataDir) -> Report {
    let place = dir.path().join(format!("doctor-{}", std::process::id()));
    let backend = Native::new(NativeConfig::new(&place));
    let mut report = backend.probe().await;
    let ended = backend.shutdown().await;
    let left = match (ended, backend.leftovers(&[]).await) {
        (Ok(()), Ok(left)) => left.iter().map(ToString::to_string).collect(),
        (Err(error), _) | (_, Err(error)) => vec![error.to_string()],
    };
    report.checks.push(match left.is_empty() {
        true => Check {
            name: "the test's own sandboxes leave nothing behind".to_owned(),
            outcome: Outcome::Pass,
            cause: String::new(),
            fix: String::new(),
        },
        false => Check {
            name: "the test's own sandboxes leave nothing behind".to_owned(),
            outcome: Outcome::Fail,
            cause: left.join("; "),
            fix: "please report this: a sandbox should go without a trace".to_owned(),
        },
    });
    let _ = std::fs::remove_dir_all(&place);
    report
}

fn print(report: &Report, isolates: bool) {
    for Check { name, outcome, cause, fix } in &report.checks {
        let mark = match outcome {
            Outcome::Pass => "✓",
            Outcome::Fail => "✗",
            Outcome::Absent => "–",
        };
        let cause = if cause.is_empty() { String::new() } else { format!(": {cause}") };
        out::line(&plain(&format!("{mark} {name}{cause}")));
        if !fix.is_empty() && *outcome != Outcome::Pass {
            out::line(&plain(&format!("    fix: {fix}")));
        }
    }
    match isolates {
        true => say::success("Sandboxes isolate on this machine."),
        false => say::failure("Not all is well: see above."),
    }
}

fn as_json(report: &Report, isolates: bool, dir: &DataDir) -> Value {
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|Check { name, outcome, cause, fix }| {
            let outcome = match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "fail",
                Outcome::Absent => "absent",
            };
            json!({"name": name, "outcome": outcome, "cause": cause, "fix": fix})
        })
        .collect();
    json!({"ok": isolates, "data_dir": dir.path(), "checks": checks})
}
