//! The one table of all routes. A test walks it: every route is unique, documented, and asks for a key unless it says not to.

use axum::Router;
use axum::extract::Extension;
use axum::routing::{MethodRouter, delete, get, post};

use crate::app::App;
use crate::dialects::managed_agents::{agents, environments, events, sessions, threads};
use crate::extensions::{ends, keys, models, queue, resolve, tenure};
use crate::observe::{health, scrape};
use crate::request::{BodyLimit, Repeats};

/// One route.
struct Route {
    info: RouteInfo,
    body: BodyLimit,
    repeats: Repeats,
    handler: MethodRouter<App>,
}

/// What is to be known of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteInfo {
    /// The HTTP method.
    pub method: &'static str,
    /// The path; parameters in braces.
    pub path: &'static str,
    /// Whether it needs no key.
    pub open: bool,
    /// Whether it is Tenure's own addition.
    pub ours: bool,
    /// Why it takes no `Idempotency-Key`, if it is a POST that takes none.
    pub no_key: Option<&'static str>,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// Every route, in the order of the table.
pub fn route_list() -> Vec<RouteInfo> {
    let info = |Route { info, repeats, .. }: Route| match repeats {
        Repeats::CarriedOutOnce => info,
        Repeats::KeyRefused(why) => RouteInfo { no_key: Some(why), ..info },
    };
    table().into_iter().map(info).collect()
}

#[rustfmt::skip]
fn table() -> Vec<Route> {
    vec![
        peer("POST", "/v1/agents", post(agents::create), "Creates an agent."),
        peer("GET", "/v1/agents", get(agents::list), "Lists agents, the newest first."),
        peer("GET", "/v1/agents/{agent}", get(agents::retrieve), "Gives an agent, or one version of it."),
        peer("POST", "/v1/agents/{agent}", post(agents::update), "Changes an agent, which makes a new version."),
        peer("GET", "/v1/agents/{agent}/versions", get(agents::versions), "Lists an agent's versions, the newest first."),
        peer("POST", "/v1/agents/{agent}/archive", post(agents::archive), "Archives an agent: no new sessions."),

        peer("POST", "/v1/environments", post(environments::create), "Creates an environment."),
        peer("GET", "/v1/environments", get(environments::list), "Lists environments, the newest first."),
        peer("GET", "/v1/environments/{environment}", get(environments::retrieve), "Gives an environment."),
        peer("POST", "/v1/environments/{environment}", post(environments::update), "Changes an environment, for sessions made from then on."),
        peer("DELETE", "/v1/environments/{environment}", delete(environments::delete), "Deletes an environment that no session refers to."),
        peer("POST", "/v1/environments/{environment}/archive", post(environments::archive), "Archives an environment: no new sessions."),

        peer("POST", "/v1/sessions", post(sessions::create), "Creates a session, with its first messages if there are any.").content(),
        peer("GET", "/v1/sessions", get(sessions::list), "Lists sessions, the newest first; pages in both directions."),
        ours("GET", "/v1/sessions/resolve", get(resolve::resolve), "Gives the sessions whose ids begin with some hex digits."),
        peer("GET", "/v1/sessions/{session}", get(sessions::retrieve), "Gives a session."),
        peer("POST", "/v1/sessions/{session}", post(sessions::update), "Changes a session's labels or its agent's tools."),
        peer("DELETE", "/v1/sessions/{session}", delete(sessions::delete), "Deletes a session and everything of it."),
        peer("POST", "/v1/sessions/{session}/archive", post(sessions::archive), "Archives a session: readable, closed to input."),
        ours("POST", "/v1/sessions/{session}/stop", post(ends::stop), "Stops a session for now; everything is kept."),
        ours("POST", "/v1/sessions/{session}/resume", post(ends::resume), "Lets a stopped session go on."),
        ours("POST", "/v1/sessions/{session}/end", post(ends::end), "Ends a session for good."),

        peer("POST", "/v1/sessions/{session}/events", post(events::send), "Sends input to a session.").content(),
        peer("GET", "/v1/sessions/{session}/events", get(events::list), "Lists a session's events, one row for each."),
        peer("GET", "/v1/sessions/{session}/events/stream", get(events::stream), "Streams a session's events as they happen, from any cursor."),
        peer("GET", "/v1/sessions/{session}/threads", get(threads::list), "Lists a session's threads: the primary one."),
        peer("GET", "/v1/sessions/{session}/threads/{thread}", get(threads::retrieve), "Gives a thread."),
        peer("POST", "/v1/sessions/{session}/threads/{thread}/archive", post(threads::archive), "Archives a sub-agent's thread; the primary one goes with its session.").refuses_key("a session's only thread can't be archived"),
        peer("GET", "/v1/sessions/{session}/threads/{thread}/events", get(threads::list_events), "Lists a thread's events, one row for each."),
        peer("GET", "/v1/sessions/{session}/threads/{thread}/stream", get(threads::stream_events), "Streams a thread's events as they happen, from any cursor."),
        ours("GET", "/v1/sessions/{session}/queue", get(queue::list), "Lists input that waits for its turn."),
        ours("DELETE", "/v1/sessions/{session}/queue/{event}", delete(queue::withdraw), "Takes queued input back."),

        ours("POST", "/v1/keys", post(keys::create), "Creates an API key; its secret is shown once.").refuses_key("the answer holds a secret, which isn't kept"),
        ours("GET", "/v1/keys", get(keys::list), "Lists API keys, without secrets."),
        ours("DELETE", "/v1/keys/{key}", delete(keys::revoke), "Revokes an API key."),
        ours("GET", "/v1/tenure/models", get(models::list), "Lists the models each provider offers, and the default one."),
        ours("POST", "/v1/tenure/models", post(models::add), "Adds a model server, or replaces the one of its kind.").refuses_key("adding the same server again changes nothing"),
        ours("POST", "/v1/tenure/models/default", post(models::set_default), "Chooses the model that is taken when nobody names one.").refuses_key("choosing the same model again changes nothing"),
        ours("POST", "/v1/tenure/models/test", post(models::test), "Asks a model to say a word.").refuses_key("a test asks the model anew each time"),
        ours("GET", "/v1/tenure/status", get(tenure::status), "Says how the server is."),

        ours("GET", "/healthz", get(health::live), "Says that the server is alive.").open(),
        ours("GET", "/readyz", get(health::ready), "Says whether the server takes requests: 200 or 503.").open(),
        ours("GET", "/metrics", get(scrape), "Gives metrics in Prometheus's text format."),
    ]
}

