//! The log, on standard error.

use std::io::IsTerminal as _;

use anyhow::{Result, anyhow};
use tracing_subscriber::EnvFilter;

use super::log_stream::LogStream;
use crate::settings::{LogFormat, Settings};

pub(super) fn begin(settings: &Settings) -> Result<()> {
    let filter = EnvFilter::builder().parse(&settings.log);
    let filter = filter.map_err(|error| {
        anyhow!("log: expected a level or a list such as warn,tenure_engine=debug, got `{}` ({error})", settings.log)
    })?;
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogStream);
    let begun = match settings.log_format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal() && !forbidden).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| anyhow!("can't log: {error}"))
}
