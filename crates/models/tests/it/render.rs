//! Events as text, one line each.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tenure_core::model::{Failure, Reply, ReplyPart};
use tenure_models::Event;

pub(crate) type Events = Vec<Result<Event, Failure>>;

/// Everything a stream gives, in order. Asserts that it ends with its last word and stays ended.
pub(crate) async fn collect(mut stream: BoxStream<'static, Result<Event, Failure>>) -> Events {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        let last = !matches!(event, Ok(Event::Started | Event::TextDelta { .. } | Event::ThinkingDelta { .. }));
        events.push(event);
        if last {
            assert_eq!(stream.next().await, None, "something came after the last word");
        }
    }
    assert!(
        events.last().is_some_and(|last| matches!(last, Ok(Event::Finished(_)) | Err(_))),
        "no last word: {events:?}"
    );
    events
}

/// The reply at the end of a stream.
pub(crate) fn reply(events: &Events) -> &Reply {
    match events.last() {
        Some(Ok(Event::Finished(reply))) => reply,
        other => panic!("expected a reply, got {other:?}"),
    }
}

/// The failure at the end of a stream.
pub(crate) fn failed(events: &Events) -> &Failure {
    match events.last() {
        Some(Err(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

pub(crate) fn render(events: &Events) -> String {
    events.iter().map(line).collect()
}

fn line(event: &Result<Event, Failure>) -> String {
    match event {
        Ok(Event::Started) => "started\n".to_owned(),
        Ok(Event::TextDelta { index, text }) => format!("{index} text += {text:?}\n"),
        Ok(Event::ThinkingDelta { index, text }) => format!("{index} thinking += {text:?}\n"),
        Ok(Event::Finished(reply)) => {
            let parts: String = reply
                .parts
                .iter()
                .enumerate()
                .map(|(index, part)| format!("  {index} {}\n", self::part(part)))
                .collect();
            format!("finished: {:?}\n  {:?}\n{parts}", reply.stop, reply.usage)
        }
        Err(failure) => {
            let message = without_port(&failure.message);
            let wait = failure.retry_after.map(|wait| format!(", again after {wait:?}")).unwrap_or_default();
            format!("failed: {:?}{wait}\n  {message}\n", failure.kind)
        }
    }
}

fn part(part: &ReplyPart) -> String {
    match part {
        ReplyPart::ToolUse { name, input: Ok(input) } => format!("ToolUse {name} {input}"),
        ReplyPart::ToolUse { name, input: Err(malformed) } => format!("ToolUse {name} {malformed:?}"),
        other => format!("{other:?}"),
    }
}

/// The test server's port differs from run to run.
pub(crate) fn without_port(message: &str) -> String {
    match message.split_once("127.0.0.1:") {
        Some((before, after)) => format!("{before}server{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => message.to_owned(),
    }
}
