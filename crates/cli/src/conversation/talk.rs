//! A conversation: prompts in, turns out, until the person has had enough.

use std::io::Read as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ask::{Answer, ask};
use super::follow::{ATTEMPTS, Follower, Next};
use super::human::Screen;
use super::lines::{Line, Lines};
use super::machine;
use crate::client::{CliStatus, Client, Event, Session};
use crate::failure::{Exit, advised};
use crate::terminal::{duration, plain, say};

/// How a conversation is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    /// One message, one answer.
    pub(crate) single: bool,
    /// For a program; implies one message.
    pub(crate) json: bool,
}

/// With whom.
#[derive(Debug)]
pub(crate) enum Talk {
    /// A session that is made with the first message, by this request.
    New(Value),
    /// A session that is there.
    With(Box<Session>),
}

/// Talks with a session, beginning with `prompt` if there is one.
pub(crate) async fn converse(client: Client, with: Talk, prompt: Option<String>, manner: Manner) -> Result<Exit> {
    let interactive = !manner.single && !manner.json && Lines::has_person();
    let prompt = match (prompt, &with) {
        (Some(prompt), _) => Some(prompt),
        (None, _) if interactive => None,
        // Without a person or a prompt, a session at work can still be watched.
        (None, Talk::With(session)) if session.tenure.cli_status == CliStatus::Active => None,
        (None, _) => Some(piped_prompt()?),
    };
    let mut conversation = Conversation {
        manner,
        lines: interactive.then(Lines::new),
        screen: Screen::default(),
        interrupt: signal(SignalKind::interrupt()).context("can't watch for SIGINT")?,
        terminate: signal(SignalKind::terminate()).context("can't watch for SIGTERM")?,
        place: Place::Nowhere(client),
    };
    let exit = conversation.hold(with, prompt).await;
    conversation.screen.end_line();
    conversation.say_how_to_resume();
    exit
}

/// A prompt that isn't on the command line.
fn piped_prompt() -> Result<String> {
    use std::io::IsTerminal as _;
    let mut prompt = String::new();
    if !std::io::stdin().is_terminal() {
        std::io::stdin().read_to_string(&mut prompt).context("can't read the prompt from standard input")?;
    }
    match prompt.trim() {
        "" => Err(advised("there is no prompt", "give one as an argument or on standard input")),
        _ => Ok(prompt.trim_end().to_owned()),
    }
}

/// How long nothing has to have happened until it is asked what is being done.
const SILENCE: Duration = Duration::from_secs(2);

/// What is being done to get the session's sandbox ready, if anything is.
async fn what_is_prepared(client: &Client, session: &str) -> Option<String> {
    let found = client.get(&format!("/v1/sessions/{session}"), &[]).await.ok()?;
    Session::read(&found).ok()?.tenure.preparing
}

/// A conversation under way.
struct Conversation {
    manner: Manner,
    /// The person, if there is one to be asked.
    lines: Option<Lines>,
    screen: Screen,
    interrupt: Signal,
    terminate: Signal,
    place: Place,
}

/// Where it takes place.
enum Place {
    /// No session has been made yet.
    Nowhere(Client),
    At(Box<Session>, Box<Follower>),
}

/// How a turn ended.
#[derive(Debug)]
enum TurnEnd {
    /// The agent has said what it had to say.
    Done,
    /// The session waits for an answer to these calls.
    Waiting(Vec<String>),
    /// The person broke it off.
    Cancelled,
    /// It failed; why has been said.
    Failed,
    /// The session is over.
    Over,
    /// This program is to end.
    Terminated,
}

/// What follows a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next message; if there is none to come, this.
    Next(Exit),
    /// Nothing.
    Leave(Exit),
}

impl Conversation {
    async fn hold(&mut self, with: Talk, mut prompt: Option<String>) -> Result<Exit> {
        let mut opening = None;
        match with {
            Talk::New(request) => opening = Some(request),
            Talk::With(session) => {
                if let Some(exit) = self.join(session).await? {
                    return Ok(exit);
                }
            }
        }
        loop {
            let message = match prompt.take() {
                Some(prompt) => prompt,
                None => match self.next_message()? {
                    Ok(message) => message,
                    Err(exit) => return Ok(exit),
                },
            };
            if let Some(request) = opening.take() {
                self.open(&request).await?;
            }
            match self.turn(&message).await? {
                After::Next(_) if self.lines.is_some() => {}
                After::Next(exit) | After::Leave(exit) => return Ok(exit),
            }
        }
    }

    /// What the person says next, or how it ends.
    fn next_message(&mut self) -> Result<Result<String, Exit>> {
        let Some(lines) = &mut self.lines else { return Ok(Err(Exit::Success)) };
        loop {
            say::text("\n");
            match lines.ask("You")? {
                Line::Said(said) if said.trim().is_empty() => {}
                Line::Said(said) if matches!(said.trim().to_ascii_lowercase().as_str(), "exit" | "quit") => {
                    return Ok(Err(Exit::Success));
                }
                Line::Said(said) => return Ok(Ok(said)),
                Line::End => return Ok(Err(Exit::Success)),
                Line::BrokenOff => return Ok(Err(Exit::Interrupted)),
            }
        }
    }

