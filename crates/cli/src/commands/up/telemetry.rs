//! Traces for an operator's collector, over OTLP; off unless somebody says where that is.
//!
//! What is traced are spans of one target. They bear ids, names of tools and models, and counts, never what people or
//! models say. Without a collector nobody asks for that target, and its spans are not even made.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::failure::advised;

/// The target of everything that is traced.
const TARGET: &str = "tenure::trace";

/// How long a collector may take to take in a batch. Meanwhile spans wait, and beyond 2,048 of them are dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last spans may take when the server ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often at most it is logged that a collector doesn't take anything.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What sends traces, as long as it is held.
#[derive(Debug)]
pub(super) struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Sends to the collector at this address, `/v1/traces` below it. Nothing is sent before there is something to send.
    pub(super) fn to(endpoint: &str, runtime: &tokio::runtime::Handle) -> Result<Self> {
        let address = traces_address(endpoint)?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(crate::client::tls_config(address.starts_with("https:")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .context("can't make a client for the collector of traces")?;
        let collector = Collector { client, runtime: runtime.clone(), complained: Mutex::new(None) };
        let exporter = SpanExporter::builder().with_http().with_http_client(collector).with_endpoint(address);
        let exporter = exporter.with_protocol(Protocol::HttpBinary).with_timeout(PATIENCE).build();
        let exporter = exporter.context("can't send traces")?;
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name("tenure").with_attribute(version).build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// What takes in spans.
    pub(super) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: tracing::Subscriber + for<'s> LookupSpan<'s> + Send + Sync,
    {
        let traced = filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET);
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("tenure"));
        layer.with_location(false).with_threads(false).with_tracked_inactivity(false).with_filter(traced).boxed()
    }

    /// Makes what a client sent as `traceparent` (W3C Trace Context) the parent of a request's span.
    pub(super) fn adopt(span: &tracing::Span, traceparent: &str) {
        let headers = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        // One that can't be read is as good as none.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
    }

    /// Sends what is left, if the collector takes it.
    pub(super) fn end(self) {
        let _ = self.0.shutdown_with_timeout(FAREWELL);
    }
}

/// OTLP over HTTP has a path for each kind of telemetry below the endpoint that is set for all.
fn traces_address(endpoint: &str) -> Result<String> {
    let url =
        reqwest::Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        return Err(advised(
            "--otlp-endpoint: expected the URL of a collector that takes OTLP over HTTP",
            "for one on this machine: http://127.0.0.1:4318",
        ));
    };
    let base = url.as_str().trim_end_matches('/');
    Ok(if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") })
}

/// The way to the collector. What it is asked from is a thread without a runtime, so requests run on the server's.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
    complained: Mutex<Option<Instant>>,
}

impl HttpClient for Collector {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move {
            let (parts, body) = request.into_parts();
            let request = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
            let answer = request.send().await.and_then(reqwest::Response::error_for_status);
            // An address may hold a key.
            let answer = answer.map_err(reqwest::Error::without_url)?;
            let status = answer.status();
            let mut response = Response::new(answer.bytes().await.map_err(reqwest::Error::without_url)?);
            *response.status_mut() = status;
            Ok::<_, HttpError>(response)
        });
        Box::pin(async move {
            let answer = sent.await.map_err(HttpError::from).flatten();
            if let Err(error) = &answer {
                metrics::counter!("tenure_trace_exports_failed_total").increment(1);
                self.complain(error);
            }
            answer
        })
    }
}

impl Collector {
    fn complain(&self, error: &HttpError) {
        let mut complained = self.complained.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
            *complained = Some(Instant::now());
            tracing::warn!(
                error = &**error as &dyn std::error::Error,
                "traces are not delivered; the server goes on without"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::traces_address;

    #[test]
    fn traces_have_their_path() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/otlp/", "https://collector.example/otlp/v1/traces"),
            ("http://127.0.0.1:4318/v1/traces", "http://127.0.0.1:4318/v1/traces"),
        ] {
            assert_eq!(traces_address(endpoint).expect("it is one"), expected);
        }
        for wrong in ["", "127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://"] {
            assert!(traces_address(wrong).is_err(), "{wrong}");
        }
    }
}
