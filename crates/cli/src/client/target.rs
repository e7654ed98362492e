//! Which server a command talks to.

use anyhow::{Context as _, Result};
use reqwest::Url;

use crate::cli::Shared;
use crate::failure::advised;
use crate::local::{DataDir, Served, ServerFile, find_or_start};
use crate::terminal::say;

/// A server and a key for it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) key: String,
    /// The data directory, if it is this machine's own server.
    pub(crate) local: Option<DataDir>,
}

impl Target {
    /// The server of `TENURE_URL`; without it this machine's own, which is started if need be.
    pub(crate) fn find(shared: &Shared) -> Result<Self> {
        match variable("TENURE_URL") {
            Some(url) => Self::named(&url, shared),
            None => Self::local(DataDir::at(shared.data_dir.as_deref())?),
        }
    }

    fn named(url: &str, shared: &Shared) -> Result<Self> {
        let wrong = || advised(format!("TENURE_URL is `{url}`"), "expected an address such as https://tenure.example");
        let url = Url::parse(url).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        let key = match variable("TENURE_API_KEY") {
            Some(key) => key,
            // This machine's own key goes to no other machine.
            None if is_loopback(&url) => DataDir::at(shared.data_dir.as_deref())?.root_key()?.unwrap_or_default(),
            None => String::new(),
        };
        if key.is_empty() {
            return Err(advised("TENURE_URL names a server, but there is no key for it", "set TENURE_API_KEY"));
        }
        Ok(Self { url, key, local: None })
    }

    fn local(dir: DataDir) -> Result<Self> {
        let server = find_or_start(&dir)?;
        if server.version != env!("CARGO_PKG_VERSION") {
            say::warning(&format!(
                "the running server is version {}, this is {}; `tenure down` and the next command starts this one",
                server.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        Self::of(dir, &server)
    }

    /// The server that serves this directory.
    pub(crate) fn of(dir: DataDir, server: &ServerFile) -> Result<Self> {
        let url = Url::parse(&server.url).with_context(|| format!("no address in {}", dir.server_file().display()))?;
        let key = match variable("TENURE_API_KEY") {
            Some(key) => key,
            None => dir.root_key()?.with_context(|| format!("no key in {}", dir.root_key_file().display()))?,
        };
        Ok(Self { url, key, local: Some(dir) })
    }

    /// The same server after it was lost. This machine's own may be back elsewhere, and is started again if it crashed;
    /// one that was stopped on purpose stays so.
    pub(crate) fn again(&self) -> Result<Option<Self>> {
        let Some(dir) = &self.local else { return Ok(Some(self.clone())) };
        let server = match dir.served()? {
            Served::Ready(server) => server,
            Served::Nobody { crashed: true } => find_or_start(dir)?,
            Served::Nobody { crashed: false } | Served::Changing { .. } => return Ok(None),
        };
        Self::of(dir.clone(), &server).map(Some)
    }
}

/// Whether an address leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}
