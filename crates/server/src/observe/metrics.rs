//! Metrics in Prometheus's text format. There is one recorder in a process, so servers of one process share it.

use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method, header};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::catalog;
use crate::app::App;
use crate::openapi::{Operation, Schemas};

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// The bounds of request times, in seconds: from what is promised to what is unbearable.
const SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The process's recorder.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// The recorder, installed by whoever comes first. When something else is installed already, its counts go there and
    /// ours stay empty.
    pub(crate) fn install() -> Self {
        let handle = RECORDER.get_or_init(|| {
            let builder = PrometheusBuilder::new();
            let seconds = Matcher::Suffix("_seconds".to_owned());
            let builder = builder.set_buckets_for_metric(seconds, SECONDS).unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!("another metrics recorder is installed; /metrics stays empty");
            }
            catalog::describe();
            handle
        });
        Self { handle: handle.clone() }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let route = route.to_owned();
        metrics::counter!("tenure_http_requests_total", "method" => method, "route" => route.clone(),
            "status" => status.to_string())
        .increment(1);
        metrics::histogram!("tenure_http_request_seconds", "method" => method, "route" => route)
            .record(took.as_secs_f64());
    }

    fn print(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// All metrics, the engine's gauges as they are now.
pub(crate) async fn scrape(State(app): State<App>) -> ([(HeaderName, HeaderValue); 1], String) {
    crate::extensions::tenure::gauges(&app);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.metrics.print())
}

pub(crate) fn describe_scrape(_: &mut Schemas) -> Operation {
    Operation::text("get_metrics", "text/plain")
}
