//! How long commands take, as a person waits for them: whole processes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::restart::{SESSIONS, fill};
use crate::server::{KEY, Server};
use crate::{Row, quantile_ms, resident_kib};

const RUNS: usize = 40;

pub(crate) async fn run() {
    let binary = std::env::var("TENURE_BIN").expect("TENURE_BIN names the server's binary");
    let mut version = Command::new(&binary);
    version.arg("--version");
    let (p50, beside) = (median(&mut version), median(&mut Command::new("true")));
    let beside = format!("`true`: {beside:.1} ms");
    Row::new("tenure --version", format!("{p50:.1}"), "ms").target("≤ 5", p50 <= 5.0).beside(beside.clone()).print();

    let empty = tempfile::tempdir_in(".").expect("the folder can be written");
    let without = resident_kib(Server::start(empty.path(), &[]).await.pid());
    let dir = tempfile::tempdir_in(".").expect("the folder can be written");
    fill(dir.path(), SESSIONS).await;
    let began = Instant::now();
    let server = Server::start(dir.path(), &[]).await;
    let ready = began.elapsed().as_secs_f64();
    Row::new("server process with 100,000 sessions, start to ready", format!("{ready:.3}"), "s")
        .target("≤ 1", ready <= 1.0)
        .beside("from its start until it says where it listens".to_owned())
        .print();
    let with = resident_kib(server.pid());
    let each = with.saturating_sub(without) as f64 / SESSIONS as f64;
    Row::new("memory of each of 100,000 sessions asleep", format!("{each:.3}"), "KiB")
        .target("none", each < 0.05)
        .beside(format!("{with} KiB with them, {without} KiB without; the difference is the database's page cache"))
        .print();
    let mut list = Command::new(&binary);
    list.args(["sessions", "list"]).env("TENURE_URL", &server.url).env("TENURE_API_KEY", KEY);
    let p50 = median(&mut list);
    Row::new("tenure sessions list with 100,000 sessions", format!("{p50:.1}"), "ms")
        .target("≤ 30", p50 <= 30.0)
        .beside(beside)
        .print();
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
