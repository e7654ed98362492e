//! The order of a session's events, checked on every stream that a test reads from the session's beginning.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::frames::Frame;

/// What a stream has told so far, and what may follow.
#[derive(Debug, Default)]
pub(crate) struct Order {
    at: At,
    /// What comes next, whatever it is: some events come in a row.
    next: Option<&'static str>,
    /// The model request that is under way.
    request: Option<String>,
    /// What is previewed: the ids it will have.
    previews: BTreeSet<String>,
    /// Calls without a result.
    open: BTreeSet<String>,
    /// Input that waits for its turn.
    queued: BTreeSet<String>,
    known: BTreeSet<String>,
    /// Why the thread stopped, which is why the session does.
    stop: Value,
    /// What a model's failure was said to lead to.
    failed: Option<String>,
    last: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Idle,
    Waiting,
    Running,
    Rescheduling,
    Ended,
}

impl Order {
    /// Panics if this frame can't come now.
    pub(crate) fn check(&mut self, frame: &Frame) {
        if let Some(problem) = self.refuses(frame) {
            panic!("{} came out of order: {problem}\n{}\n{self:#?}", frame.kind(), frame.data);
        }
    }

    /// Why this frame can't come now. Those of ours may come at any time.
    pub(crate) fn refuses(&mut self, frame: &Frame) -> Option<String> {
        let kind = frame.kind();
        if kind.starts_with("tenure.") { None } else { self.problem(kind, &frame.data) }
    }

    fn problem(&mut self, kind: &str, data: &Value) -> Option<String> {
        if kind == "event_start" || kind == "event_delta" {
            return self.previewed(kind, data);
        }
        if kind == "session.deleted" {
            return None;
        }
        let due = self.next.take();
        if let Some(next) = due
            && next != kind
        {
            return Some(format!("expected {next} right away"));
        }
        let due = due.is_some();
        if self.at == At::Ended {
            return Some("the session has ended".to_owned());
        }
        if let Some(problem) = self.dated(kind, data) {
            return Some(problem);
        }
        let id = data["id"].as_str().unwrap_or_default().to_owned();
        let asked = self.request.is_some();
        let works = self.at == At::Running;
        let allowed = match kind {
            "session.status_running" => {
                self.next = Some("session.thread_status_running");
                !works
            }
            "session.thread_status_running" => {
                self.at = At::Running;
                self.failed = None;
                due && !works && !asked
            }
            "span.model_request_start" => {
                self.request = Some(id);
                works && !asked && self.open.is_empty()
            }
            "span.model_request_end" => {
                self.previews.clear();
                self.request.take().is_some_and(|start| data["model_request_start_id"] == start)
            }
            "agent.thinking" | "agent.message" => {
                self.previews.remove(&id);
                asked
            }
            "agent.tool_use" | "agent.custom_tool_use" => {
                self.open.insert(id);
                asked
            }
            "agent.tool_result" => !asked && self.open.remove(data["tool_use_id"].as_str().unwrap()),
            "user.custom_tool_result" => !asked && self.open.remove(data["custom_tool_use_id"].as_str().unwrap()),
            "session.thread_status_idle" => {
                self.stop = data["stop_reason"].clone();
                self.next = Some("session.usage");
                !asked && self.at != At::Idle && self.stops_rightly()
            }
            "session.usage" => {
                self.next = Some("session.status_idle");
                due
            }
            "session.status_idle" => {
                self.at = if self.stop["type"] == "requires_action" { At::Waiting } else { At::Idle };
                due && data["stop_reason"] == self.stop
            }
            "session.error" => {
                let next = data["error"]["retry_status"]["type"].as_str().unwrap();
                self.failed = Some(next.to_owned());
                !asked
            }
            "session.thread_status_rescheduled" => {
                self.next = Some("session.status_rescheduled");
                self.at = At::Rescheduling;
                !asked
            }
            "session.status_rescheduled" => due,
            "session.status_terminated" => {
                let resting = matches!(self.at, At::Idle | At::Waiting);
                self.at = At::Ended;
                resting && !asked && self.open.is_empty()
            }
            _ => true,
        };
        (!allowed).then(|| "it doesn't follow from what came before".to_owned())
    }

    /// Whether the calls that are open are those it waits for, and the reason is that of the failure before it.
    fn stops_rightly(&self) -> bool {
        let waits: BTreeSet<String> = match self.stop["event_ids"].as_array() {
            Some(ids) => ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect(),
            None => BTreeSet::new(),
        };
        let exhausted = self.failed.as_deref() == Some("exhausted");
        let is = |kind: &str| self.stop["type"] == kind;
        let complete =
            if is("requires_action") { !waits.is_empty() && waits.is_subset(&self.open) } else { self.open.is_empty() };
        complete && (!exhausted || is("retries_exhausted"))
    }

    /// Previews are within a request, and begin once.
    fn previewed(&mut self, kind: &str, data: &Value) -> Option<String> {
        let id = if kind == "event_start" { &data["event"]["id"] } else { &data["event_id"] };
        let id = id.as_str().unwrap_or_default();
        let begun =
            if kind == "event_start" { self.previews.insert(id.to_owned()) } else { self.previews.contains(id) };
        match (self.request.is_some(), begun) {
            (false, _) => Some("no model is asked".to_owned()),
            (true, false) => Some("its beginning was told twice, or not at all".to_owned()),
            (true, true) => None,
        }
    }

    /// Everything has an id of its own and a time that doesn't go back; input that waits is told once before.
    fn dated(&mut self, kind: &str, data: &Value) -> Option<String> {
        let id = data["id"].as_str().filter(|id| id.starts_with("sevt_"))?.to_owned();
        if data["processed_at"].is_null() {
            let withdrawn = data["withdrawn"] == json!(true) && self.queued.remove(&id);
            let fresh = self.known.insert(id.clone()) && self.queued.insert(id);
            let waits = kind.starts_with("user.") || kind == "system.message";
            let fine = withdrawn || (fresh && waits);
            return (!fine).then(|| "it has no time".to_owned());
        }
        if !self.queued.remove(&id) && !self.known.insert(id) {
            return Some("it was told before".to_owned());
        }
        let time = data["processed_at"].as_str().unwrap().to_owned();
        let back = self.last.as_ref().is_some_and(|last| *last > time);
        self.last = Some(time);
        back.then(|| "its time is before that of the event before it".to_owned())
    }
}
