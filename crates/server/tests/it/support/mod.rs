//! A server in process, and what is needed to talk to it.

mod described;
mod frames;
mod normal;
mod order;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenure_core::price::{TokenPrices, Usd};
use tenure_engine::{Config, ListPrice, ModelEntry, ModelTable};
use tenure_server::{ServerConfig, router};
use tenure_testkit::TestEngine;
use tower::ServiceExt as _;

pub(crate) use described::{Exchange, LARGE, allows, check_frame};
pub(crate) use frames::{Frame, Frames, parse};
pub(crate) use normal::normal;
pub(crate) use order::Order;

/// The key of every test server.
pub(crate) const KEY: &str = "tnr_test";

/// A server on an engine whose models are scripts.
pub(crate) struct TestServer {
    pub(crate) engine: TestEngine,
    router: Router,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The message of a problem of this status.
    pub(crate) fn problem(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        let body = self.json();
        assert_eq!(body["type"], "error");
        assert_eq!(body["request_id"].as_str(), self.header("request-id"));
        body["error"]["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(None, ServerConfig::default()).await
    }

    pub(crate) async fn with(anthropic: Option<&str>, config: ServerConfig) -> Self {
        Self::of(TestEngine::with_config(anthropic, engine_config()).await, config)
    }

    /// One whose operator has switched the server's own tools off.
    pub(crate) async fn without_hosted_tools(anthropic: Option<&str>) -> Self {
        Self::of(TestEngine::without_hosted_tools(anthropic, engine_config()).await, ServerConfig::default())
    }

    /// One whose operator chose these.
    pub(crate) async fn of_engine(config: Config) -> Self {
        Self::of(TestEngine::with_config(None, config).await, ServerConfig::default())
    }

    /// One whose store is on disk.
    pub(crate) async fn on_disk() -> Self {
        Self::of(TestEngine::on_disk(None, engine_config()).await, ServerConfig::default())
    }

    /// One whose data come from a backup.
    pub(crate) async fn of_generation(generation: u64) -> Self {
        Self::of(TestEngine::of_generation(generation, engine_config()).await, ServerConfig::default())
    }

    fn of(engine: TestEngine, config: ServerConfig) -> Self {
        let router = router(engine.engine.clone(), config);
        Self { engine, router }
    }

    /// The server dies with everything it was doing, and another one starts on what it stored.
    pub(crate) async fn crash_and_restart(&mut self) {
        self.engine.crash_and_restart().await;
        self.router = router(self.engine.engine.clone(), ServerConfig::default());
    }

    /// Sends a request as it is; `Host` and key are added if it has none. The exchange is checked against the description
    /// in OpenAPI.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> axum::response::Response {
        let headers = request.headers_mut();
        headers.entry(header::HOST).or_insert("127.0.0.1:7717".parse().unwrap());
        if !headers.contains_key(header::AUTHORIZATION) {
            headers.entry("x-api-key").or_insert(KEY.parse().unwrap());
        }
        let (parts, body) = request.into_parts();
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        // What comes in pieces is for the server to gather.
        let (json, body) = match body.size_hint().exact() {
            None => (None, body),
            Some(_) => {
                let bytes = body.collect().await.unwrap().to_bytes();
                let json = if bytes.len() < LARGE { serde_json::from_slice(&bytes).ok() } else { None };
                (json, Body::from(bytes))
            }
        };
        let mut response = self.router.clone().oneshot(Request::from_parts(parts, body)).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let exchange = Exchange { method, uri, body: json, status, headers };
        exchange.check();
        response.extensions_mut().insert(exchange);
        response
    }

    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.send(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if body.len() < LARGE {
            parts.extensions.get::<Exchange>().unwrap().check_body(&body);
        }
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.answer(request(Method::GET, path, None, &[])).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.answer(request(Method::POST, path, Some(body), &[])).await
    }

