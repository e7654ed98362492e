//! How long commands take, as a person waits for them: whole processes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::restart::{SESSIONS, fill};
use crate::server::{KEY, Server};
use crate::{quantile_ms, row};

const RUNS: usize = 40;

pub(crate) async fn run() {
    let binary = std::env::var("TENURE_BIN").expect("TENURE_BIN names the server's binary");
    let mut version = Command::new(&binary);
    version.arg("--version");
    let (p50, beside) = (median(&mut version), median(&mut Command::new("true")));
    row("tenure --version", &format!("{p50:.1}"), "ms", "≤ 5", &format!("`true`: {beside:.1} ms"));

    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    fill(dir.path(), SESSIONS).await;
    let server = Server::start(dir.path(), &[]).await;
    let mut list = Command::new(&binary);
    list.args(["sessions", "list"]).env("TENURE_URL", &server.url).env("TENURE_API_KEY", KEY);
    let p50 = median(&mut list);
    row(
        "tenure sessions list with 100,000 sessions",
        &format!("{p50:.1}"),
        "ms",
        "≤ 30",
        &format!("`true`: {beside:.1} ms"),
    );
}

fn median(command: &mut Command) -> f64 {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the command starts");
        times.push(began.elapsed());
        assert!(status.success(), "{command:?} failed");
    }
    quantile_ms(&mut times, 0.5)
}
