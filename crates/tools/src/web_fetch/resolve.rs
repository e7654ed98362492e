//! From a host's name to addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_core::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How names become addresses.
pub trait Lookup: Send + Sync + std::fmt::Debug {
    /// All addresses of this name.
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The machine's own way.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The addresses of a host. Names that mean this machine mean that wherever they are looked up (RFC 6761).
pub(super) async fn addresses(lookup: &dyn Lookup, host: &str) -> io::Result<Vec<IpAddr>> {
    let plain = host.trim_end_matches('.').to_ascii_lowercase();
    if plain == "localhost" || plain.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    lookup.lookup(host.to_owned()).await
}

/// Gives the client addresses that have been checked, whatever name it asks for: nothing is looked up a second time, when
/// the answer might be another.
#[derive(Debug)]
pub(super) struct Checked(pub(super) Arc<[SocketAddr]>);

impl Resolve for Checked {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Vec<SocketAddr> = self.0.iter().copied().collect();
        let addresses: Addrs = Box::new(addresses.into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}
