//! Telling where the server is: to clients by `server.json`, to people and to who started it on standard output.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::local::{DataDir, ServerFile};
use crate::terminal::out;

pub(super) fn ready(
    dir: &DataDir,
    address: SocketAddr,
    shutdown_grace: Duration,
    background: bool,
    json: bool,
) -> Result<()> {
    let server = ServerFile {
        pid: std::process::id(),
        url: format!("http://{}", reachable(address)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        shutdown_grace_ms: Some(u64::try_from(shutdown_grace.as_millis()).unwrap_or(u64::MAX)),
    };
    let line = serde_json::to_string(&server).context("can't say where the server is")?;
    dir.write_whole("server.json", line.as_bytes())?;
    tracing::info!(url = server.url, data_dir = %dir.path().display(), "ready");
    if background {
        out::notice(&format!("{line}\n"));
        // Who started it hears no more.
        let null = File::options().write(true).open("/dev/null").context("can't open /dev/null")?;
        rustix::stdio::dup2_stdout(&null).context("can't let go of standard output")?;
    } else if json {
        out::notice(&format!("{line}\n"));
    } else {
        let key = dir.root_key_file();
        out::notice(&format!(
            "Tenure {} serves {}\nThe root key is in {}\n",
            server.version,
            server.url,
            key.display()
        ));
    }
    Ok(())
}

/// An address that this machine's clients can connect to: the unspecified one means all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip(),
    };
    SocketAddr::new(ip, address.port())
}