    pub(crate) async fn post_with(&self, path: &str, body: Value, headers: &[(&'static str, &str)]) -> Answer {
        self.answer(request(Method::POST, path, Some(body), headers)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.answer(request(Method::DELETE, path, None, &[])).await
    }

    /// Opens a stream; its answer has begun when this returns.
    pub(crate) async fn stream(&self, path: &str, headers: &[(&'static str, &str)]) -> Frames {
        let response = self.send(request(Method::GET, path, None, headers)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream; charset=utf-8");
        // What begins with the session is checked as a whole.
        let from_the_beginning = headers.is_empty() && (path.contains("?after=0&") || path.ends_with("?after=0"));
        Frames::new(response.into_body(), from_the_beginning)
    }

    /// An agent that plays a script of these steps for every message.
    pub(crate) async fn agent(&self, name: &str, steps: &[&str]) -> String {
        self.engine.script(name, &tenure_testkit::script(steps));
        self.agent_with(json!({"name": name, "model": format!("script/{name}"),
            "tools": [{"type": "agent_toolset_20260401"}]}))
            .await
    }

    pub(crate) async fn agent_with(&self, body: Value) -> String {
        id(&self.post("/v1/agents", body).await.ok())
    }

    /// A session with an agent.
    pub(crate) async fn session(&self, agent: &str) -> String {
        id(&self.post("/v1/sessions", json!({"agent": agent, "environment_id": "default"})).await.ok())
    }

    /// A session with an agent that may cost so many cents.
    pub(crate) async fn session_within(&self, agent: &str, cents: &str) -> String {
        let body = json!({"agent": agent, "environment_id": "default", "budget": budget(cents)});
        id(&self.post("/v1/sessions", body).await.ok())
    }

    /// Says a text to a session; gives the event's id.
    pub(crate) async fn say(&self, session: &str, text: &str) -> String {
        let sent = self.post(&format!("/v1/sessions/{session}/events"), json!({"events": [message(text)]})).await.ok();
        id(&sent["data"][0])
    }

    /// Waits until the session has told this type of event after this cursor; gives all it told until then.
    pub(crate) async fn until(&self, session: &str, after: u64, kind: &str) -> Vec<Frame> {
        let path = format!("/v1/sessions/{session}/events/stream?after={after}&tenure_events=1");
        self.stream(&path, &[]).await.until(kind).await
    }
}

pub(crate) fn engine_config() -> Config {
    let awake_linger = Duration::from_millis(50);
    Config { root_keys: vec![KEY.to_owned()], awake_linger, models: prices(), ..Config::default() }
}

/// A token of output of a model with `priced` in its name costs a tenth of a cent, a thousand of any others as much.
pub(crate) fn prices() -> ModelTable {
    let (input, output) = (Usd::from_cents(1).nanos() / 10_000, Usd::from_cents(1).nanos() / 10);
    let tokens = TokenPrices { input, output, cache_read: input, cache_write_5m: input, cache_write_1h: input };
    let entry = ModelEntry { context_window: None, price: Some(ListPrice::plain(tokens)) };
    ModelTable::default().with("script/priced*", entry).with("claude-priced*", entry)
}

/// A budget of so many cents.
pub(crate) fn budget(cents: &str) -> Value {
    json!({"type": "limit", "max_list_cost": {"amount": cents, "currency": "USD"}})
}

pub(crate) fn request(
    method: Method,
    path: &str,
    body: Option<Value>,
    headers: &[(&'static str, &str)],
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        None => request.body(Body::empty()),
        Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())),
    }
    .unwrap()
}

pub(crate) fn message(text: &str) -> Value {
    json!({"type": "user.message", "content": [{"type": "text", "text": text}]})
}

pub(crate) fn id(body: &Value) -> String {
    body["id"].as_str().unwrap_or_else(|| panic!("no id in {body}")).to_owned()
}

pub(crate) fn ids(body: &Value) -> Vec<String> {
    body["data"].as_array().unwrap().iter().map(id).collect()
}
