//! Running a command, or a shell, in a session's sandbox.

use std::io::{IsTerminal as _, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::client::{Client, ExecInput, ExecOutput, Said, session_id};
use crate::failure::{Exit, advised};
use crate::terminal::{Raw, out, say, size};

/// How long a command may take to end once it was interrupted.
const PATIENCE: Duration = Duration::from_secs(2);

/// Run a command in a session's sandbox, beside its conversation
///
/// Standard input is passed on if it is a pipe or a file, or with -i. The exit code is the command's own, or 128 and its signal. If the
/// connection breaks, the command ends.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Exec {
    /// The session's id, or its first digits
    session: String,
    /// Pass standard input on
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// The directory it starts in. Default: /workspace
    #[arg(long, short = 'w', value_name = "DIR")]
    workdir: Option<String>,
    /// A variable of its environment, as NAME=VALUE; may be given several times
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// After how many seconds it is killed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  tenure sessions exec 4f2a -- ls -l
  tenure sessions exec 4f2a -it -- bash
  tar c src | tenure sessions exec 4f2a -- tar x
  tenure sessions exec 4f2a -e CI=1 -- sh -c 'make && make test'";

/// Open a shell in a session's sandbox
///
/// It is not the agent's shell, and no part of the conversation.
#[derive(Debug, clap::Args)]
pub(crate) struct Shell {
    /// The session's id, or its first digits
    session: String,
}

impl Exec {
    pub(super) async fn run(self, client: &Client, as_json: bool) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        let mut start = json!({"type": "start", "argv": self.command});
        let variable = |given: &String| match given.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.into())),
            Some(_) | None => Err(advised(format!("'{given}' is no variable"), "write it as NAME=VALUE")),
        };
        if !self.env.is_empty() {
            start["env"] = Value::Object(self.env.iter().map(variable).collect::<Result<_>>()?);
        }
        self.workdir.into_iter().for_each(|dir| start["cwd"] = dir.into());
        self.timeout.into_iter().for_each(|timeout| start["timeout"] = timeout.into());
        if as_json {
            return told_as_json(client, &id, start).await;
        }
        if self.tty {
            if !std::io::stdin().is_terminal() {
                return Err(advised("-t needs a terminal, and standard input is none", "leave -t out"));
            }
            start["terminal"] = size();
        }
        talk(client, &id, &start, self.interactive || self.tty || is_given()).await
    }
}

impl Shell {
    pub(super) async fn run(self, client: &Client) -> Result<Exit> {
        let id = session_id(client, &self.session).await?;
        if !std::io::stdin().is_terminal() {
            let advice = format!("for a script: tenure sessions exec {} -- sh < script", self.session);
            return Err(advised("a shell needs a terminal, and standard input is none", advice));
        }
        let shell = "exec $(command -v bash || echo sh) -i";
        talk(client, &id, &json!({"type": "start", "command": shell, "terminal": size()}), true).await
    }
}

/// Whether somebody means standard input to be read: it is a pipe or a file.
fn is_given() -> bool {
    let kind = std::fs::metadata("/dev/stdin").map(|stdin| stdin.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_file() || kind.is_socket())
}

/// All of it as one value at the end.
async fn told_as_json(client: &Client, id: &str, mut start: Value) -> Result<Exit> {
    if let Value::Object(fields) = &mut start {
        fields.remove("type");
    }
    if is_given() {
        let mut given = String::new();
        std::io::stdin().read_to_string(&mut given).context("standard input can't be read as text")?;
        start["stdin"] = given.into();
    }
    let result = client.post_patiently(&format!("/v1/sessions/{id}/exec"), &start).await?;
    out::json(&result);
    Ok(exit_of(&result))
}

fn exit_of(told: &Value) -> Exit {
    let signals = [
        ("SIGHUP", 1),
        ("SIGINT", 2),
        ("SIGQUIT", 3),
        ("SIGABRT", 6),
        ("SIGKILL", 9),
        ("SIGSEGV", 11),
        ("SIGPIPE", 13),
        ("SIGTERM", 15),
    ];
    let code = told["exit_code"].as_u64().and_then(|code| u8::try_from(code).ok());
    let signal = signals.iter().find(|(name, _)| told["signal"] == *name).map(|(_, number)| 128 + number);
    Exit::Of(code.or(signal).unwrap_or(1))
}

