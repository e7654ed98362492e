//! Fetching: each address is checked before it is connected to, that of every redirect too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use tenure_core::agent::WebFetchSettings;
use url::Host;

use super::address::objection;
use super::domains::is_under;
use super::page::{Kind, guessed, kind, unpacked};
use super::resolve::{Checked, addresses};
use super::tool::WebFetchConfig;

/// The most redirects that are followed.
const MOST_REDIRECTS: usize = 5;

/// The longest address that is fetched.
const LONGEST_URL: usize = 2_048;

/// What was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    /// From where, after all redirects.
    pub(super) url: Url,
    pub(super) kind: Kind,
    /// As the server says it.
    pub(super) media_type: String,
    pub(super) body: Vec<u8>,
    /// Whether that is all of it.
    pub(super) whole: bool,
}

/// Why nothing is fetched: one of the peer's codes, and words for the model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn not_allowed(reason: impl Into<String>) -> Self {
        Self { code: "url_not_allowed", reason: reason.into() }
    }

    pub(super) fn input(reason: impl Into<String>) -> Self {
        Self { code: "invalid_tool_input", reason: reason.into() }
    }

    pub(super) fn unsupported(what: &str) -> Self {
        let reason = format!("{what} can't be read here; HTML, text, JSON and PDF can");
        Self { code: "unsupported_content_type", reason }
    }

    pub(super) fn too_large(what: &str) -> Self {
        Self { code: "content_too_large", reason: format!("{what} is larger than is fetched") }
    }

    fn not_accessible(reason: impl Into<String>) -> Self {
        Self { code: "url_not_accessible", reason: reason.into() }
    }
}

/// Reads an address as a model gives it.
pub(super) fn parse(given: &str) -> Result<Url, Refusal> {
    let given = given.trim();
    if given.len() > LONGEST_URL {
        let reason = format!("at most {LONGEST_URL} characters, got {}", given.chars().count());
        return Err(Refusal { code: "url_too_long", reason });
    }
    let mut url = Url::parse(given).map_err(|error| {
        Refusal::input(format!("expected a whole address such as https://example.com/page: {error}"))
    })?;
    url.set_fragment(None);
    Ok(url)
}

/// Fetches this address, and follows where it redirects to.
pub(super) async fn fetch(config: &WebFetchConfig, url: Url, settings: &WebFetchSettings) -> Result<Fetched, Refusal> {
    let mut url = url;
    for _ in 0..=MOST_REDIRECTS {
        let addresses = check(config, &url, settings).await?;
        let response = get(config, &url, addresses).await?;
        match redirected(&response, &url)? {
            Some(next) => url = next,
            None => return read(config, url, response).await,
        }
    }
    Err(Refusal::not_accessible(format!("it redirects more than {MOST_REDIRECTS} times")))
}

/// The addresses to connect to, all of which may be.
async fn check(config: &WebFetchConfig, url: &Url, settings: &WebFetchSettings) -> Result<Arc<[SocketAddr]>, Refusal> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Refusal::not_allowed(format!("only http and https are fetched, not `{}`", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::not_allowed(
            "the address holds a user name or password; nothing is sent on anybody's behalf",
        ));
    }
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Err(Refusal::not_allowed("the address names no host"));
    };
    listed(&host.to_string(), settings)?;
    let found: Vec<IpAddr> = match host {
        Host::Ipv4(ip) => vec![ip.into()],
        Host::Ipv6(ip) => vec![ip.into()],
        Host::Domain(name) => addresses(&*config.lookup, name)
            .await
            .map_err(|_| Refusal::not_accessible(format!("no host named `{name}` is found")))?,
    };
    // If one of them is not to be reached, somebody means it to be.
    if let Some(why) = found.iter().find_map(|ip| objection(*ip, port, &config.opened)) {
        return Err(Refusal::not_allowed(format!("`{host}` (port {port}) is {why}; only the public web is fetched")));
    }
    if found.is_empty() {
        return Err(Refusal::not_accessible(format!("`{host}` has no address")));
    }
    Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Whether the agent may fetch from this host.
fn listed(host: &str, settings: &WebFetchSettings) -> Result<(), Refusal> {
    let under = |domains: &Vec<String>| domains.iter().any(|domain| is_under(host, domain));
    let refused = settings.blocked_domains.as_ref().is_some_and(under)
        || settings.allowed_domains.as_ref().is_some_and(|domains| !under(domains));
    match refused {
        true => Err(Refusal::not_allowed(format!("this agent may not fetch from `{host}`"))),
        false => Ok(()),
    }
}

