//! What is live only: previews of what a model is just saying.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::id::{AttemptId, ItemId, SessionId};
use tenure_store::{Error as StoreError, Tail};
use tokio::sync::broadcast;

/// Previews a slow listener may lag behind before it loses some.
const LAG: usize = 64;

/// What a stream tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// A stored fact.
    Fact(StoredFact),
    /// A preview. Never stored; what it previews comes as a fact under the same item, or not at all.
    Preview(Preview),
    /// The session was deleted; nothing follows.
    Deleted,
}

/// A piece of a message or thought that isn't finished.
#[derive(Debug, Clone, PartialEq)]
pub enum Preview {
    /// The item has begun.
    Started {
        /// Which.
        item: ItemId,
        /// What it will be.
        part: PreviewPart,
    },
    /// More of it. A listener that comes late, or lags, gets a contiguous beginning first.
    Delta {
        /// Which.
        item: ItemId,
        /// What it will be.
        part: PreviewPart,
        /// The text to add.
        text: Arc<str>,
    },
}

/// What a preview previews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewPart {
    /// A message.
    Message,
    /// A thought.
    Thinking,
}

impl Preview {
    /// The item it is about.
    pub fn item(&self) -> ItemId {
        match self {
            Self::Started { item, .. } | Self::Delta { item, .. } => *item,
        }
    }
}

/// A preview and the attempt it is of.
type Heard = (AttemptId, Preview);

/// The previews of one session.
#[derive(Debug)]
pub(crate) struct Channel {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    current: Option<Attempt>,
    /// Made for the first listener: its buffer is the largest part of a channel.
    listeners: Option<broadcast::Sender<Heard>>,
}

/// What the attempt in flight has said so far, for listeners that come in the middle.
#[derive(Debug)]
struct Attempt {
    id: AttemptId,
    items: Vec<(ItemId, PreviewPart, String)>,
}

impl Channel {
    fn new() -> Self {
        Self { inner: Mutex::new(Inner { current: None, listeners: None }) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds text to an item of the attempt in flight, which begins with its first text.
    pub(crate) fn say(&self, attempt: AttemptId, item: ItemId, part: PreviewPart, text: &str) {
        let inner = &mut *self.lock();
        if inner.current.as_ref().is_none_or(|current| current.id != attempt) {
            inner.current = Some(Attempt { id: attempt, items: Vec::new() });
        }
        let Some(current) = &mut inner.current else { return };
        let heard = inner.listeners.as_ref().filter(|listeners| listeners.receiver_count() > 0);
        match current.items.last_mut().filter(|(last, ..)| *last == item) {
            Some((.., said)) => said.push_str(text),
            None => {
                current.items.push((item, part, text.to_owned()));
                if let Some(listeners) = heard {
                    let _ = listeners.send((attempt, Preview::Started { item, part }));
                }
            }
        }
        if let Some(listeners) = heard {
            let _ = listeners.send((attempt, Preview::Delta { item, part, text: text.into() }));
        }
    }

    /// Forgets what the attempt said: it is in the log now, or lost.
    pub(crate) fn finish(&self, attempt: AttemptId) {
        let inner = &mut *self.lock();
        if inner.current.as_ref().is_some_and(|current| current.id == attempt) {
            inner.current = None;
        }
    }

    fn listen(&self) -> (Vec<Heard>, broadcast::Receiver<Heard>) {
        let mut inner = self.lock();
        let mut so_far = Vec::new();
        if let Some(current) = &inner.current {
            for (item, part, text) in &current.items {
                let (item, part) = (*item, *part);
                so_far.push((current.id, Preview::Started { item, part }));
                so_far.push((current.id, Preview::Delta { item, part, text: text.as_str().into() }));
            }
        }
        let listeners = inner.listeners.get_or_insert_with(|| broadcast::Sender::new(LAG));
        (so_far, listeners.subscribe())
    }
}

/// The channels of all sessions that speak or are listened to.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    open: Mutex<HashMap<SessionId, Weak<Channel>>>,
}

impl Channels {
    /// The session's channel; it lives as long as somebody holds it.
    pub(crate) fn of(&self, session: SessionId) -> Arc<Channel> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(&session).and_then(Weak::upgrade) {
            return channel;
        }
        if open.len() >= 64 && open.len().is_power_of_two() {
            open.retain(|_, channel| channel.strong_count() > 0);
        }
        let channel = Arc::new(Channel::new());
        open.insert(session, Arc::downgrade(&channel));
        channel
    }
}

