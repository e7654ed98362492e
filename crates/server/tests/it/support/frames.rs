//! Reading an event stream frame by frame.

use axum::body::{Body, BodyDataStream};
use futures_util::StreamExt as _;
use serde_json::Value;

use super::described::{LARGE, check_frame};
use super::order::Order;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Its cursor, as it came.
    pub(crate) cursor: Option<String>,
    /// The place in the log that the cursor names.
    pub(crate) id: Option<u64>,
    /// Its event name; empty for a comment.
    pub(crate) event: String,
    /// Its data, or a comment's text.
    pub(crate) data: Value,
}

impl Frame {
    /// The type in its JSON.
    pub(crate) fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or("")
    }
}

/// A stream that is being read.
pub(crate) struct Frames {
    body: BodyDataStream,
    read: String,
    order: Option<Order>,
}

impl Frames {
    /// A stream; one that tells of its session from the beginning is checked for its order.
    pub(crate) fn new(body: Body, from_the_beginning: bool) -> Self {
        let order = from_the_beginning.then(Order::default);
        Self { body: body.into_data_stream(), read: String::new(), order }
    }

    /// The next frame, comments included; `None` at the stream's end.
    pub(crate) async fn raw(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let frame = parse(&self.read[..end]);
                self.read.drain(..end + 2);
                if !frame.event.is_empty() && end < LARGE {
                    check_frame(&frame.event, frame.id.is_some(), &frame.data);
                }
                return Some(frame);
            }
            let bytes = self.body.next().await?.unwrap();
            self.read.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next frame that is no comment.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.raw().await? {
                frame if frame.event.is_empty() => {}
                frame => {
                    if let Some(order) = &mut self.order {
                        order.check(&frame);
                    }
                    return Some(frame);
                }
            }
        }
    }

    /// All frames up to the first of this type.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let Some(frame) = self.next().await else { panic!("the stream ended before {kind}: {frames:#?}") };
            let found = frame.kind() == kind;
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }
}

pub(crate) fn parse(text: &str) -> Frame {
    let mut frame = Frame { cursor: None, id: None, event: String::new(), data: Value::Null };
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => {
                frame.id = id.rsplit('.').next().map(|seq| seq.parse().unwrap());
                frame.cursor = Some(id.to_owned());
            }
            Some(("event", event)) => frame.event = event.to_owned(),
            Some(("data", data)) => frame.data = serde_json::from_str(data).unwrap(),
            Some(("", comment)) => frame.data = comment.into(),
            _ => panic!("no line of an event stream: {line}"),
        }
    }
    frame
}
