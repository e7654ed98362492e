//! Events for a person: what the agent says goes to standard output as it is said, what it does to standard error.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::tool_line::tool_line;
use crate::client::Event;
use crate::terminal::{Plain, duration, out, plain, say};

/// What is on the screen of the turn that is shown.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// Whether `Agent > ` stands there.
    named: bool,
    /// The message that was shown last, perhaps not yet whole.
    message: Option<Message>,
    /// The calls that have begun.
    calls: HashMap<String, Call>,
    /// The call whose line is still open.
    open: Option<String>,
    /// Whether the cursor is in the middle of a line of text.
    in_line: bool,
}

/// A message that is shown while it is said.
#[derive(Debug)]
struct Message {
    id: String,
    /// What has come of it.
    said: String,
    filter: Plain,
}

#[derive(Debug)]
struct Call {
    line: String,
    begun: Option<Timestamp>,
}

impl Screen {
    pub(super) fn show(&mut self, event: &Event) {
        match event.kind() {
            "event_start" if event.data["event"]["type"] == "agent.message" => {
                self.begin(event.data["event"]["id"].as_str().unwrap_or_default());
            }
            "event_delta" => {
                let id = event.data["event_id"].as_str().unwrap_or_default();
                if self.message.as_ref().is_some_and(|message| message.id == id) {
                    self.add(event.data["delta"]["content"]["text"].as_str().unwrap_or_default());
                }
            }
            "agent.message" => self.whole(event),
            "agent.tool_use" | "agent.custom_tool_use" => self.call(event),
            "agent.tool_result" => self.result(event),
            "session.error" => self.error(event),
            _ => {}
        }
    }

    /// Ends whatever line is open, so that something else can be said.
    pub(super) fn end_line(&mut self) {
        if std::mem::take(&mut self.in_line) {
            out::text("\n");
        }
        if self.open.take().is_some() {
            say::text("\n");
        }
    }

    /// Somebody else has spoken: what the agent says next has its name before it.
    pub(super) fn name_again(&mut self) {
        self.named = false;
    }

    /// The next turn begins with a name again.
    pub(super) fn end_turn(&mut self) {
        self.end_line();
        *self = Self::default();
    }

    fn begin(&mut self, id: &str) {
        if self.message.as_ref().is_some_and(|message| message.id == id) {
            return;
        }
        self.end_line();
        self.message = Some(Message { id: id.to_owned(), said: String::new(), filter: Plain::default() });
    }

    fn add(&mut self, text: &str) {
        let Some(message) = &mut self.message else { return };
        message.said.push_str(text);
        let shown = message.filter.next(text);
        if shown.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.named, true) {
            say::text(&format!("\n{} ", say::bold("Agent >")));
        }
        self.in_line = !shown.ends_with('\n');
        out::text(&shown);
    }

    /// A finished message: what hasn't been shown of it. If it isn't what was previewed, it is shown whole.
    fn whole(&mut self, event: &Event) {
        let text = event.text();
        let said = self.message.as_ref().filter(|message| message.id == event.id());
        match said.and_then(|message| text.strip_prefix(message.said.as_str())) {
            Some(rest) => self.add(rest),
            None => {
                self.message = None;
                self.begin(event.id());
                self.add(&text);
            }
        }
        self.end_line();
    }

    fn call(&mut self, event: &Event) {
        self.end_line();
        let line = tool_line(event);
        let asks = event.data["evaluated_permission"] == "ask" || event.kind() == "agent.custom_tool_use";
        self.calls.insert(event.id().to_owned(), Call { line: line.clone(), begun: at(event) });
        // A call that somebody is asked about gets its line when it has run.
        if !asks {
            say::text(&say::dim(&line));
            self.open = Some(event.id().to_owned());
        }
    }

    fn result(&mut self, event: &Event) {
        let id = event.data["tool_use_id"].as_str().unwrap_or_default();
        let Some(call) = self.calls.remove(id) else { return };
        let took = at(event)
            .zip(call.begun)
            .map(|(ended, begun)| Duration::try_from(ended.duration_since(begun)).unwrap_or_default());
        let took = took.map(|took| format!(" ({})", spaced(took))).unwrap_or_default();
        let failed = if event.data["is_error"] == true { " failed" } else { "" };
        if self.open.as_deref() == Some(id) {
            self.open = None;
            say::line(&say::dim(&format!("{took}{failed}")));
        } else {
            self.end_line();
            say::line(&say::dim(&format!("{}{took}{failed}", call.line)));
        }
    }

    fn error(&mut self, event: &Event) {
        self.end_line();
        let error = &event.data["error"];
        let message = plain(error["message"].as_str().unwrap_or("something went wrong"));
        match error["retry_status"]["type"].as_str() {
            Some("retrying") => say::warning(&format!("{message}; trying again")),
            _ => say::failure(&message),
        }
    }
}

fn at(event: &Event) -> Option<Timestamp> {
    event.data["processed_at"].as_str()?.parse().ok()
}

/// `120 ms`, as tool lines have it.
fn spaced(took: Duration) -> String {
    let short = duration(took);
    let digits = short.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    format!("{digits} {}", &short[digits.len()..])
}
