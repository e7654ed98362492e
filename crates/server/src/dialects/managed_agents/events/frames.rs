//! Frames of an event stream. A fact's frame is printed once and its bytes are shared by all who are sent it.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tenure_core::agent::Agent;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_engine::{Cursor, Engine, Error};

use super::super::ingest::Attached;
use super::super::project::{Audience, Printed, print};

/// Frames kept. Those that are live are asked for by all subscribers within moments; older ones only now and then.
const SLOTS: usize = 1_024;

/// Larger frames aren't kept.
const LARGEST: usize = 64 * 1_024;

/// A fact as it is sent to a stream.
#[derive(Debug)]
pub(super) struct Frame {
    kind: &'static str,
    pub(super) audience: Audience,
    cursor: Cursor,
    bytes: Bytes,
    /// Where in `bytes` the JSON is.
    json_at: usize,
}

impl Frame {
    fn new(printed: Printed, cursor: Cursor) -> Self {
        let Printed { kind, audience, json } = printed;
        let head = format!("id: {cursor}\nevent: {kind}\ndata: ");
        let json_at = head.len();
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&json);
        bytes.extend_from_slice(b"\n\n");
        Self { kind, audience, cursor, bytes: bytes.into(), json_at }
    }

    /// The bytes for a client of this generation.
    pub(super) fn bytes(&self, reader: Reader) -> Bytes {
        if reader.knows(self.kind) {
            return self.bytes.clone();
        }
        let mut bytes = format!("id: {}\nevent: message\ndata: ", self.cursor).into_bytes();
        bytes.extend_from_slice(&self.bytes[self.json_at..]);
        bytes.into()
    }
}

/// What is sent without a cursor: previews, and the end of a deleted session.
pub(super) fn passing(kind: &str, json: &[u8], reader: Reader) -> Bytes {
    let name = if reader.knows(kind) { kind } else { "message" };
    let mut bytes = format!("event: {name}\ndata: ").into_bytes();
    bytes.extend_from_slice(json);
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// Which event names a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// Any.
    Current,
    /// The Python SDK before 1.0, which drops frames whose event name isn't on its list. The type is in the JSON too.
    Listed,
}

impl Reader {
    fn knows(self, kind: &str) -> bool {
        match self {
            Self::Current => true,
            Self::Listed => LISTED.contains(&kind),
        }
    }
}

/// The names on that list which Tenure sends; as of version 0.121.
const LISTED: &[&str] = &[
    "user.message",
    "user.interrupt",
    "user.tool_confirmation",
    "user.custom_tool_result",
    "system.message",
    "agent.message",
    "agent.thinking",
    "agent.tool_use",
    "agent.tool_result",
    "agent.custom_tool_use",
    "agent.thread_context_compacted",
    "session.status_running",
    "session.status_idle",
    "session.status_rescheduled",
    "session.status_terminated",
    "session.error",
    "session.deleted",
    "session.updated",
    "session.thread_status_running",
    "session.thread_status_idle",
    "session.thread_status_rescheduled",
    "span.model_request_start",
    "span.model_request_end",
    "event_start",
    "event_delta",
];

/// Whose frame, and at which place of the log; `None` for a fact that is shown to nobody.
type Slot = Mutex<Option<(SessionId, u64, Option<Arc<Frame>>)>>;

/// The frames printed lately. Facts never change, so what is kept is never wrong; a frame that falls on another's slot
/// takes its place.
pub(crate) struct FrameCache {
    slots: Vec<Slot>,
    hasher: RandomState,
}

impl Default for FrameCache {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Slot::default()).collect(), hasher: RandomState::new() }
    }
}

impl fmt::Debug for FrameCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameCache").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

impl FrameCache {
    /// The frame of a fact, printed now if nobody has lately.
    pub(super) async fn frame(
        &self,
        engine: &Engine,
        agent: &Arc<Agent>,
        stored: &StoredFact,
    ) -> Result<Option<Arc<Frame>>, Error> {
        let slot = &self.slots[self.hasher.hash_one((stored.session, stored.seq)) as usize % SLOTS];
        if let Some((session, seq, frame)) = &*slot.lock().unwrap_or_else(PoisonError::into_inner)
            && (*session, *seq) == (stored.session, stored.seq)
        {
            return Ok(frame.clone());
        }
        let printed = printed(engine, agent, stored).await?;
        let frame = printed.map(|printed| Arc::new(Frame::new(printed, engine.sessions().cursor(stored.seq))));
        if frame.as_ref().is_none_or(|frame| frame.bytes.len() <= LARGEST) {
            let kept = (stored.session, stored.seq, frame.clone());
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        Ok(frame)
    }
}

/// The event of a fact, with the contents of the blobs it names.
pub(super) async fn printed(engine: &Engine, agent: &Agent, stored: &StoredFact) -> Result<Option<Printed>, Error> {
    use base64::Engine as _;

    let mut attached = Attached::new();
    for blob in stored.fact.blobs() {
        if let Some(bytes) = engine.blob(blob.clone()).await? {
            attached.insert(blob.clone(), base64::engine::general_purpose::STANDARD.encode(bytes).into());
        }
    }
    Ok(print(stored, Some(agent), &attached))
}