    /// Makes the session.
    async fn open(&mut self, request: &Value) -> Result<()> {
        let Place::Nowhere(client) = &self.place else { return Ok(()) };
        let made = client.post("/v1/sessions", request).await?;
        let session = Session::read(&made)?;
        if self.manner.json {
            machine::print_as("session", &made);
        }
        say_what_model_it_is(&session);
        self.enter(Box::new(session));
        Ok(())
    }

    fn enter(&mut self, session: Box<Session>) {
        let follower = Follower::new(self.place.client().clone(), &session.id, session.tenure.cursor.clone());
        self.place = Place::At(session, Box::new(follower));
    }

    /// Comes to a session that is there: follows what it is doing, answers what it waits for. `Some` ends the
    /// conversation.
    async fn join(&mut self, session: Box<Session>) -> Result<Option<Exit>> {
        if !self.manner.json {
            let messages = session.tenure.messages;
            say::line(&say::dim(&format!(
                "Session {} with {}, {messages} messages.",
                session.short_id(),
                plain(&session.agent.name)
            )));
        }
        say_what_model_it_is(&session);
        let (status, waits) = (session.tenure.cli_status, session.tenure.phase.starts_with("waiting"));
        self.enter(session);
        let end = match (status, waits) {
            (_, true) => TurnEnd::Waiting(self.waiting().await?),
            (CliStatus::Active, false) => self.follow(None).await?,
            (CliStatus::Idle | CliStatus::Ended | CliStatus::Timeout, false) => return Ok(None),
        };
        Ok(match self.conclude(end, Instant::now()).await? {
            After::Next(Exit::Success) => None,
            After::Next(_) if self.lines.is_some() => None,
            After::Next(exit) | After::Leave(exit) => Some(exit),
        })
    }

    /// The calls that the session waited for when it last stopped.
    async fn waiting(&self) -> Result<Vec<String>> {
        let Place::At(session, follower) = &self.place else { return Ok(Vec::new()) };
        let path = format!("/v1/sessions/{}/events", session.id);
        let query = [("types[]", "session.status_idle"), ("order", "desc"), ("limit", "1")];
        let last = follower.client().list(&path, &query, 1, |_| true).await?;
        Ok(last.first().map(|idle| ids(&idle["stop_reason"]["event_ids"])).unwrap_or_default())
    }

    /// Says something and shows what follows.
    async fn turn(&mut self, message: &str) -> Result<After> {
        let begun = Instant::now();
        let said = json!({"type": "user.message", "content": [{"type": "text", "text": message}]});
        let sent = self.send(vec![said]).await?;
        let id = sent["data"][0]["id"].as_str().unwrap_or_default().to_owned();
        let end = self.follow(Some(&id)).await?;
        self.conclude(end, begun).await
    }

    async fn send(&self, events: Vec<Value>) -> Result<Value> {
        let Place::At(session, follower) = &self.place else { return Ok(Value::Null) };
        follower.client().post(&format!("/v1/sessions/{}/events", session.id), &json!({ "events": events })).await
    }

    /// Shows what happens until the turn of this message has ended; without one, until the turn under way has.
    async fn follow(&mut self, message: Option<&str>) -> Result<TurnEnd> {
        let mut taken_up = message.is_none();
        let mut cancelled = false;
        let mut preparing = None;
        loop {
            let Place::At(session, follower) = &mut self.place else { return Ok(TurnEnd::Done) };
            let event = tokio::select! {
                next = follower.next() => match next? {
                    Next::Event(event) => event,
                    Next::Reconnecting { attempt } => {
                        self.screen.end_line();
                        say::line(&say::dim(&format!("Reconnecting ({attempt}/{ATTEMPTS})...")));
                        continue;
                    }
                },
                // Nothing is told of what a sandbox waits for; whoever wonders has to ask.
                () = tokio::time::sleep(SILENCE), if !self.manner.json => {
                    let doing = what_is_prepared(follower.client(), &session.id).await;
                    if doing.is_some() && doing != preparing {
                        self.screen.end_line();
                        say::line(&say::dim(&plain(doing.as_deref().unwrap_or_default())));
                    }
                    preparing = doing;
                    continue;
                }
                _ = self.terminate.recv() => return Ok(TurnEnd::Terminated),
                _ = self.interrupt.recv() => {
                    // A second time, the person doesn't want to wait either.
                    if cancelled || self.break_off(message.filter(|_| !taken_up)).await? {
                        return Ok(TurnEnd::Cancelled);
                    }
                    cancelled = true;
                    continue;
                }
            };
            match self.manner.json {
                true => machine::print(&event),
                false => self.screen.show(&event),
            }
            taken_up |=
                event.kind() == "user.message" && Some(event.id()) == message && !event.data["processed_at"].is_null();
            if let Some(end) = end_of_turn(&event, taken_up) {
                if let Place::At(_, follower) = &mut self.place {
                    follower.pause();
                }
                return Ok(if cancelled && !matches!(end, TurnEnd::Over) { TurnEnd::Cancelled } else { end });
            }
        }
    }

