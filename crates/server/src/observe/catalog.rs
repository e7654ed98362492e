//! Every metric, in one table: what `/metrics` says of it follows from here, and so does the page for operators.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How often it was how much.
    Histogram,
}

/// One metric.
#[derive(Debug)]
struct Metric {
    name: &'static str,
    kind: Kind,
    /// What it counts or measures, and by what labels.
    doc: &'static str,
}

const fn counter(name: &'static str, doc: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, doc }
}

const fn gauge(name: &'static str, doc: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, doc }
}

const fn histogram(name: &'static str, doc: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, doc }
}

#[rustfmt::skip]
const METRICS: &[Metric] = &[
    counter("tenure_http_requests_total", "requests answered, by method, route and status"),
    histogram("tenure_http_request_seconds", "until an answer begins, by method and route"),
    counter("tenure_idempotent_replays_total", "repeated requests that got their first answer"),
    gauge("tenure_connections", "connections that are open"),
    counter("tenure_connections_refused_total", "connections refused because there were too many"),
    gauge("tenure_event_streams", "event streams that are open"),
    gauge("tenure_exec_connections", "WebSockets on which somebody talks with a command in a sandbox"),
    counter("tenure_stream_cuts_total", "streams cut because their reader didn't read"),

    gauge("tenure_awake_sessions", "sessions in memory"),
    counter("tenure_sessions_created_total", "sessions made"),
    counter("tenure_requests_turned_away_total", "requests refused because a session had too many waiting"),

    counter("tenure_model_requests_total", "requests to models that were begun"),
    counter("tenure_model_failures_total", "those that failed, by kind"),
    counter("tenure_attempts_ended_total", "those that ended, by how; a lost one was under way when its server died, and is made anew"),
    counter("tenure_retries_total", "waits before a failed one is made anew"),
    counter("tenure_compactions_total", "conversations made shorter for their model, by how: by a summary, or by leaving out without one"),
    gauge("tenure_model_requests_running", "those under way"),
    gauge("tenure_model_requests_limit", "how many may be"),
    gauge("tenure_model_requests_waiting", "sessions that wait for a place among them"),
    gauge("tenure_model_requests_oldest_wait_seconds", "for how long the first of them has"),

    counter("tenure_tool_calls_total", "tool calls handed to a sandbox, by tool; again after a restart"),
    counter("tenure_calls_ended_total", "tool calls that ended, by how; the outcome of a lost one is unknown"),
    gauge("tenure_sandboxes", "sandboxes that are alive"),
    gauge("tenure_sandboxes_limit", "how many may be"),
    gauge("tenure_sandboxes_waiting", "sessions that wait for room for one"),
    gauge("tenure_sandboxes_oldest_wait_seconds", "for how long the first of them has"),

    counter("tenure_recovered_sessions_total", "sessions taken up after a start"),
    histogram("tenure_recovery_seconds", "until all were, at a start"),
    gauge("tenure_timers_overdue", "deadlines that have passed and are being seen to"),
    counter("tenure_purges_total", "deleted sessions whose files are gone too"),

    counter("tenure_facts_appended_total", "facts stored"),
    gauge("tenure_store_queue", "writes that wait"),
    histogram("tenure_store_batch_writes", "writes that are committed together"),
    histogram("tenure_store_commit_seconds", "how long a commit takes, the disk included"),
    gauge("tenure_store_wal_bytes", "the write-ahead log"),

    counter("tenure_log_lines_dropped_total", "lines of the log that nobody took"),
    counter("tenure_trace_exports_failed_total", "batches of spans that the collector didn't take"),
    gauge("tenure_uptime_seconds", "since the start"),
];

/// Tells the recorder what each is.
pub(super) fn describe() {
    for Metric { name, kind, doc } in METRICS {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *doc),
            Kind::Gauge => metrics::describe_gauge!(*name, *doc),
            Kind::Histogram => metrics::describe_histogram!(*name, *doc),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::METRICS;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    fn described() -> BTreeSet<String> {
        METRICS.iter().map(|metric| metric.name.to_owned()).collect()
    }

    /// The names in the source that are given to the macros.
    fn emitted(folder: &Path, into: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
            let path = entry.path();
            if path.is_dir() {
                emitted(&path, into);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let source = std::fs::read_to_string(&path).expect("it is text");
                for macro_name in ["counter!(", "gauge!(", "histogram!("] {
                    for call in source.split(&format!("metrics::{macro_name}")).skip(1) {
                        let call = call.trim_start().strip_prefix('"').unwrap_or_else(|| {
                            panic!("{}: a metric's name is to be written where it is used", path.display())
                        });
                        into.insert(call.split('"').next().expect("there is always one").to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_metric_in_the_code_is_described_and_every_one_described_is_in_the_code() {
        let mut found = BTreeSet::new();
        for member in std::fs::read_dir(repository().join("crates")).expect("it is there").flatten() {
            emitted(&member.path().join("src"), &mut found);
        }
        assert_eq!(found, described());
        assert_eq!(METRICS.len(), described().len(), "one is there twice");
    }

    #[test]
    fn the_page_for_operators_has_every_metric_with_its_words() {
        let page = std::fs::read_to_string(repository().join("docs/operations.md")).expect("it is there");
        for metric in METRICS {
            let row = format!("| `{}` | {} |", metric.name, metric.doc);
            assert!(page.lines().any(|line| line == row), "docs/operations.md lacks the row\n{row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `tenure_")).count();
        assert_eq!(rows, METRICS.len(), "docs/operations.md has rows of metrics that aren't there");
    }
}
