//! What a handler gets of a request, and how it answers.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tenure_core::id::{KeyId, TenantId};
use tenure_engine::KeyOrigin;

use super::body::{self, BodyLimit};
use super::idempotency::{self, Repeats};
use super::{Fields, Ignored, Query};
use crate::app::App;
use crate::problem::{Kind, Problem};

/// Who asks, as their key says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    pub(crate) key: KeyId,
}

/// A request whose key is good and whose body is there.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: TenantId,
    pub(crate) query: Query,
    /// Fields nobody knows; the handler adds to it and gives it to [`answer`].
    pub(crate) ignored: Ignored,
    pub(crate) headers: HeaderMap,
    /// The client's idempotency key.
    pub(crate) key: Option<String>,
    /// SHA-256 of method, path and body, if a key or an SDK asks for it.
    pub(crate) fingerprint: [u8; 32],
    /// How often the client's SDK has sent this request before, if it says so, and whose key it bears.
    pub(crate) sdk_attempt: Option<SdkAttempt>,
    body: Bytes,
}

impl FromRequest<App> for Asked {
    /// What the request got the first time, or what is wrong with it.
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let asked = Self::read(request).await.map_err(IntoResponse::into_response)?;
        idempotency::unanswered(&app.engine, asked).await
    }
}

impl Asked {
    async fn read(request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let caller = parts.extensions.get::<Caller>().copied();
        let Caller { tenant, key: caller } = caller.ok_or_else(Problem::internal)?;
        let limit = parts.extensions.get().copied().unwrap_or(BodyLimit::Ordinary);
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let post = parts.method == Method::POST;
        let refused = parts.extensions.get().copied().unwrap_or(Repeats::CarriedOutOnce);
        let key = if post { idempotency::key(&parts.headers, refused)? } else { None };
        let once = post && refused == Repeats::CarriedOutOnce;
        let sdk_attempt = if once && key.is_none() { SdkAttempt::of(&parts.headers, caller) } else { None };
        let body = body::read(body, limit).await?;
        let fingerprint = match key.is_some() || sdk_attempt.is_some() {
            false => [0; 32],
            true => {
                let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
                let start = format!("{} {target}\n", parts.method);
                Sha256::new().chain_update(start).chain_update(&body).finalize().into()
            }
        };
        Ok(Self { tenant, query, ignored: Ignored::new(), headers: parts.headers, key, fingerprint, sdk_attempt, body })
    }

    /// What tells the request from others with the same key, if it is to be carried out once.
    pub(super) fn repetition(&self) -> Option<Repetition> {
        match (&self.key, self.sdk_attempt) {
            (Some(key), _) => Some(Repetition { key: key.clone(), origin: KeyOrigin::Client, again: true }),
            (None, Some(attempt)) => {
                let bearer = attempt.caller.bits().to_be_bytes();
                let hash = Sha256::new().chain_update(self.fingerprint).chain_update(bearer).finalize();
                let again = attempt.before > 0;
                Some(Repetition { key: format!("sdk {hash:x}"), origin: KeyOrigin::Request, again })
            }
            (None, None) => None,
        }
    }
}

/// Under which key the answer to a request is kept.
#[derive(Debug)]
pub(super) struct Repetition {
    pub(super) key: String,
    pub(super) origin: KeyOrigin,
    /// Whether the request may have been carried out before.
    pub(super) again: bool,
}

/// What an official SDK says of a request's repetitions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SdkAttempt {
    /// How often it has sent the request before.
    pub(crate) before: u32,
    /// Whose key the request bears.
    pub(crate) caller: KeyId,
}

impl SdkAttempt {
    fn of(headers: &HeaderMap, caller: KeyId) -> Option<Self> {
        let before = headers.get("x-stainless-retry-count")?.to_str().ok()?.parse().ok()?;
        Some(Self { before, caller })
    }
}

impl Asked {
    /// The body, which has to be a JSON object.
    pub(crate) fn object(&mut self) -> Result<Fields<'_>, Problem> {
        let value = self.json()?;
        let value = value.ok_or_else(|| Problem::invalid("", "expected a JSON object, got an empty body"))?;
        Fields::of("", value, &mut self.ignored)
    }

    /// The body of a request that may come without one.
    pub(crate) fn optional_object(&mut self) -> Result<Fields<'_>, Problem> {
        let value = self.json()?.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Fields::of("", value, &mut self.ignored)
    }

    /// A header's value, if it is plain text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn json(&mut self) -> Result<Option<Value>, Problem> {
        if self.body.is_empty() {
            return Ok(None);
        }
        if let Some(kind) = self.headers.get(header::CONTENT_TYPE)
            && !is_json(kind)
        {
            let given: String = String::from_utf8_lossy(kind.as_bytes()).chars().take(60).collect();
            let message = format!("expected the header `content-type: application/json`, got `{given}`");
            return Err(Problem::new(Kind::UnsupportedMediaType, message));
        }
        let value = serde_json::from_slice(&self.body)
            .map_err(|error| Problem::invalid("", format!("expected JSON in UTF-8 as the body: {error}")))?;
        self.body = Bytes::new();
        Ok(Some(value))
    }
}

/// A 200 with a JSON body. Names what was ignored of the request.
pub(crate) fn answer(asked: Asked, json: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(json.into()));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Asked { ignored, query, .. } = asked;
    name_ignored(headers, ignored.into_iter().chain(query.ignored()));
    response
}

/// The same for a request whose body was taken as it came.
pub(crate) fn answer_to(query: Query, json: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(json.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    name_ignored(headers, query.ignored());
    response
}

pub(crate) fn name_ignored(headers: &mut HeaderMap, ignored: impl Iterator<Item = String>) {
    if let Some(value) = ignored_header(ignored) {
        headers.insert(HeaderName::from_static("x-tenure-ignored"), value);
    }
}

/// Names of fields and parameters, with what a header can't carry replaced.
fn ignored_header(names: impl Iterator<Item = String>) -> Option<HeaderValue> {
    let plain = |name: String| -> String {
        let plain = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
        name.chars().take(80).map(plain).collect()
    };
    let named: Vec<String> = names.take(20).map(plain).collect();
    if named.is_empty() { None } else { HeaderValue::from_str(&named.join(", ")).ok() }
}

fn is_json(kind: &HeaderValue) -> bool {
    let text = kind.to_str().unwrap_or("").to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or("").trim();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}
