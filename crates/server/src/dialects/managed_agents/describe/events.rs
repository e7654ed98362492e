//! Events: those that clients send, and the catalogue of those that are listed and streamed.

use serde_json::{Map, Value, json};
use tenure_core::id::{ItemId, ThreadId};

use super::super::error::Envelope;
use super::super::ingest::event::{DELIVERIES, DENY_MESSAGE, MOST};
use super::super::project::TYPES;
use super::super::wire::{Block, Body, Preview, printed_id};
use super::content;
use crate::openapi::{Operation, Parameter, Schemas, schema};

/// Every type of event that is sent: which of [`Body`]'s variants it has, and what it says.
const CATALOGUE: &[(&str, &str, &str)] = &[
    ("user.message", "Message", "Somebody said something."),
    ("system.message", "SystemMessage", "Whoever runs the agent instructed it."),
    ("user.interrupt", "Interrupt", "Somebody interrupted the work."),
    ("user.tool_confirmation", "Confirmation", "Somebody allowed or denied a call."),
    ("user.custom_tool_result", "ClientResult", "A client gave the result of a call of its own tool."),
    ("agent.message", "Content", "The agent said something."),
    ("agent.thinking", "Thinking", "The agent thought."),
    ("agent.tool_use", "ToolUse", "The agent calls a built-in tool."),
    (
        "agent.custom_tool_use",
        "CustomToolUse",
        "The agent calls a tool of the client's, or asks a person; the answer is a `user.custom_tool_result`.",
    ),
    ("agent.tool_result", "ToolResult", "What came of a call."),
    (
        "agent.thread_context_compacted",
        "Compacted",
        "The conversation became too long for the model, which is sent a summary of its older part from now on.",
    ),
    ("session.status_running", "Empty", "The session works."),
    ("session.status_idle", "Idle", "The session waits; `stop_reason` says for what."),
    ("session.status_rescheduled", "Empty", "A model request failed and will be made anew."),
    ("session.status_terminated", "Empty", "The session has ended."),
    ("session.thread_status_running", "Thread", "A thread works."),
    ("session.thread_status_idle", "ThreadIdle", "A thread waits."),
    ("session.thread_status_rescheduled", "Thread", "A thread's model request failed and will be made anew."),
    ("session.usage", "Usage", "What the session has used so far; before every `session.status_idle`."),
    ("session.error", "Failed", "Something failed; `retry_status` says whether it is tried again."),
    ("session.updated", "Updated", "Something of the session was changed; only that is there."),
    (
        "session.deleted",
        "Empty",
        "The session was deleted. The last frame of a stream; never listed, and without a cursor.",
    ),
    ("span.model_request_start", "Empty", "A model is asked."),
    ("span.model_request_end", "SpanEnd", "A model has answered, or failed to."),
    ("tenure.call_started", "About", "Ours: a call has begun to run."),
    ("tenure.call_settled", "About", "Ours: everything that a cancelled call started is over."),
    ("tenure.sandbox_starting", "Sandbox", "Ours: a sandbox is being made."),
    ("tenure.sandbox_running", "Sandbox", "Ours: a sandbox is there."),
    ("tenure.sandbox_stopping", "Sandbox", "Ours: a sandbox is being stopped."),
    ("tenure.sandbox_absent", "Sandbox", "Ours: there is no sandbox any more, or it waits for one."),
    ("tenure.session_recovered", "Recovered", "Ours: what a death of the server cut off is taken up."),
    ("tenure.session_stopped", "Empty", "Ours: somebody stopped the session."),
    ("tenure.session_resumed", "Empty", "Ours: somebody let the session go on."),
    ("tenure.session_closing", "Closing", "Ours: the session is about to end."),
    ("tenure.snapshot_started", "SnapshotStarted", "Ours: a snapshot of the files is being taken."),
    ("tenure.snapshot_ended", "SnapshotEnded", "Ours: a snapshot was taken, or won't be."),
    ("tenure.snapshot_removed", "SnapshotRemoved", "Ours: a snapshot isn't kept any longer."),
    (
        "tenure.files_changed",
        "Empty",
        "Ours: somebody other than a call wrote to the files, or runs something that may.",
    ),
    ("tenure.session_rewound", "Rewound", "Ours: the session goes on from an earlier place of its log."),
    (
        "tenure.files_rewound",
        "FilesRewound",
        "Ours: the files are what they were at the place the session was rewound to.",
    ),
    (
        "tenure.session_forked",
        "Forked",
        "Ours: the session was made from another; what stands before it happened there.",
    ),
];