/// Facts and previews as one stream. Facts up to `head`, where the log ended when the stream was asked for, come first;
/// from then on previews come before the facts they preview, and stop at the end of their attempt.
pub(crate) fn merge(
    facts: BoxStream<'static, Result<Tail, StoreError>>,
    channel: Arc<Channel>,
    after: u64,
    head: u64,
) -> BoxStream<'static, Result<Live, StoreError>> {
    let (so_far, previews) = channel.listen();
    let state = Merge { facts, previews, _channel: channel, so_far, at: after, head, ended: None, started: Vec::new() };
    let batches = stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        let batch = state.next().await;
        let over = batch.iter().any(|live| matches!(live, Ok(Live::Deleted) | Err(_))) || batch.is_empty();
        Some((stream::iter(batch), (!over).then_some(state)))
    });
    batches.flatten().boxed()
}

struct Merge {
    facts: BoxStream<'static, Result<Tail, StoreError>>,
    previews: broadcast::Receiver<Heard>,
    _channel: Arc<Channel>,
    /// What had been previewed before this stream listened.
    so_far: Vec<Heard>,
    /// The place of the last fact this stream has told.
    at: u64,
    /// The place up to which facts come without previews between them.
    head: u64,
    /// The last attempt whose end this stream has told: nothing of it is previewed any more.
    ended: Option<AttemptId>,
    /// The items whose beginning this stream has told; others' deltas are left out.
    started: Vec<ItemId>,
}

impl Merge {
    async fn next(&mut self) -> Vec<Result<Live, StoreError>> {
        loop {
            if self.at < self.head {
                let tail = self.facts.next().await;
                return self.tell(tail);
            }
            let late: Vec<Heard> = std::mem::take(&mut self.so_far);
            let late: Vec<_> = late.into_iter().filter_map(|heard| self.preview(heard)).collect();
            if !late.is_empty() {
                return late;
            }
            tokio::select! {
                biased;
                heard = self.previews.recv() => match heard {
                    Ok(heard) => {
                        if let Some(preview) = self.preview(heard) {
                            return vec![preview];
                        }
                    }
                    // What was lost can't be told any more, so what it was the middle of isn't either.
                    Err(broadcast::error::RecvError::Lagged(_)) => self.started.clear(),
                    Err(broadcast::error::RecvError::Closed) => return Vec::new(),
                },
                tail = self.facts.next() => return self.tell(tail),
            }
        }
    }

    fn tell(&mut self, tail: Option<Result<Tail, StoreError>>) -> Vec<Result<Live, StoreError>> {
        match tail {
            None => Vec::new(),
            Some(Err(error)) => vec![Err(error)],
            Some(Ok(Tail::Deleted)) => vec![Ok(Live::Deleted)],
            Some(Ok(Tail::Facts(facts))) => {
                facts.iter().for_each(|stored| self.note(stored));
                facts.iter().cloned().map(|stored| Ok(Live::Fact(stored))).collect()
            }
        }
    }

    fn preview(&mut self, (attempt, preview): Heard) -> Option<Result<Live, StoreError>> {
        let wanted = self.ended != Some(attempt) && self.fits(&preview);
        wanted.then_some(Ok(Live::Preview(preview)))
    }

    fn fits(&mut self, preview: &Preview) -> bool {
        match preview {
            Preview::Started { item, .. } => {
                self.started.push(*item);
                true
            }
            Preview::Delta { item, .. } => self.started.contains(item),
        }
    }

    fn note(&mut self, stored: &StoredFact) {
        self.at = stored.seq;
        if let Fact::AttemptEnded { attempt, .. } = &*stored.fact {
            self.ended = Some(*attempt);
            self.started.clear();
        }
    }
}
