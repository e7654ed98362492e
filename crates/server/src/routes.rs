//! The one table of all routes. A test walks it: every route is unique, documented, and asks for a key unless it says not to.

use axum::Router;
use axum::extract::Extension;
use axum::routing::{MethodRouter, delete, get, post, put};

use crate::app::App;
use crate::dialects::managed_agents::{agents, describe, environments, events, sessions, threads};
use crate::extensions::{
    clone, ends, exec, fork, keys, limits, models, queue, resolve, rewind, snapshots, tenure, workspace,
};
use crate::observe::{describe_scrape, health, scrape};
use crate::openapi::{self, Describe};
use crate::request::{BodyLimit, Repeats};

/// One route.
struct Route {
    info: RouteInfo,
    body: BodyLimit,
    repeats: Repeats,
    handler: MethodRouter<App>,
    describe: Describe,
}

/// A route, with what its description in OpenAPI is made of.
#[derive(Clone, Copy)]
pub(crate) struct Described {
    pub(crate) info: RouteInfo,
    pub(crate) body: BodyLimit,
    pub(crate) describe: Describe,
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
    described().into_iter().map(|route| route.info).collect()
}

/// The same, with their descriptions.
pub(crate) fn described() -> Vec<Described> {
    let described = |Route { info, repeats, body, describe, handler: _ }: Route| {
        let no_key = match repeats {
            Repeats::CarriedOutOnce => None,
            Repeats::KeyRefused(why) => Some(why),
        };
        Described { info: RouteInfo { no_key, ..info }, body, describe }
    };
    table().into_iter().map(described).collect()
}

