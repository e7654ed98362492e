//! Running a command to its end, or with its output as a stream.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use tenure_engine::{Exit, Printed, Process, Visit, Wanted};

use super::order;
use super::wire::{self, ExecExit, ExecOutput, ExecResult};
use crate::app::App;
use crate::dialects::managed_agents::ingest::session_id;
use crate::dialects::managed_agents::{error, project};
use crate::openapi::{Operation, Schemas, schema};
use crate::problem::{Kind, Problem};
use crate::request::{Asked, answer};

/// How much of each output is kept for an answer that comes at the end.
const KEPT_BYTES: usize = 10 << 20;

const LONGEST_INPUT: usize = 1 << 20;

/// `POST /v1/sessions/{id}/exec {command | argv, cwd?, env?, stdin?, timeout?, stream?}`.
pub(crate) async fn run(
    State(app): State<App>,
    Path(session): Path<String>,
    mut asked: Asked,
) -> Result<Response, Problem> {
    let session = session_id(&session)?;
    let mut fields = asked.object()?;
    let launch = order::read(&mut fields, false)?;
    let stdin = fields.text("stdin", LONGEST_INPUT)?.value().unwrap_or_default();
    let stream = fields.bool("stream")?.value().unwrap_or(false);
    drop(fields);
    let visit = app.engine.sessions().visit(asked.tenant, session, Wanted::Change).await?;
    let process = visit.launch(launch).await?;
    let input = process.input.clone();
    let feeding = tokio::spawn(async move {
        if !stdin.is_empty() {
            // A command that doesn't read it may end all the same.
            let _ = input.send(stdin.into_bytes()).await;
        }
    });
    if stream {
        return Ok(streamed(asked, app, visit, process));
    }
    let result = to_its_end(process).await;
    feeding.abort();
    Ok(answer(asked, project::json(&result?)))
}

async fn to_its_end(process: Process) -> Result<ExecResult, Problem> {
    let Process { input, mut output, control, end } = process;
    drop(input);
    let (mut out, mut err, mut truncated) = (Vec::new(), Vec::new(), false);
    while let Some(printed) = output.recv().await {
        let (kept, bytes) = match printed {
            Printed::Out(bytes) => (&mut out, bytes),
            Printed::Err(bytes) => (&mut err, bytes),
        };
        let room = KEPT_BYTES.saturating_sub(kept.len());
        truncated |= bytes.len() > room;
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
    let exit = ended(end.await)?;
    drop(control);
    let encoded = |bytes: &[u8]| std::str::from_utf8(bytes).is_err().then(|| STANDARD.encode(bytes));
    Ok(ExecResult {
        kind: "exec_result",
        exit_code: exit.code,
        signal: exit.signal.map(wire::signal_name),
        timed_out: exit.timed_out,
        out_of_memory: exit.out_of_memory,
        limits_reached: wire::limits_reached(&exit),
        stdout_base64: encoded(&out),
        stderr_base64: encoded(&err),
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
        truncated,
    })
}

/// How it ended, or why nobody knows.
pub(super) fn ended<E, R>(end: Result<Result<Exit, E>, R>) -> Result<Exit, Problem> {
    match end {
        Ok(Ok(exit)) if exit.cancelled => Err(broken_off()),
        Ok(Ok(exit)) => Ok(exit),
        Ok(Err(_)) | Err(_) => Err(broken_off()),
    }
}

fn broken_off() -> Problem {
    Problem::new(Kind::Conflict, "the sandbox was stopped while the command ran; nobody knows how far it got")
}

/// What a stream is made of.
struct Stream {
    app: App,
    process: Process,
    _visit: Visit,
    /// Bytes that may be the beginning of a character, of each output.
    begun: [Vec<u8>; 2],
    over: bool,
}

/// Server-sent events: `output` for each piece, at last `exit`. The command ends with the connection.
fn streamed(asked: Asked, app: App, visit: Visit, mut process: Process) -> Response {
    // Nothing more comes in.
    process.input = tokio::sync::mpsc::channel(1).0;
    let stream = Stream { app, process, _visit: visit, begun: [Vec::new(), Vec::new()], over: false };
    let frames = futures_util::stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), stream))
    });
    let mut response = answer(asked, Bytes::new());
    *response.body_mut() = Body::from_stream(frames);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        loop {
            let printed = tokio::select! {
                biased;
                () = self.app.stopping.cancelled() => return None,
                printed = self.process.output.recv() => printed,
                () = tokio::time::sleep(self.app.config.keep_alive) => return Some(Bytes::from_static(b": keep-alive\n\n")),
            };
            let shown = match printed {
                Some(Printed::Out(bytes)) => self.piece(0, bytes),
                Some(Printed::Err(bytes)) => self.piece(1, bytes),
                None => {
                    for at in [0, 1] {
                        let rest = std::mem::take(&mut self.begun[at]);
                        if !rest.is_empty() {
                            return Some(frame("output", &output(at, &rest)));
                        }
                    }
                    self.over = true;
                    return Some(match ended((&mut self.process.end).await) {
                        Ok(exit) => frame("exit", &project::json(&wire::exit(&exit))),
                        Err(problem) => frame("error", &error::envelope(&problem, "")),
                    });
                }
            };
            if shown.is_some() {
                return shown;
            }
        }
    }

    /// A piece without the beginning of a character at its end, which waits for the rest of it.
    fn piece(&mut self, at: usize, bytes: Vec<u8>) -> Option<Bytes> {
        let mut bytes = [std::mem::take(&mut self.begun[at]), bytes].concat();
        if let Err(error) = std::str::from_utf8(&bytes)
            && error.error_len().is_none()
        {
            self.begun[at] = bytes.split_off(error.valid_up_to());
        }
        (!bytes.is_empty()).then(|| frame("output", &output(at, &bytes)))
    }
}

fn output(at: usize, bytes: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).ok().map(str::to_owned);
    let base64 = text.is_none().then(|| STANDARD.encode(bytes));
    let stream = if at == 0 { "stdout" } else { "stderr" };
    project::json(&ExecOutput { kind: "output", stream, text, base64 })
}

fn frame(event: &str, data: &[u8]) -> Bytes {
    [b"event: ", event.as_bytes(), b"\ndata: ", data, b"\n\n"].concat().into()
}

pub(crate) fn describe_run(schemas: &mut Schemas) -> Operation {
    let mut body = schema::object([], order::described());
    let stdin = schema::said(schema::text(0, LONGEST_INPUT), "All of its standard input. Default: none.");
    let stream = "Whether to answer with server-sent events: `output` for each piece of what it prints (ExecOutput), nothing \
        left out, then `exit` (ExecExit), or `error` if it broke off. The command ends when the client goes.";
    body["properties"]["stdin"] = schema::nullable(stdin);
    body["properties"]["stream"] = schema::nullable(schema::said(json!({"type": "boolean"}), stream));
    let frames = json!({"anyOf": [schemas.of::<ExecOutput>(), schemas.of::<ExecExit>(), {"$ref": "#/components/schemas/Error"}]});
    Operation::new("exec", schemas.of::<ExecResult>())
        .or_streams(frames)
        .takes(body, json!({"command": "ls -l | wc -l", "timeout": 60}))
        .may_be_gone()
}
