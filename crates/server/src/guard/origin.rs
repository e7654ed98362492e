//! Who may reach the server by which name: what protects a server on loopback from pages of other sites.
//!
//! A page can make a browser send requests anywhere, and can rebind its own name to any address. So the `Host` has to be
//! a loopback name, an IP address (a rebinding attack needs a name) or one the operator named, and an `Origin`, which
//! browsers alone send, has to be the server's own or one the operator named. There are no CORS headers.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::app::App;
use crate::config::ServerConfig;
use crate::problem::{Kind, Problem};

pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    match allowed(&app.config, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn allowed(config: &ServerConfig, headers: &HeaderMap, uri: &Uri) -> Result<(), Problem> {
    let host = match (headers.get(header::HOST), uri.authority()) {
        (_, Some(authority)) => authority.as_str(),
        (Some(host), None) => host.to_str().unwrap_or(""),
        (None, None) => "",
    };
    let name = host_name(host);
    if !is_own_name(config, name) {
        let shown: String = host.chars().take(80).collect();
        return Err(Problem::new(
            Kind::Forbidden,
            format!(
                "expected a `Host` that this server is known by, got `{shown}`; its operator can add it to `hosts`"
            ),
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or("");
    let own = origin
        .split_once("://")
        .is_some_and(|(scheme, from)| matches!(scheme, "http" | "https") && from.eq_ignore_ascii_case(host));
    if own || config.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
        return Ok(());
    }
    let shown: String = origin.chars().take(80).collect();
    Err(Problem::new(
        Kind::Forbidden,
        format!("pages of `{shown}` may not call this server; its operator can add them to `origins`"),
    ))
}

/// The host without its port, and an IPv6 address without its brackets.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_own_name(config: &ServerConfig, name: &str) -> bool {
    let loopback = name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok();
    loopback || config.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, Uri, header};

    use super::allowed;
    use crate::config::ServerConfig;

    fn check(host: &'static str, origin: Option<&'static str>) -> bool {
        let config = ServerConfig {
            hosts: vec!["tenure.example".to_owned()],
            origins: vec!["https://console.example".to_owned()],
            ..ServerConfig::default()
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        origin.map(|origin| headers.insert(header::ORIGIN, HeaderValue::from_static(origin)));
        allowed(&config, &headers, &Uri::from_static("/v1/agents")).is_ok()
    }

    #[test]
    fn only_known_names_are_hosts() {
        for host in ["localhost", "localhost:7717", "127.0.0.1:1", "[::1]:7717", "TENURE.example:443", "10.1.2.3"] {
            assert!(check(host, None), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:7717", "[evil]", "127.0.0.1.nip.io"] {
            assert!(!check(host, None), "{host}");
        }
    }

    #[test]
    fn only_own_and_named_pages_may_call() {
        for origin in ["http://localhost:7717", "https://console.example"] {
            assert!(check("localhost:7717", Some(origin)), "{origin}");
        }
        for origin in ["null", "http://localhost:3000", "https://evil.example", "file://localhost:7717"] {
            assert!(!check("localhost:7717", Some(origin)), "{origin}");
        }
    }
}