#[rustfmt::skip]
fn table() -> Vec<Route> {
    vec![
        peer("POST", "/v1/agents", post(agents::create), describe::agents::create, "Creates an agent."),
        peer("GET", "/v1/agents", get(agents::list), describe::agents::list, "Lists agents, the newest first."),
        peer("GET", "/v1/agents/{agent}", get(agents::retrieve), describe::agents::retrieve, "Gives an agent, or one version of it."),
        peer("POST", "/v1/agents/{agent}", post(agents::update), describe::agents::update, "Changes an agent, which makes a new version."),
        peer("GET", "/v1/agents/{agent}/versions", get(agents::versions), describe::agents::versions, "Lists an agent's versions, the newest first."),
        peer("POST", "/v1/agents/{agent}/archive", post(agents::archive), describe::agents::archive, "Archives an agent: no new sessions."),

        peer("POST", "/v1/environments", post(environments::create), describe::environments::create, "Creates an environment."),
        peer("GET", "/v1/environments", get(environments::list), describe::environments::list, "Lists environments, the newest first."),
        peer("GET", "/v1/environments/{environment}", get(environments::retrieve), describe::environments::retrieve, "Gives an environment."),
        peer("POST", "/v1/environments/{environment}", post(environments::update), describe::environments::update, "Changes an environment, for sessions made from then on."),
        peer("DELETE", "/v1/environments/{environment}", delete(environments::delete), describe::environments::delete, "Deletes an environment that no session refers to."),
        peer("POST", "/v1/environments/{environment}/archive", post(environments::archive), describe::environments::archive, "Archives an environment: no new sessions."),

        peer("POST", "/v1/sessions", post(sessions::create), describe::sessions::create, "Creates a session, with its first messages if there are any.").content(),
        peer("GET", "/v1/sessions", get(sessions::list), describe::sessions::list, "Lists sessions, the newest first; pages in both directions."),
        ours("GET", "/v1/sessions/resolve", get(resolve::resolve), resolve::describe, "Gives the sessions whose ids begin with some hex digits."),
        peer("GET", "/v1/sessions/{session}", get(sessions::retrieve), describe::sessions::retrieve, "Gives a session."),
        peer("POST", "/v1/sessions/{session}", post(sessions::update), describe::sessions::update, "Changes a session's labels or its agent's tools."),
        peer("DELETE", "/v1/sessions/{session}", delete(sessions::delete), describe::sessions::delete, "Deletes a session and everything of it."),
        peer("POST", "/v1/sessions/{session}/archive", post(sessions::archive), describe::sessions::archive, "Archives a session: readable, closed to input."),
        ours("POST", "/v1/sessions/{session}/stop", post(ends::stop), ends::describe_stop, "Stops a session for now; everything is kept."),
        ours("POST", "/v1/sessions/{session}/resume", post(ends::resume), ends::describe_resume, "Lets a stopped session go on."),
        ours("POST", "/v1/sessions/{session}/limits", post(limits::change), limits::describe_change, "Changes the limits of a session's sandbox, also while it works."),
        ours("GET", "/v1/sessions/{session}/stats", get(limits::stats), limits::describe_stats, "Gives what a session's sandbox uses."),
        ours("POST", "/v1/sessions/{session}/end", post(ends::end), ends::describe_end, "Ends a session for good."),
        ours("POST", "/v1/sessions/{session}/fork", post(fork::fork), fork::describe_fork, "Makes a session that begins with another's conversation and files."),
        ours("POST", "/v1/sessions/{session}/rewind", post(rewind::rewind), rewind::describe_rewind, "Goes back to an earlier place of a session, conversation and files."),
        ours("POST", "/v1/sessions/{session}/clone", post(clone::clone), clone::describe_clone, "Makes a session that is set up like another, without what was said."),
        ours("POST", "/v1/sessions/{session}/snapshots", post(snapshots::take), snapshots::describe_take, "Keeps a session's files under a name.").refuses_key("a name is taken once, so that asking again keeps nothing more"),
        ours("GET", "/v1/sessions/{session}/snapshots", get(snapshots::list), snapshots::describe_list, "Lists the snapshots of a session's files, the oldest first."),
        ours("DELETE", "/v1/sessions/{session}/snapshots/{snapshot}", delete(snapshots::remove), snapshots::describe_remove, "Deletes a snapshot of a session's files."),

        peer("POST", "/v1/sessions/{session}/events", post(events::send), describe::events::send, "Sends input to a session.").content(),
        peer("GET", "/v1/sessions/{session}/events", get(events::list), describe::events::list, "Lists a session's events, one row for each."),
        peer("GET", "/v1/sessions/{session}/events/stream", get(events::stream), describe::events::stream, "Streams a session's events as they happen, from any cursor."),
        peer("GET", "/v1/sessions/{session}/threads", get(threads::list), describe::threads::list, "Lists a session's threads: the primary one."),
        peer("GET", "/v1/sessions/{session}/threads/{thread}", get(threads::retrieve), describe::threads::retrieve, "Gives a thread."),
        peer("POST", "/v1/sessions/{session}/threads/{thread}/archive", post(threads::archive), describe::threads::archive, "Archives a sub-agent's thread; the primary one goes with its session.").refuses_key("a session's only thread can't be archived"),
        peer("GET", "/v1/sessions/{session}/threads/{thread}/events", get(threads::list_events), describe::threads::list_events, "Lists a thread's events, one row for each."),
        peer("GET", "/v1/sessions/{session}/threads/{thread}/stream", get(threads::stream_events), describe::threads::stream_events, "Streams a thread's events as they happen, from any cursor."),
        ours("GET", "/v1/sessions/{session}/queue", get(queue::list), queue::describe_list, "Lists input that waits for its turn."),
        ours("DELETE", "/v1/sessions/{session}/queue/{event}", delete(queue::withdraw), queue::describe_withdraw, "Takes queued input back."),

        ours("POST", "/v1/sessions/{session}/exec", post(exec::run), exec::describe_run, "Runs a command in a session's sandbox, beside its conversation.").refuses_key("a command is run anew each time"),
        ours("GET", "/v1/sessions/{session}/exec", get(exec::connect), exec::describe_connect, "Runs a command and talks with it over a WebSocket, in a terminal if wanted."),
        ours("GET", "/v1/sessions/{session}/workspace", get(workspace::list), workspace::describe_list, "Lists a directory of a session's files."),
        ours("GET", "/v1/sessions/{session}/workspace/diff", get(workspace::diff), workspace::describe_diff, "Says what differs between a session's files and what they were."),
        ours("GET", "/v1/sessions/{session}/workspace/file", get(workspace::read), workspace::describe_read, "Gives a file of a session, or a part of it."),
        ours("PUT", "/v1/sessions/{session}/workspace/file", put(workspace::write), workspace::describe_write, "Writes a file of a session, at once."),
        ours("DELETE", "/v1/sessions/{session}/workspace/file", delete(workspace::remove), workspace::describe_remove, "Removes a file or directory of a session."),
        ours("GET", "/v1/sessions/{session}/workspace/archive", get(workspace::download), workspace::describe_download, "Gives a directory of a session as a tar archive."),
        ours("PUT", "/v1/sessions/{session}/workspace/archive", put(workspace::upload), workspace::describe_upload, "Unpacks a tar archive into a directory of a session, all of it or nothing."),
        ours("POST", "/v1/sessions/{session}/workspace/move", post(workspace::rename), workspace::describe_move, "Gives a file or directory of a session another name.").refuses_key("moving it again fails, since it is gone from where it was"),

        ours("POST", "/v1/keys", post(keys::create), keys::describe_create, "Creates an API key; its secret is shown once.").refuses_key("the answer holds a secret, which isn't kept"),
        ours("GET", "/v1/keys", get(keys::list), keys::describe_list, "Lists API keys, without secrets."),
        ours("DELETE", "/v1/keys/{key}", delete(keys::revoke), keys::describe_revoke, "Revokes an API key."),
        ours("GET", "/v1/tenure/models", get(models::list), models::describe_list, "Lists the models each provider offers, and the default one."),
        ours("POST", "/v1/tenure/models", post(models::add), models::describe_add, "Adds a model server, or replaces the one of its kind.").refuses_key("adding the same server again changes nothing"),
        ours("POST", "/v1/tenure/models/default", post(models::set_default), models::describe_set_default, "Chooses the model that is taken when nobody names one.").refuses_key("choosing the same model again changes nothing"),
        ours("POST", "/v1/tenure/models/test", post(models::test), models::describe_test, "Asks a model to say a word.").refuses_key("a test asks the model anew each time"),
        ours("GET", "/v1/tenure/status", get(tenure::status), tenure::describe, "Says how the server is."),

        ours("GET", "/healthz", get(health::live), health::describe_live, "Says that the server is alive.").open(),
        ours("GET", "/readyz", get(health::ready), health::describe_ready, "Says whether the server takes requests: 200 or 503.").open(),
        ours("GET", "/v1/openapi.json", get(openapi::serve), openapi::serve::describe, "Gives this API's description in OpenAPI 3.1.").open(),
        ours("GET", "/metrics", get(scrape), describe_scrape, "Gives metrics in Prometheus's text format."),
    ]
}

type Words = &'static str;

fn peer(method: Words, path: Words, handler: MethodRouter<App>, describe: Describe, doc: Words) -> Route {
    let info = RouteInfo { method, path, open: false, ours: false, no_key: None, doc };
    Route { info, body: BodyLimit::Ordinary, repeats: Repeats::CarriedOutOnce, handler, describe }
}

fn ours(method: Words, path: Words, handler: MethodRouter<App>, describe: Describe, doc: Words) -> Route {
    let route = peer(method, path, handler, describe, doc);
    Route { info: RouteInfo { ours: true, ..route.info }, ..route }
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
    table().into_iter().fold(router, |router, Route { info, body, repeats, handler, describe: _ }| {
        router.route(info.path, handler.layer((Extension(body), Extension(repeats))))
    })
}

/// The paths that need no key. They have no parameters.
pub(crate) const OPEN: &[&str] = &["/healthz", "/readyz", "/v1/openapi.json"];
