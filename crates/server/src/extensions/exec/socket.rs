//! A command that is talked with over a WebSocket (RFC 6455), the subprotocol `tenure.exec.v1`.
//!
//! The client first says what to run, as a text frame: the fields of `POST …/exec` and `terminal: {columns, rows}` if it is to
//! have one. Then binary frames carry bytes, the first of which says whose they are: 0 standard input, 1 standard output or the
//! terminal, 2 standard error. Text frames carry everything else. Frames are taken in order, so a command that doesn't
//! read holds up what comes after its input; one whose output isn't read is held up itself. Nothing is left out. The command ends with
//! the connection.

use std::time::Duration;

use axum::extract::ws::{
    CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection,
};
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tenure_core::id::{SessionId, TenantId};
use tenure_engine::{Control, Exit, Printed, Process, Visit, Wanted};
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use super::order;
use super::run::ended;
use super::wire::{self, SIGNALS};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{error, project};
use crate::openapi::{Operation, Schemas};
use crate::problem::Problem;
use crate::request::{Asked, Fields, Ignored};

const SUBPROTOCOL: &str = "tenure.exec.v1";

/// The longest frame that is taken.
const FRAME_BYTES: usize = 1 << 20;

/// How long a client may take to say what to run.
const PATIENCE: Duration = Duration::from_secs(10);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

/// `GET /v1/sessions/{id}/exec` with `Upgrade: websocket`.
pub(crate) async fn connect(
    State(app): State<App>,
    Path(session): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let upgrade = upgrade.map_err(|rejection| {
        let text = rejection.body_text();
        Problem::invalid(
            "",
            format!("expected a WebSocket handshake ({text}); to run a command without one, POST it here"),
        )
    })?;
    let tenant = asked.tenant;
    // What can be refused is refused before the connection is another.
    app.engine.sessions().get(tenant, session).await?;
    let upgrade = upgrade.max_message_size(FRAME_BYTES).max_frame_size(FRAME_BYTES).protocols([SUBPROTOCOL]);
    Ok(upgrade.on_upgrade(move |socket| talk(app, tenant, session, socket)))
}

async fn talk(app: App, tenant: TenantId, session: SessionId, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let (visit, process) = match begin(&app, tenant, session, &mut stream).await {
        Ok(Some(begun)) => begun,
        Ok(None) => return,
        Err(problem) => return refuse(&mut sink, &problem).await,
    };
    metrics::gauge!("tenure_exec_connections").increment(1);
    let Process { input, output, control, end } = process;
    tokio::select! {
        biased;
        () = app.stopping.cancelled() => {}
        () = show(&app, sink, output, end) => {}
        // The client is gone; with the control of it the command goes too.
        () = hear(stream, input, control) => {}
    }
    metrics::gauge!("tenure_exec_connections").decrement(1);
    drop(visit);
}

/// Has the command that the client names started; nothing if it goes before it names one.
async fn begin(
    app: &App,
    tenant: TenantId,
    session: SessionId,
    stream: &mut SplitStream<WebSocket>,
) -> Result<Option<(Visit, Process)>, Problem> {
    let first = tokio::time::timeout(PATIENCE, stream.next()).await;
    let first = first.map_err(|_| Problem::invalid("", "expected a frame that says what to run, got none for 10 s"))?;
    let text = match first {
        Some(Ok(Message::Text(text))) => text,
        Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(None),
        Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {
            return Err(Problem::invalid("", "expected a text frame that says what to run, got another frame"));
        }
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Problem::invalid("", format!("expected JSON that says what to run: {error}")))?;
    let mut ignored = Ignored::new();
    let mut fields = Fields::of("", value, &mut ignored)?;
    fields.one_of("type", &["start"])?;
    let mut launch = order::read(&mut fields, true)?;
    launch.terminal = order::terminal(&mut fields)?;
    drop(fields);
    let visit = app.engine.sessions().visit(tenant, session, Wanted::Change).await?;
    let process = visit.launch(launch).await?;
    Ok(Some((visit, process)))
}

async fn refuse(sink: &mut SplitSink<WebSocket, Message>, problem: &Problem) {
    let told: String = String::from_utf8_lossy(&error::envelope(problem, "")).into_owned();
    let _ = sink.send(Message::Text(told.into())).await;
    let _ = sink.send(close(close_code::POLICY, "refused")).await;
}

fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

/// Sends what the command prints, then how it ended.
async fn show(
    app: &App,
    mut sink: SplitSink<WebSocket, Message>,
    mut output: mpsc::Receiver<Printed>,
    end: oneshot::Receiver<Result<Exit, tenure_engine::SandboxError>>,
) {
    let started = json!({"type": "started"}).to_string();
    if sink.send(Message::Text(started.into())).await.is_err() {
        return;
    }
    loop {
        let message = tokio::select! {
            biased;
            printed = output.recv() => match printed {
                Some(Printed::Out(bytes)) => of_channel(STDOUT, &bytes),
                Some(Printed::Err(bytes)) => of_channel(STDERR, &bytes),
                None => break,
            },
            // A client that is gone without a word is found out by this.
            () = tokio::time::sleep(app.config.keep_alive) => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    match ended(end.await) {
        Ok(exit) => {
            let told = String::from_utf8_lossy(&project::json(&wire::exit(&exit))).into_owned();
            let _ = sink.send(Message::Text(told.into())).await;
            let _ = sink.send(close(close_code::NORMAL, "ended")).await;
        }
        Err(problem) => refuse(&mut sink, &problem).await,
    }
}

fn of_channel(channel: u8, bytes: &[u8]) -> Message {
    Message::Binary([&[channel], bytes].concat().into())
}

/// Passes on what the client sends, until it goes.
async fn hear(mut stream: SplitStream<WebSocket>, input: mpsc::Sender<Vec<u8>>, control: mpsc::Sender<Control>) {
    let mut input = Some(input);
    while let Some(Ok(message)) = stream.next().await {
        match message {
            Message::Binary(bytes) if bytes.first() == Some(&STDIN) => {
                let gone = match &input {
                    Some(input) if bytes.len() > 1 => input.send(bytes[1..].to_vec()).await.is_err(),
                    Some(_) | None => false,
                };
                if gone {
                    input = None;
                }
            }
            Message::Text(text) => match asked(&text) {
                Some(Told::NoMoreInput) => input = None,
                Some(Told::Control(asked)) => drop(control.send(asked).await),
                None => return,
            },
            Message::Ping(_) | Message::Pong(_) => {}
            // A frame that means nothing ends it, as a close does.
            Message::Binary(_) | Message::Close(_) => return,
        }
    }
}

enum Told {
    NoMoreInput,
    Control(Control),
}

fn asked(text: &str) -> Option<Told> {
    let value: Value = serde_json::from_str(text).ok()?;
    let mut ignored = Ignored::new();
    let mut fields = Fields::of("", value, &mut ignored).ok()?;
    match fields.required_string("type").ok()?.as_str() {
        "stdin_close" => Some(Told::NoMoreInput),
        "resize" => Some(Told::Control(Control::Resize(order::size(&mut fields).ok()?))),
        "signal" => {
            let name = fields.required_string("signal").ok()?;
            let (_, number) = SIGNALS.iter().find(|(known, _)| *known == name)?;
            Some(Told::Control(Control::Signal(*number)))
        }
        _ => None,
    }
}

pub(crate) fn describe_connect(_: &mut Schemas) -> Operation {
    Operation::upgrade("connect_exec")
}