async fn get(config: &WebFetchConfig, url: &Url, addresses: Arc<[SocketAddr]>) -> Result<Response, Refusal> {
    let client = Client::builder()
        .tls_backend_preconfigured(config.tls.clone())
        .dns_resolver(Checked(addresses))
        // A proxy would connect to what nobody has checked.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .pool_max_idle_per_host(0)
        .connect_timeout(config.limits.connect)
        .user_agent(concat!("Tenure/", env!("CARGO_PKG_VERSION"), " (web_fetch; reads a page for an AI agent)"))
        .build()
        .map_err(|error| Refusal::not_accessible(format!("no client can be made: {error}")))?;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (ACCEPT, "text/html,application/xhtml+xml,application/json,application/pdf,text/*;q=0.9,*/*;q=0.5"),
        (ACCEPT_ENCODING, "gzip"),
        (HeaderName::from_static("accept-language"), "en,*;q=0.5"),
    ] {
        headers.insert(name, reqwest::header::HeaderValue::from_static(value));
    }
    client.get(url.clone()).headers(headers).send().await.map_err(|error| Refusal::not_accessible(told(&error)))
}

/// What a failed connection is, in words for the model.
fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    match () {
        () if error.is_timeout() => "the server doesn't answer in time".to_owned(),
        () if error.is_connect() => format!("the server can't be connected to: {cause}"),
        () => format!("the server's answer can't be read: {cause}"),
    }
}

/// Where a redirect leads; an error for what is neither a page nor that.
fn redirected(response: &Response, from: &Url) -> Result<Option<Url>, Refusal> {
    let status = response.status();
    match status {
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            let location =
                response.headers().get(LOCATION).and_then(|location| std::str::from_utf8(location.as_bytes()).ok());
            let location = location.ok_or_else(|| Refusal::not_accessible("it redirects and doesn't say where to"))?;
            let mut next = from.join(location).map_err(|_| Refusal::not_accessible("it redirects to no address"))?;
            if next.as_str().len() > LONGEST_URL {
                return Err(Refusal::not_accessible("it redirects to an address that is too long"));
            }
            next.set_fragment(None);
            Ok(Some(next))
        }
        StatusCode::TOO_MANY_REQUESTS => {
            let reason = "the page's server has had too many requests (HTTP 429); try again later".to_owned();
            Err(Refusal { code: "too_many_requests", reason })
        }
        status if status.is_success() => Ok(None),
        status => Err(Refusal::not_accessible(format!("the page's server answered with HTTP {}", status.as_u16()))),
    }
}

/// Reads what came, as much as is wanted.
async fn read(config: &WebFetchConfig, url: Url, mut response: Response) -> Result<Fetched, Refusal> {
    let header =
        |name| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let media_type = header(CONTENT_TYPE);
    let told_kind = match &media_type {
        Some(media_type) => {
            let essence = media_type.split(';').next().unwrap_or_default();
            let shown: String = essence.chars().take(60).collect();
            Some(kind(media_type).ok_or_else(|| Refusal::unsupported(&format!("`{shown}`")))?)
        }
        None => None,
    };
    let packed = match header(CONTENT_ENCODING).as_deref().map(str::trim) {
        None | Some("" | "identity") => false,
        Some("gzip" | "x-gzip") => true,
        Some(_) => return Err(Refusal::unsupported("a compression that wasn't asked for")),
    };
    let most = config.limits.body_bytes;
    let (mut body, mut whole) = (Vec::new(), true);
    while let Some(chunk) = response.chunk().await.map_err(|error| Refusal::not_accessible(told(&error)))? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            whole = false;
            break;
        }
    }
    // What is unpacked is bounded like what is read, however well it was packed.
    if packed && !body.is_empty() {
        let unpacked =
            unpacked(&body, most).map_err(|_| Refusal::unsupported("a body that is compressed and broken"))?;
        (body, whole) = (unpacked.0, unpacked.1 && whole);
    }
    let kind = match told_kind {
        Some(kind) => kind,
        None => guessed(&body).ok_or_else(|| Refusal::unsupported("contents of an unknown kind"))?,
    };
    Ok(Fetched { url, kind, media_type: media_type.unwrap_or_default(), body, whole })
}
