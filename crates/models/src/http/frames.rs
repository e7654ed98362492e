//! The frames of one answer, and the stream of events made of them.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use reqwest::Response;
use tenure_core::model::{Failure, FailureKind};

use super::{Server, excerpt};
use crate::provider::Event;
use crate::sse::{Frame, Parser};

/// The largest frame, and the largest answer, that is read.
const MAX_FRAME_BYTES: usize = 16 << 20;
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// How long the rest of a finished answer is waited for, so that its connection can serve the next request.
const DRAIN: Duration = Duration::from_secs(5);

/// An answer that is being read frame by frame.
pub(crate) struct Frames {
    server: Server,
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    parser: Parser,
    ready: VecDeque<Frame>,
    /// The answer's first bytes, to quote if it turns out to be something else; dropped with the first frame.
    head: Option<Vec<u8>>,
    received_bytes: usize,
    ended: bool,
}

impl Frames {
    /// The frames of an event stream.
    pub(super) fn streamed(response: Response, server: Server) -> Self {
        let chunks = response.bytes_stream().boxed();
        let (parser, ready) = (Parser::new(MAX_FRAME_BYTES), VecDeque::new());
        Self { server, chunks, parser, ready, head: Some(Vec::new()), received_bytes: 0, ended: false }
    }

    /// A whole answer as its only frame.
    pub(super) fn whole(body: Vec<u8>, server: Server) -> Self {
        let frame = Frame { event: String::new(), data: String::from_utf8_lossy(&body).into_owned() };
        let (parser, chunks) = (Parser::new(MAX_FRAME_BYTES), stream::empty().boxed());
        Self { server, chunks, parser, ready: VecDeque::from([frame]), head: None, received_bytes: 0, ended: true }
    }

    /// The next frame; `None` at the end of an answer that had at least one.
    async fn next(&mut self) -> Result<Option<Frame>, Failure> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.head = None;
                return Ok(Some(frame));
            }
            if self.ended {
                return match &self.head {
                    None => Ok(None),
                    Some(head) => Err(self.garbage(format!("expected an event stream, got {}", excerpt(head)))),
                };
            }
            let next = tokio::time::timeout(self.server.stall, self.chunks.next());
            match next.await.map_err(|_| self.server.hung())? {
                Some(chunk) => self.take(&chunk.map_err(|error| self.server.broke_off(error))?)?,
                None => {
                    self.ended = true;
                    self.ready.extend(self.parser.finish());
                }
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.received_bytes += chunk.len();
        if self.received_bytes > MAX_ANSWER_BYTES {
            return Err(self.garbage("the answer is larger than 256 MiB"));
        }
        if let Some(head) = self.head.as_mut().filter(|head| head.len() < 1024) {
            head.extend_from_slice(chunk);
        }
        let fed = self.parser.feed(chunk, &mut self.ready);
        fed.map_err(|error| self.garbage(format!("an event is larger than {} bytes", error.limit_bytes)))
    }

    fn garbage(&self, what: impl AsRef<str>) -> Failure {
        self.server.failure(FailureKind::Unavailable, what)
    }

    /// Reads what is left of a finished answer in the background: a connection that is dropped before its last byte is
    /// closed, and the next request would pay for a new one.
    fn drain(mut self) {
        if self.ended {
            return;
        }
        tokio::spawn(tokio::time::timeout(DRAIN, async move { while let Some(Ok(_)) = self.chunks.next().await {} }));
    }
}

/// The events that `decode` makes of an answer's frames. It is given `None` at the answer's end, and must have given
/// [`Event::Finished`] or a failure by then.
pub(crate) fn events<D>(
    open: impl Future<Output = Result<Frames, Failure>> + Send + 'static,
    decode: D,
) -> BoxStream<'static, Result<Event, Failure>>
where
    D: FnMut(Option<Frame>) -> Result<Vec<Event>, Failure> + Send + 'static,
{
    let opening = Reading { decode, ready: VecDeque::new(), at: Place::Opening(Box::pin(open)) };
    stream::unfold(opening, |mut reading| async move { reading.next().await.map(|item| (item, reading)) })
        .fuse()
        .boxed()
}

struct Reading<O, D> {
    decode: D,
    ready: VecDeque<Event>,
    at: Place<O>,
}

enum Place<O> {
    Opening(std::pin::Pin<Box<O>>),
    Answer(Box<Frames>),
    Done,
}

impl<O, D> Reading<O, D>
where
    O: Future<Output = Result<Frames, Failure>>,
    D: FnMut(Option<Frame>) -> Result<Vec<Event>, Failure>,
{
    async fn next(&mut self) -> Option<Result<Event, Failure>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if matches!(event, Event::Finished(_)) {
                    self.ready.clear();
                    if let Place::Answer(frames) = std::mem::replace(&mut self.at, Place::Done) {
                        frames.drain();
                    }
                }
                return Some(Ok(event));
            }
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(failure) => {
                    self.at = Place::Done;
                    return Some(Err(failure));
                }
            }
        }
    }

    /// One step further; false at the end.
    async fn step(&mut self) -> Result<bool, Failure> {
        match &mut self.at {
            Place::Done => return Ok(false),
            Place::Opening(open) => {
                let frames = open.as_mut().await?;
                self.at = Place::Answer(Box::new(frames));
            }
            Place::Answer(frames) => {
                let frame = frames.next().await?;
                let at_end = frame.is_none();
                self.ready.extend((self.decode)(frame)?);
                if at_end && !self.ready.iter().any(|event| matches!(event, Event::Finished(_))) {
                    return Err(frames.garbage("the answer ended before the reply did"));
                }
            }
        }
        Ok(true)
    }
}