fn peer(method: &'static str, path: &'static str, handler: MethodRouter<App>, doc: &'static str) -> Route {
    let info = RouteInfo { method, path, open: false, ours: false, no_key: None, doc };
    Route { info, body: BodyLimit::Ordinary, repeats: Repeats::CarriedOutOnce, handler }
}

fn ours(method: &'static str, path: &'static str, handler: MethodRouter<App>, doc: &'static str) -> Route {
    let info = RouteInfo { method, path, open: false, ours: true, no_key: None, doc };
    Route { info, body: BodyLimit::Ordinary, repeats: Repeats::CarriedOutOnce, handler }
}

impl Route {
    fn content(self) -> Self {
        Self { body: BodyLimit::Content, ..self }
    }

    fn refuses_key(self, why: &'static str) -> Self {
        Self { repeats: Repeats::KeyRefused(why), ..self }
    }

    fn open(self) -> Self {
        Self { info: RouteInfo { open: true, ..self.info }, ..self }
    }
}

/// Puts every route on the router.
pub(crate) fn mount(router: Router<App>) -> Router<App> {
    table().into_iter().fold(router, |router, Route { info, body, repeats, handler }| {
        router.route(info.path, handler.layer((Extension(body), Extension(repeats))))
    })
}

/// The paths that need no key. They have no parameters.
pub(crate) const OPEN: &[&str] = &["/healthz", "/readyz"];