/// The blocks that there are in events which don't have all of them.
const CONTENT: &[(&str, &[&str])] =
    &[("user.message", &["text", "image", "document"]), ("system.message", &["text"]), ("agent.message", &["text"])];

/// Blocks of these types alone.
fn only(blocks: &Value, types: &[&str]) -> Value {
    let all = blocks["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
    let wanted = |block: &&Value| types.iter().any(|kind| block["properties"]["type"]["const"] == *kind);
    json!({"oneOf": all.iter().filter(wanted).collect::<Vec<_>>()})
}

/// The events that are listed and, beside previews and errors, streamed.
fn event(schemas: &mut Schemas) -> Value {
    let (bodies, blocks) = (schemas.apart::<Body<'_>>(), schemas.apart::<Block<'_>>());
    let mut events = Vec::new();
    let mut mapping = Map::new();
    for (kind, variant, doc) in CATALOGUE {
        let mut event = one(&bodies, kind, variant, doc);
        if let Some((_, types)) = CONTENT.iter().find(|(of, _)| of == kind) {
            event["properties"]["content"]["items"] = only(&blocks, types);
        }
        let reference = schemas.named(&name(kind), event);
        mapping.insert((*kind).to_owned(), reference["$ref"].clone());
        events.push(reference);
    }
    schemas.named("Event", json!({"oneOf": events, "discriminator": {"propertyName": "type", "mapping": mapping}}))
}

/// The schema of one type of event.
fn one(bodies: &Value, kind: &str, variant: &str, doc: &str) -> Value {
    let body = variant_of(bodies, variant);
    let mut event = body.clone();
    let time = match sent(kind) {
        true => json!({"type": ["string", "null"], "format": "date-time", "description": "Null while it is queued."}),
        false => json!({"type": "string", "format": "date-time"}),
    };
    let fields =
        [("id", printed_id(ItemId::PREFIX).to_value()), ("type", json!({"const": kind})), ("processed_at", time)];
    let mut required: Vec<Value> = fields.iter().map(|(name, _)| (*name).into()).collect();
    required.extend(body["required"].as_array().into_iter().flatten().cloned());
    if !event["properties"].is_object() {
        event["properties"] = json!({});
    }
    for (name, schema) in fields {
        event["properties"][name] = schema;
    }
    event["required"] = required.into();
    event["title"] = name(kind).into();
    event["description"] = doc.into();
    event
}

/// Whether clients send events of this type.
fn sent(kind: &str) -> bool {
    kind.starts_with("user.") || kind.starts_with("system.")
}

fn variant_of<'b>(bodies: &'b Value, variant: &str) -> &'b Value {
    let variants = bodies["anyOf"].as_array().map_or(&[][..], Vec::as_slice);
    variants.iter().find(|body| body["title"] == variant).unwrap_or(&Value::Null)
}

/// `agent.tool_use` is an `AgentToolUseEvent`.
fn name(kind: &str) -> String {
    let words = kind.split(['.', '_']).map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    });
    words.chain(["Event".to_owned()]).collect()
}

/// A page of events.
pub(crate) fn page(schemas: &mut Schemas) -> Value {
    let next = schema::said(json!({"type": ["string", "null"]}), "The cursor of the next page, if there is one.");
    let rows = json!({"type": "array", "items": event(schemas)});
    schemas.named("EventPage", schema::object([("data", rows), ("next_page", next)], []))
}

/// A `user.message` as it is sent.
pub(super) fn message(schemas: &mut Schemas) -> Value {
    let delivery = schema::nullable(schema::one_of(DELIVERIES));
    let doc = "When it is read, if the session is working: when the turn is over (the default), or within the turn, as soon \
               as the call that runs is over; calls that haven't begun are given up for it.";
    let optional = [("delivery", schema::ours(delivery, doc))];
    let message = schema::tagged("user.message", [("content", content::message(schemas))], optional);
    schemas.named("UserMessageParam", message)
}

