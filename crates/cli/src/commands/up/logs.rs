//! The log, on standard error, and traces beside it.

use std::io::IsTerminal as _;

use anyhow::{Result, anyhow};
use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use super::log_stream::LogStream;
use super::telemetry::Telemetry;
use crate::settings::{LogFormat, Settings};

pub(super) fn begin(settings: &Settings, telemetry: Option<&Telemetry>) -> Result<()> {
    let filter = EnvFilter::builder().parse(&settings.log);
    let filter = filter.map_err(|error| {
        anyhow!("log: expected a level or a list such as warn,tenure_engine=debug, got `{}` ({error})", settings.log)
    })?;
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt::layer::<Registry>().with_writer(|| LogStream);
    let log = match settings.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal() && !forbidden).with_filter(filter).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let log = log.with_filter(filter_fn(may_be_logged)).boxed();
    let layers: Vec<_> = std::iter::once(log).chain(telemetry.map(Telemetry::layer)).collect();
    tracing_subscriber::registry().with(layers).try_init().map_err(|error| anyhow!("can't log: {error}"))
}

/// Whatever level is asked for, libraries tell only what is worth knowing: below that some print what passes through them,
/// and that is people's words and keys.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tenure") || *metadata.level() <= Level::INFO
}
