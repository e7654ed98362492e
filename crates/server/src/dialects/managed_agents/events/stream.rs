//! Streaming what happens, as server-sent events.
//!
//! A stream is subscribed before its answer begins, so whatever is stored after the 200 is on it. Every stored event has
//! its cursor as `id:`; a client that comes back with it in `Last-Event-ID`, or in `?after=`, gets what it missed from
//! the log and goes on live, without a seam. There is no task for a stream: it is polled by its connection.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use tenure_core::agent::Agent;
use tenure_core::id::{ItemId, SessionId};
use tenure_engine::{Error, Live, StreamFrom};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::super::ingest::session_id;
use super::super::project::{Audience, json, preview};
use super::super::wire::{Body as EventBody, Event, Id, Time};
use super::frames::{Reader, passing};
use crate::app::App;
use crate::problem::Problem;
use crate::request::{Asked, answer};

pub(crate) async fn stream(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let previews = previews(asked.query.many("event_deltas"))?;
    let ours = asked.query.flag("tenure_events")?;
    let from = cursor(&app, &mut asked)?;
    let reader = reader(&asked);
    let tenant = asked.tenant;
    let agent = app.engine.sessions().get(tenant, session).await?.definition.agent.clone();
    let live = app.engine.sessions().stream(tenant, session, from).await?;
    metrics::gauge!("tenure_event_streams").increment(1);
    let silence = Silence::new(app.config.keep_alive);
    let stopping = Box::pin(app.stopping.clone().cancelled_owned());
    let subscriber = Subscriber { app, session, agent, live, previews, ours, reader, stopping, silence, over: false };
    let frames = futures_util::stream::unfold(subscriber, |mut subscriber| async move {
        let bytes = subscriber.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), subscriber))
    });
    // The first bytes tell clients and proxies at once that the stream is open.
    let opening = futures_util::stream::iter([Ok(Bytes::from_static(b": open\n\n"))]);
    let mut response = answer(asked, Bytes::new());
    *response.body_mut() = Body::from_stream(opening.chain(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// One open stream.
struct Subscriber {
    app: App,
    session: SessionId,
    agent: Arc<Agent>,
    live: BoxStream<'static, Result<Live, Error>>,
    /// The types of events that are previewed.
    previews: &'static [&'static str],
    /// Whether it asked for our own events.
    ours: bool,
    reader: Reader,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    silence: Silence,
    /// Whether the last frame has been sent.
    over: bool,
}

impl Subscriber {
    /// The next bytes to send; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let bytes = self.bytes().await?;
        self.silence.begin();
        Some(bytes)
    }

    async fn bytes(&mut self) -> Option<Bytes> {
        loop {
            let live = tokio::select! {
                biased;
                () = &mut self.stopping => return None,
                live = self.live.next() => live?,
                () = self.silence.too_long() => return Some(Bytes::from_static(b": keep-alive\n\n")),
            };
            match live {
                Ok(Live::Fact(stored)) => match self.app.frames.frame(&self.app.engine, &self.agent, &stored).await {
                    Ok(Some(frame)) if self.ours || frame.audience == Audience::All => {
                        return Some(frame.bytes(self.reader));
                    }
                    Ok(_) => {}
                    Err(error) => return Some(self.broken(error)),
                },
                Ok(Live::Preview(piece)) => {
                    if let Some((kind, json)) = preview(&piece, self.previews) {
                        return Some(passing(kind, &json, self.reader));
                    }
                }
                Ok(Live::Deleted) => {
                    self.over = true;
                    return Some(self.deleted());
                }
                Err(error) => return Some(self.broken(error)),
            }
        }
    }

    /// The last frame of a deleted session. It isn't stored, so it has no cursor.
    fn deleted(&self) -> Bytes {
        let event = Event {
            id: Id(ItemId::from_bits(self.session.bits())),
            kind: "session.deleted",
            processed_at: Some(Time(self.app.engine.now())),
            body: EventBody::Empty {},
        };
        passing("session.deleted", &json(&event), self.reader)
    }

    /// The stream can't go on: the client is told, and can come back with its cursor.
    fn broken(&mut self, error: Error) -> Bytes {
        self.over = true;
        let problem = Problem::from(error);
        passing("error", &super::super::error::envelope(&problem, ""), Reader::Current)
    }
}

/// How long nothing has been sent. Its one timer is set anew when it rings, not with every event: most events find it
/// running, and many streams hear each.
struct Silence {
    most: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(most: Duration) -> Self {
        Self { most, since: Instant::now(), timer: Box::pin(tokio::time::sleep(most)) }
    }

    /// Something was sent.
    fn begin(&mut self) {
        self.since = Instant::now();
    }

    /// Waits until it has lasted too long.
    async fn too_long(&mut self) {
        loop {
            self.timer.as_mut().await;
            let due = self.since + self.most;
            let late = due <= Instant::now();
            self.timer.as_mut().reset(if late { Instant::now() + self.most } else { due });
            if late {
                return;
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        metrics::gauge!("tenure_event_streams").decrement(1);
    }
}

/// Where the client wants to begin. The header wins: browsers send it by themselves when they come back.
fn cursor(app: &App, asked: &mut Asked) -> Result<StreamFrom, Problem> {
    let parameter = asked.query.one("after")?;
    let (field, given) = match (asked.headers.get("last-event-id"), parameter) {
        (Some(value), _) => ("Last-Event-ID", value.to_str().unwrap_or("?").to_owned()),
        (None, Some(given)) => ("after", given),
        (None, None) => return Ok(StreamFrom::Now),
    };
    let Ok(cursor) = given.parse() else {
        let given: String = given.chars().take(40).collect();
        let message = format!("expected the `id` of a frame of this session, or 0 for its beginning, got `{given}`");
        return Err(Problem::invalid(field, message));
    };
    Ok(StreamFrom::After(app.engine.sessions().place(cursor)?))
}

/// The Python SDK before 1.0 takes only event names on its list.
fn reader(asked: &Asked) -> Reader {
    let python = asked.header("x-stainless-lang").is_some_and(|language| language.eq_ignore_ascii_case("python"));
    let old = asked.header("x-stainless-package-version").is_some_and(|version| version.starts_with("0."));
    if python && old { Reader::Listed } else { Reader::Current }
}

fn previews(names: Vec<String>) -> Result<&'static [&'static str], Problem> {
    let (mut message, mut thinking) = (false, false);
    for name in names {
        match name.as_str() {
            "agent.message" => message = true,
            "agent.thinking" => thinking = true,
            _ => {
                let given: String = name.chars().take(40).collect();
                let message = format!("expected `agent.message` or `agent.thinking`, got `{given}`");
                return Err(Problem::invalid("event_deltas", message));
            }
        }
    }
    Ok(match (message, thinking) {
        (true, true) => &["agent.message", "agent.thinking"],
        (true, false) => &["agent.message"],
        (false, true) => &["agent.thinking"],
        (false, false) => &[],
    })
}
