//! What the providers over HTTP share: one request, its failures, and the frames of its answer.

mod failure;
mod frames;

use std::error::Error as _;
use std::time::Duration;

use futures_util::StreamExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url, redirect};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure_core::model::{Failure, FailureKind};

pub(crate) use failure::{ErrorBody, excerpt, failure};
pub(crate) use frames::{Frames, events};

use crate::models::Settings;
use crate::secret::Secret;
use crate::tls::tls_config;

/// The most of an answer that is kept when it is read whole: error bodies, lists of models, unstreamed replies.
const MAX_BODY_BYTES: usize = 16 << 20;

/// One model server. Cheap to clone; the clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    client: Client,
    base: Url,
    key: Option<Secret>,
    headers: HeaderMap,
    stall: Duration,
}

impl Server {
    /// A client for the server at `base`, whose key goes into `auth` with `scheme` before it.
    pub(crate) fn new(
        base: Url,
        key: Option<&Secret>,
        (auth, scheme): (HeaderName, &str),
        settings: &Settings,
    ) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("{scheme}{}", key.expose())).map_err(|_| {
                failure(FailureKind::Authentication, "the key has characters that no HTTP header can carry")
            })?;
            value.set_sensitive(true);
            headers.insert(auth, value);
        }
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls_config())
            .connect_timeout(settings.connect_timeout)
            .tcp_nodelay(true)
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the key and the conversation to a server nobody named.
            .redirect(redirect::Policy::none());
        if is_loopback(&base) {
            // An HTTP proxy from the environment can't reach this machine's own Ollama.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            failure(FailureKind::Unavailable, format!("cannot set up an HTTP client: {}", causes(&error)))
        })?;
        Ok(Self { client, base, key: key.cloned(), headers, stall: settings.stall })
    }

    /// The same server with one more header on every request.
    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// The host, for what holds of one provider's own servers alone.
    pub(crate) fn host(&self) -> &str {
        self.base.host_str().unwrap_or_default()
    }

    /// Posts `body` and gives the frames of the answer.
    pub(crate) async fn stream(
        &self,
        path: &str,
        extra: &[(&'static str, &'static str)],
        body: &impl Serialize,
    ) -> Result<Frames, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| {
            failure(FailureKind::Rejected, format!("the request can't be written as JSON: {error}"))
        })?;
        let mut request = self.client.post(self.at(path)).headers(self.headers.clone()).body(body);
        request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, "text/event-stream");
        for (name, value) in extra {
            request = request.header(*name, *value);
        }
        let response = self.succeed(request.send()).await?;
        let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            // Some servers stream only when they feel like it.
            "application/json" => Ok(Frames::whole(self.body(response).await?, self.clone())),
            "text/html" => {
                let body = self.body(response).await?;
                Err(self.failure(
                    FailureKind::Unavailable,
                    format!("expected an event stream, got a web page: {}", excerpt(&body)),
                ))
            }
            _ => Ok(Frames::streamed(response, self.clone())),
        }
    }

    /// Gets a JSON document.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request = self.client.get(self.at(path)).headers(self.headers.clone());
        let response = self.succeed(request.send()).await?;
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("expected a list of models as JSON, got {error}: {}", excerpt(&body));
            self.failure(FailureKind::Unavailable, message)
        })
    }

    /// A failure that names the server and never the key, which some servers repeat.
    pub(crate) fn failure(&self, kind: FailureKind, what: impl AsRef<str>) -> Failure {
        let origin = self.base.origin().ascii_serialization();
        let what = self.key.as_ref().map_or_else(|| what.as_ref().to_owned(), |key| key.redact(what.as_ref()));
        failure(kind, format!("{origin}: {what}"))
    }

    /// The failure an error object means, in a stream or as a whole answer.
    pub(crate) fn refused(&self, body: &ErrorBody, status: Option<u16>, retry_after: Option<Duration>) -> Failure {
        let status_words = status.map(|status| format!(" (HTTP {status})")).unwrap_or_default();
        let failure = self.failure(body.kind(status), format!("{}{status_words}", body.message));
        Failure { retry_after, ..failure }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    /// Waits for an answer's head, no longer than the stall allows, and turns a status of no success into a failure.
    async fn succeed(&self, sent: impl Future<Output = reqwest::Result<Response>>) -> Result<Response, Failure> {
        let response = match tokio::time::timeout(self.stall, sent).await {
            Err(_) => return Err(self.hung()),
            Ok(Err(error)) => {
                let what = if error.is_connect() { "cannot connect" } else { "the request failed" };
                return Err(self.failure(FailureKind::Unavailable, format!("{what}: {}", causes(&error.without_url()))));
            }
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = failure::retry_after(response.headers(), jiff::Timestamp::now());
        // A body that breaks off must not hide the status, which says more.
        let body = self.body(response).await.unwrap_or_default();
        Err(self.refused(&ErrorBody::read(&body, status), Some(status.as_u16()), retry_after))
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, Failure> {
        let mut chunks = response.bytes_stream();
        let mut body = Vec::new();
        while let Some(chunk) = tokio::time::timeout(self.stall, chunks.next()).await.map_err(|_| self.hung())? {
            let chunk = chunk.map_err(|error| self.broke_off(error))?;
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(self.failure(FailureKind::Unavailable, "the answer is larger than 16 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn hung(&self) -> Failure {
        self.failure(FailureKind::Unavailable, format!("hung: nothing came for {:?}", self.stall))
    }

    fn broke_off(&self, error: reqwest::Error) -> Failure {
        self.failure(FailureKind::Unavailable, format!("the connection broke off: {}", causes(&error.without_url())))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why a request failed: the causes, without the layers that only say that it did.
fn causes(error: &reqwest::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        texts.push(cause.to_string());
        source = cause.source();
    }
    let says_little =
        ["error sending request", "client error (", "error decoding response body", "request or response body"];
    let last = texts.len() - 1;
    let mut at = 0;
    texts.retain(|text| {
        at += 1;
        at > last || !says_little.iter().any(|little| text.starts_with(little))
    });
    texts.join(": ")
}
