//! Times the engine and the whole server: one JSON object per line, `{row, measured, unit, target, met, beside}`.
//!
//! `cargo run --release -p tenure-testkit --example bench -- engine|restart|http|fanout|commands`; the last three need
//! `TENURE_BIN`, the path of the server's binary.

mod commands;
mod engine;
mod fanout;
mod http;
mod listeners;
mod restart;
mod server;

use std::time::Duration;

/// One thing measured.
struct Row {
    name: String,
    measured: String,
    unit: &'static str,
    target: Option<(&'static str, bool)>,
    beside: String,
}

impl Row {
    fn new(name: &str, measured: String, unit: &'static str) -> Self {
        Self { name: name.to_owned(), measured, unit, target: None, beside: String::new() }
    }

    /// What it should be, and whether it is.
    fn target(self, target: &'static str, met: bool) -> Self {
        Self { target: Some((target, met)), ..self }
    }

    /// What it is to be seen beside.
    fn beside(self, beside: String) -> Self {
        Self { beside, ..self }
    }

    #[expect(clippy::print_stdout, reason = "what it measures is its output")]
    fn print(self) {
        let Self { name, measured, unit, target, beside } = self;
        let (target, met) = target.unzip();
        let line = serde_json::json!({"row": name, "measured": measured, "unit": unit, "target": target.unwrap_or(""),
            "met": met, "beside": beside});
        println!("{line}");
    }
}

/// The value below which this share of the times lies, in milliseconds.
fn quantile_ms(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// Resident memory of a process in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

fn main() {
    tenure_models::install_tls();
    let which = std::env::args().nth(1).unwrap_or_default();
    if which == "floor" {
        return fanout::write_to_all();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be made");
    runtime.block_on(async {
        match which.as_str() {
            "engine" => engine::run().await,
            "restart" => restart::run().await,
            "http" => http::run().await,
            "fanout" => fanout::run().await,
            "commands" => commands::run().await,
            other => panic!("expected engine, restart, http, fanout or commands, got `{other}`"),
        }
    });
}