/// What can come from this side.
enum Event {
    Typed(Option<Vec<u8>>),
    Interrupted,
    Terminated,
    Resized,
}

async fn talk(client: &Client, id: &str, start: &Value, with_input: bool) -> Result<Exit> {
    let has_terminal = start["terminal"].is_object();
    let (mut input, output) = client.exec(id, start).await?;
    // Only once the server has taken it, so that a refusal is shown in an orderly terminal.
    let raw = if has_terminal { Raw::begin() } else { None };
    if !with_input {
        input.close().await?;
    }
    let mut events = listen(with_input, has_terminal)?;
    let ended = converse(&mut input, output, &mut events, has_terminal).await;
    drop(raw);
    match ended {
        // As `| head` does, which is no fault.
        Err(error) if error.downcast_ref::<Unread>().is_some() => Ok(Exit::Success),
        ended => ended,
    }
}

/// Nobody reads what the command prints any more: it ends with the connection.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads what the command prints")]
struct Unread;

async fn converse(
    input: &mut ExecInput,
    mut output: ExecOutput,
    events: &mut mpsc::Receiver<Event>,
    has_terminal: bool,
) -> Result<Exit> {
    let mut showing = std::pin::pin!(async move {
        loop {
            let shown = match output.next().await? {
                Said::Out(bytes) => show(&mut std::io::stdout(), &bytes),
                Said::Err(bytes) => show(&mut std::io::stderr(), &bytes),
                Said::Exit(told) => return Ok(told),
            };
            shown.map_err(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => anyhow::Error::from(Unread),
                _ => anyhow::Error::from(error).context("what the command prints can't be written"),
            })?;
        }
    });
    loop {
        let event = tokio::select! {
            biased;
            told = &mut showing => return told.map(|told: Value| {
                if told["timed_out"] == true {
                    say::warning("The command took longer than its time-out and was killed");
                }
                for limit in told["limits_reached"].as_array().into_iter().flatten() {
                    say::warning(limit["message"].as_str().unwrap_or_default());
                }
                exit_of(&told)
            }),
            Some(event) = events.recv() => event,
        };
        match event {
            Event::Typed(Some(bytes)) => input.send(&bytes).await?,
            Event::Typed(None) => input.close().await?,
            Event::Resized if has_terminal => input.resize(&size()).await?,
            Event::Resized => {}
            Event::Interrupted | Event::Terminated => {
                let (name, exit) = match event {
                    Event::Terminated => ("SIGTERM", Exit::Terminated),
                    Event::Interrupted | Event::Typed(_) | Event::Resized => ("SIGINT", Exit::Interrupted),
                };
                let _ = input.signal(name).await;
                // What it still says is shown; if it doesn't end, the end of the connection ends it.
                let _ = tokio::time::timeout(PATIENCE, &mut showing).await;
                return Ok(exit);
            }
        }
    }
}

fn show(to: &mut impl std::io::Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// What comes from this side, as it comes.
fn listen(with_input: bool, has_terminal: bool) -> Result<mpsc::Receiver<Event>> {
    let (events, heard) = mpsc::channel(4);
    if with_input {
        let typed = events.clone();
        // A thread of its own, which nobody waits for: reading can't be broken off.
        std::thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            loop {
                let event = match std::io::stdin().read(&mut bytes) {
                    Ok(0) | Err(_) => None,
                    Ok(length) => Some(bytes[..length].to_vec()),
                };
                let over = event.is_none();
                if typed.blocking_send(Event::Typed(event)).is_err() || over {
                    return;
                }
            }
        });
    }
    let mut kinds = vec![(SignalKind::terminate(), 1)];
    // In a terminal that passes on every key, an interrupt is one of them.
    kinds.push(if has_terminal { (SignalKind::window_change(), 2) } else { (SignalKind::interrupt(), 0) });
    for (kind, event) in kinds {
        let (events, mut signals) = (events.clone(), signal(kind)?);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let event = match event {
                    0 => Event::Interrupted,
                    1 => Event::Terminated,
                    _ => Event::Resized,
                };
                if events.send(event).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(heard)
}