pub(crate) fn send(schemas: &mut Schemas) -> Operation {
    let thread = || schema::nullable(schema::id(ThreadId::PREFIX));
    let call = || schema::id(ItemId::PREFIX);
    let interrupt = schema::tagged("user.interrupt", [], [("session_thread_id", thread())]);
    let allowed = [("tool_use_id", call()), ("result", json!({"const": "allow"}))];
    let nothing = json!({"type": "null", "description": "Only with `deny`."});
    let allow =
        schema::tagged("user.tool_confirmation", allowed, [("deny_message", nothing), ("session_thread_id", thread())]);
    let denied = [("tool_use_id", call()), ("result", json!({"const": "deny"}))];
    let why = schema::nullable(schema::text(0, DENY_MESSAGE));
    let deny =
        schema::tagged("user.tool_confirmation", denied, [("deny_message", why), ("session_thread_id", thread())]);
    let optional = [
        ("content", content::result(schemas)),
        ("is_error", schema::nullable(json!({"type": "boolean"}))),
        ("session_thread_id", thread()),
    ];
    let result = schema::tagged("user.custom_tool_result", [("custom_tool_use_id", call())], optional);
    let instructions = schema::tagged("system.message", [("content", content::instructions(schemas))], []);
    let doc = "At most one, the last event of its request: right after a `user.message` or `user.custom_tool_result`, or \
               alone when the session is idle.";
    let events = [
        message(schemas),
        schemas.named("SystemMessageParam", schema::said(instructions, doc)),
        schemas.named("UserInterruptParam", interrupt),
        schemas.named("UserToolAllowParam", allow),
        schemas.named("UserToolDenyParam", deny),
        schemas.named("UserCustomToolResultParam", result),
    ];
    let body = schema::object([("events", schema::list(json!({"anyOf": events}), 1, MOST))], []);
    let body = schemas.named("EventsSend", body);
    let example = json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": "Hello"}]}]});
    event(schemas);
    let kinds = CATALOGUE.iter().filter(|(kind, ..)| sent(kind));
    let kinds = kinds.map(|(kind, ..)| json!({"$ref": format!("#/components/schemas/{}", name(kind))}));
    let rows = json!({"type": "array", "items": {"oneOf": kinds.collect::<Vec<_>>()}});
    let sent = schemas.named("EventsSent", schema::object([("data", rows)], []));
    Operation::new("send_events", sent).takes(body, example)
}

pub(crate) fn list(schemas: &mut Schemas) -> Operation {
    let parameters = [
        Parameter::words("types", TYPES, "Only events of these types."),
        Parameter::order("asc"),
        Parameter::limit(1_000, 1_000),
        Parameter::page(),
        Parameter::flag("tenure_events", "Events of Tenure's own too.").ours(),
        Parameter::flag("include_rewound", "Also what a rewind went back on.").ours(),
    ];
    Operation::new("list_events", page(schemas)).with(parameters).with(Parameter::times("created_at", "processed"))
}

pub(crate) fn stream(schemas: &mut Schemas) -> Operation {
    let cursor = || json!({"type": "string", "pattern": r"^([0-9]+\.)?[0-9]+$"});
    let data = json!({"anyOf": [event(schemas), schemas.of::<Preview<'_>>(), schemas.of::<Envelope<'_>>()]});
    let data = schemas.named("StreamedEvent", data);
    let parameters = [
        Parameter::words(
            "event_deltas",
            &["agent.message", "agent.thinking"],
            "Events of these types are previewed while they are being made.",
        ),
        Parameter::flag("tenure_events", "Events of Tenure's own too.").ours(),
        Parameter::query(
            "after",
            cursor(),
            "The cursor of the last frame that was seen; 0 for the beginning. Without it the stream begins now.",
        )
        .ours(),
        Parameter::header(
            "Last-Event-ID",
            cursor(),
            "The same, as browsers send it by themselves. It wins if both are there.",
        )
        .ours(),
    ];
    Operation::stream("stream_events", data).with(parameters)
}

#[cfg(test)]
mod tests {
    use super::super::super::project::KINDS;
    use super::{CATALOGUE, variant_of};
    use crate::dialects::managed_agents::wire::Body;
    use crate::openapi::Schemas;

    #[test]
    fn every_type_that_is_printed_is_in_the_catalogue() {
        let printed = KINDS.iter().flat_map(|(_, types, _)| types.iter().copied());
        for kind in printed {
            assert!(CATALOGUE.iter().any(|(listed, ..)| *listed == kind), "{kind} isn't in the catalogue of events");
        }
    }

    #[test]
    fn every_type_names_a_body() {
        let bodies = Schemas::new().apart::<Body<'_>>();
        for (kind, variant, _) in CATALOGUE {
            assert!(variant_of(&bodies, variant).is_object(), "{kind} has no body {variant}");
        }
    }
}
