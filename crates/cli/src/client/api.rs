//! Requests and answers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use super::error::ApiError;
use super::target::{Target, is_loopback};
use super::tls;

/// How often a request is made again when the server can't be reached or has too much to do.
const RETRIES: u32 = 3;

/// The first wait before that; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of one server.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    target: Target,
}

impl Client {
    pub(crate) fn new(target: Target) -> Result<Self> {
        let http = Self::builder(&target).build().context("can't set up an HTTP client")?;
        Ok(Self { http, target })
    }

    /// The same, for connections that become others, which only HTTP/1.1 has.
    pub(super) fn http1(&self) -> Result<Self> {
        let http = Self::builder(&self.target).http1_only().build().context("can't set up an HTTP client")?;
        Ok(Self { http, target: self.target.clone() })
    }

    fn builder(target: &Target) -> reqwest::ClientBuilder {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::client_config(target.url.scheme() == "https"))
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the key to a server nobody named.
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&target.url) { http.no_proxy() } else { http }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The value at a path.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.value(Method::GET, path, query, None, true).await
    }

    /// Sends a value, once however often it has to be tried.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.value(Method::POST, path, &[], Some(body), true).await
    }

    /// Sends a value whose answer the server doesn't keep, so it isn't tried again.
    pub(crate) async fn post_once(&self, path: &str, body: &Value) -> Result<Value> {
        self.value(Method::POST, path, &[], Some(body), false).await
    }

    /// Sends a value whose answer takes as long as it takes.
    pub(crate) async fn post_patiently(&self, path: &str, body: &Value) -> Result<Value> {
        Ok(self.answer(self.request(Method::POST, path, &[]).json(body)).await?)
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.delete_with(path, &[]).await
    }

    pub(crate) async fn delete_with(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        self.value(Method::DELETE, path, query, None, true).await
    }

    /// The rows of a list, page after page, until `wanted` have come that `keep` likes.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        wanted: usize,
        keep: impl Fn(&Value) -> bool,
    ) -> Result<Vec<Value>> {
        let (mut rows, mut page): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let mut query = query.to_vec();
            query.extend(page.as_deref().map(|page| ("page", page)));
            let answer = self.get(path, &query).await?;
            let data = answer["data"].as_array().cloned().unwrap_or_default();
            rows.extend(data.into_iter().filter(&keep).take(wanted - rows.len()));
            page = answer["next_page"].as_str().map(str::to_owned);
            if page.is_none() || rows.len() >= wanted {
                return Ok(rows);
            }
        }
    }

    async fn value(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
        again: bool,
    ) -> Result<Value> {
        let key = (again && method == Method::POST).then(idempotency_key).transpose()?;
        let (mut tried, mut wait) = (0, FIRST_WAIT);
        loop {
            let mut request = self.request(method.clone(), path, query).timeout(PATIENCE);
            if let Some(body) = body {
                request = request.json(body);
            }
            if let Some(key) = &key {
                request = request.header("idempotency-key", key);
            }
            match self.answer(request).await {
                Ok(value) => return Ok(value),
                Err(error) if again && tried < RETRIES && error.is_passing() => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(wait).await;
            (tried, wait) = (tried + 1, wait * 2);
        }
    }

    pub(super) async fn answer(&self, request: RequestBuilder) -> Result<Value, ApiError> {
        let response = self.send(request).await?;
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        serde_json::from_slice(&body).map_err(|error| ApiError::Odd(format!("no JSON ({error})")))
    }

    /// The answer to a request that was not refused, before its body has come.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ApiError> {
        let response = request.send().await.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let request = response.headers().get("request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = response.bytes().await.map_err(|source| self.unreachable(source))?;
        Err(ApiError::of_answer(status.as_u16(), request, &body))
    }

    pub(super) fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.target.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.http.request(method, url).bearer_auth(&self.target.key)
    }

    pub(super) fn unreachable(&self, source: reqwest::Error) -> ApiError {
        // The error names the address again, and a query in it is noise.
        ApiError::Unreachable { url: self.target.url.to_string(), source: source.without_url() }
    }
}

fn idempotency_key() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}
