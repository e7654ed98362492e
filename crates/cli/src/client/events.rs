//! A session's events as they happen.

use std::collections::VecDeque;
use std::pin::Pin;

use anyhow::Result;
use futures_util::{Stream, StreamExt as _};
use reqwest::Method;
use serde_json::Value;

use super::api::Client;
use super::error::ApiError;
use super::sse::Parser;

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Where it is in the log; previews are nowhere.
    pub(crate) cursor: Option<String>,
    /// The event itself.
    pub(crate) data: Value,
}

impl Event {
    /// Its type.
    pub(crate) fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap_or_default()
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        self.data["id"].as_str().unwrap_or_default()
    }

    /// The texts of its content, one after the other.
    pub(crate) fn text(&self) -> String {
        let blocks = self.data["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        blocks.iter().filter_map(|block| block["text"].as_str()).collect()
    }
}

/// An open stream of events.
pub(crate) struct EventStream {
    client: Client,
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Vec<u8>>>>>,
    parser: Parser,
    ready: VecDeque<Event>,
}

impl EventStream {
    /// What happens after a place in the log, previews of messages included.
    pub(crate) async fn open(client: &Client, session: &str, after: &str) -> Result<Self, ApiError> {
        let path = format!("/v1/sessions/{session}/events/stream");
        let query = [("after", after), ("event_deltas[]", "agent.message")];
        let response = client.send(client.request(Method::GET, &path, &query)).await?;
        let bytes = Box::pin(response.bytes_stream().map(|piece| piece.map(Vec::from)));
        Ok(Self { client: client.clone(), bytes, parser: Parser::default(), ready: VecDeque::new() })
    }

    /// The next event; `None` when the stream has ended. Nothing is lost if the future is dropped.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, ApiError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            let Some(piece) = self.bytes.next().await else { return Ok(None) };
            let piece = piece.map_err(|source| self.client.unreachable(source))?;
            for frame in self.parser.feed(&piece) {
                // What can't be read is of a later version, and no concern of this one.
                let Ok(data) = serde_json::from_str(&frame.data) else { continue };
                self.ready.push_back(Event { cursor: frame.id, data });
            }
        }
    }
}
