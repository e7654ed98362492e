//! One test, in its own process.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::binaries::Binary;

/// A test that takes longer hangs.
const HANGS_AFTER: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a test prints that can't run here. In CI it fails.
const SKIPPED: &str = "SKIPPED";

/// A test that has run.
pub(crate) struct Ran {
    pub(crate) name: String,
    pub(crate) took: Duration,
    pub(crate) verdict: Verdict,
    pub(crate) output: String,
}

pub(crate) enum Verdict {
    Passed,
    Failed { how: String },
    Hung,
    Skipped { why: String, allowed: bool },
}

impl Verdict {
    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Passed => false,
            Self::Failed { .. } | Self::Hung => true,
            Self::Skipped { allowed, .. } => !allowed,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "passed"),
            Self::Failed { how } => write!(f, "failed ({how})"),
            Self::Hung => write!(f, "hung for {} s and was ended", HANGS_AFTER.as_secs()),
            Self::Skipped { why, allowed: true } => write!(f, "{why}"),
            Self::Skipped { why, allowed: false } => write!(f, "must not be skipped in CI: {why}"),
        }
    }
}

pub(super) fn run(binary: &Binary, name: &str, log: &Path) -> Ran {
    let begun = Instant::now();
    let mut command = binary.command();
    command.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    let (verdict, output) = match watch(command, log) {
        Ok(ended) => ended,
        Err(error) => (Verdict::Failed { how: "not run".to_owned() }, error.to_string()),
    };
    Ran { name: format!("{} {name}", binary.label), took: begun.elapsed(), verdict, output }
}

/// Into a file, not a pipe: a process that outlives its test would keep a pipe open.
fn watch(mut command: Command, log: &Path) -> std::io::Result<(Verdict, String)> {
    let file = File::create(log)?;
    let mut child = command.stdout(file.try_clone()?).stderr(file).spawn()?;
    let status = wait(&mut child)?;
    let output = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let skipped = output.lines().find(|line| line.starts_with(SKIPPED));
    let verdict = match (status, skipped) {
        (None, _) => Verdict::Hung,
        (Some(status), _) if !status.success() => Verdict::Failed { how: status.to_string() },
        (Some(_), None) => Verdict::Passed,
        (Some(_), Some(line)) => {
            let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
            Verdict::Skipped { why: line.to_owned(), allowed: !in_ci }
        }
    };
    Ok((verdict, output))
}

/// How it ended; nothing if it had to be ended.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > HANGS_AFTER {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}