    /// Takes back a message that still waits for its turn, which is all there is to do then (`true`); else interrupts.
    async fn break_off(&mut self, queued: Option<&str>) -> Result<bool> {
        let Place::At(session, follower) = &self.place else { return Ok(true) };
        if let Some(message) = queued {
            let path = format!("/v1/sessions/{}/queue/{message}", session.id);
            if follower.client().delete(&path).await.is_ok() {
                return Ok(true);
            }
        }
        self.send(vec![json!({"type": "user.interrupt"})]).await?;
        Ok(false)
    }

    /// Says how the turn ended, and asks what there is to ask.
    async fn conclude(&mut self, mut end: TurnEnd, begun: Instant) -> Result<After> {
        loop {
            self.screen.end_line();
            match end {
                TurnEnd::Waiting(calls) => match self.answer(&calls).await? {
                    Ok(()) => {
                        self.screen.name_again();
                        end = self.follow(None).await?;
                    }
                    Err(exit) => return Ok(After::Leave(exit)),
                },
                TurnEnd::Done => {
                    if !self.manner.json {
                        say::line(&format!("\n{}", say::dim(&format!("Completed in {}", duration(begun.elapsed())))));
                    }
                    self.screen.end_turn();
                    return Ok(After::Next(Exit::Success));
                }
                TurnEnd::Cancelled => {
                    say::line("Cancelled.");
                    self.screen.end_turn();
                    return Ok(After::Next(Exit::Interrupted));
                }
                TurnEnd::Failed => {
                    self.screen.end_turn();
                    return Ok(After::Next(Exit::Failure));
                }
                TurnEnd::Over => {
                    self.place = Place::Nowhere(self.place.client().clone());
                    say::failure("The session has ended.");
                    return Ok(After::Leave(Exit::Failure));
                }
                TurnEnd::Terminated => return Ok(After::Leave(Exit::Terminated)),
            }
        }
    }

    /// Asks the person what the session waits for, and tells it.
    async fn answer(&mut self, calls: &[String]) -> Result<Result<(), Exit>> {
        let Place::At(session, follower) = &self.place else { return Ok(Ok(())) };
        let resume = format!("tenure sessions resume {}", session.short_id());
        let Some(lines) = &mut self.lines else {
            say::failure("The session waits for an answer that nobody here can give.");
            say::hint(&format!("answer it at a terminal: {resume}"));
            return Ok(Err(Exit::Failure));
        };
        match ask(follower.client(), &session.id, calls, lines).await? {
            Answer::Send(answers) => self.send(answers).await.map(|_| Ok(())),
            Answer::Left(Line::BrokenOff) => Ok(Err(Exit::Interrupted)),
            Answer::Left(_) => Ok(Err(Exit::Success)),
            Answer::Elsewhere(call) => {
                say::failure(&format!(
                    "The session waits for the result of {call}, a tool that your own program runs."
                ));
                Ok(Err(Exit::Failure))
            }
        }
    }

    fn say_how_to_resume(&self) {
        let Place::At(session, _) = &self.place else { return };
        if !self.manner.json {
            let id = session.short_id();
            say::line(&say::dim(&format!("Session {id} stays open. Resume it with: tenure sessions resume {id}")));
        }
    }
}

impl Place {
    fn client(&self) -> &Client {
        match self {
            Self::Nowhere(client) => client,
            Self::At(_, follower) => follower.client(),
        }
    }
}

fn end_of_turn(event: &Event, taken_up: bool) -> Option<TurnEnd> {
    match event.kind() {
        "session.status_terminated" | "session.deleted" => Some(TurnEnd::Over),
        "session.status_idle" => match event.data["stop_reason"]["type"].as_str() {
            Some("requires_action") => Some(TurnEnd::Waiting(ids(&event.data["stop_reason"]["event_ids"]))),
            _ if !taken_up => None,
            Some("retries_exhausted") => Some(TurnEnd::Failed),
            Some("budget_reached") => {
                say::failure("The session has used up its budget, so the agent has stopped in the middle of its work.");
                say::hint("raise or remove the session's budget by the API, and it goes on by itself");
                Some(TurnEnd::Failed)
            }
            Some("refusal") => {
                let why = event.data["stop_details"]["explanation"].as_str().map(|why| format!(": {}", plain(why)));
                say::failure(&format!("The model refused to answer{}", why.unwrap_or_default()));
                Some(TurnEnd::Failed)
            }
            _ => Some(TurnEnd::Done),
        },
        _ => None,
    }
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A scripted model is taken for a real one otherwise.
fn say_what_model_it_is(session: &Session) {
    let model = plain(&session.agent.model.id);
    if model.starts_with("script/") {
        say::warning(&format!("{model} is a scripted model: it plays a file and doesn't think."));
        say::hint("`tenure models add anthropic` (or openai) brings a model that does");
    }
}
