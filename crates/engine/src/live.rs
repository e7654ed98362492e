//! What is live only: previews of what a model is just saying.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tenure_core::fact::{Fact, StoredFact};
use tenure_core::id::{AttemptId, ItemId, SessionId};
use tenure_store::{Error as StoreError, Tail};
use tokio::sync::broadcast;

/// Previews a listener may lag behind before it gets what it misses in one piece.
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

    /// Listens from now on. What the attempt in flight has said before, beyond what the listener has been told already,
    /// comes along: joined, so that a listener that lags is told less often, not more.
    fn listen(&self, told: &Told) -> (VecDeque<Heard>, broadcast::Receiver<Heard>) {
        let mut inner = self.lock();
        let mut missed = VecDeque::new();
        if let Some(current) = &inner.current {
            for (item, part, text) in &current.items {
                let (item, part) = (*item, *part);
                let told = told.of(item);
                if told.is_none() {
                    missed.push_back((current.id, Preview::Started { item, part }));
                }
                if let Some(text) = text.get(told.unwrap_or(0)..).filter(|text| !text.is_empty()) {
                    missed.push_back((current.id, Preview::Delta { item, part, text: text.into() }));
                }
            }
        }
        let listeners = inner.listeners.get_or_insert_with(|| broadcast::Sender::new(LAG));
        (missed, listeners.subscribe())
    }

    /// A listener is about to leave. After the last one the buffer goes, which is more than all else of an idle session.
    fn leave(&self) {
        let mut inner = self.lock();
        if inner.listeners.as_ref().is_some_and(|listeners| listeners.receiver_count() <= 1) {
            inner.listeners = None;
        }
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

/// How much of each item of the attempt in flight a listener has been told, in bytes.
#[derive(Debug, Default)]
struct Told {
    items: Vec<(ItemId, usize)>,
}

impl Told {
    /// `None` for an item whose beginning hasn't been told.
    fn of(&self, item: ItemId) -> Option<usize> {
        self.items.iter().find(|(known, _)| *known == item).map(|(_, told)| *told)
    }

    /// Takes note of a preview; says whether it joins on to what was told before.
    fn add(&mut self, preview: &Preview) -> bool {
        match preview {
            Preview::Started { item, .. } => {
                let new = self.of(*item).is_none();
                if new {
                    self.items.push((*item, 0));
                }
                new
            }
            Preview::Delta { item, text, .. } => match self.items.iter_mut().find(|(known, _)| known == item) {
                Some((_, told)) => {
                    *told += text.len();
                    true
                }
                None => false,
            },
        }
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
    let told = Told::default();
    let (missed, previews) = channel.listen(&told);
    let state = Merge { facts, previews, channel, missed, at: after, head, ended: None, told };
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
    channel: Arc<Channel>,
    /// What was said while this stream didn't listen.
    missed: VecDeque<Heard>,
    /// The place of the last fact this stream has told.
    at: u64,
    /// The place up to which facts come without previews between them.
    head: u64,
    /// The last attempt whose end this stream has told: nothing of it is previewed any more.
    ended: Option<AttemptId>,
    told: Told,
}

impl Drop for Merge {
    fn drop(&mut self) {
        self.channel.leave();
    }
}

impl Merge {
    async fn next(&mut self) -> Vec<Result<Live, StoreError>> {
        loop {
            if self.at < self.head {
                let tail = self.facts.next().await;
                return self.tell(tail);
            }
            if let Some(heard) = self.missed.pop_front() {
                match self.preview(heard) {
                    Some(preview) => return vec![Ok(Live::Preview(preview))],
                    None => continue,
                }
            }
            tokio::select! {
                biased;
                heard = self.previews.recv() => match heard {
                    Ok(heard) => {
                        if let Some(preview) = self.preview(heard) {
                            return vec![Ok(Live::Preview(preview))];
                        }
                    }
                    // What was lost is part of the text so far, unless it is a fact by now.
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        (self.missed, self.previews) = self.channel.listen(&self.told);
                    }
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

    fn preview(&mut self, (attempt, preview): Heard) -> Option<Preview> {
        let wanted = self.ended != Some(attempt) && self.told.add(&preview);
        wanted.then_some(preview)
    }

    fn note(&mut self, stored: &StoredFact) {
        self.at = stored.seq;
        if let Fact::AttemptEnded { attempt, .. } = &*stored.fact {
            self.ended = Some(*attempt);
            self.told = Told::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use futures_util::{FutureExt, StreamExt, stream};
    use tenure_core::id::{AttemptId, ItemId};

    use super::{Channel, LAG, Live, Preview, PreviewPart, merge};

    /// What a listener that is always there is told, put together by item, and in how many pieces.
    fn drain(
        told: &mut (impl futures_util::Stream<Item = Result<Live, tenure_store::Error>> + Unpin),
        texts: &mut HashMap<ItemId, String>,
    ) -> usize {
        let mut pieces = 0;
        while let Some(Some(live)) = told.next().now_or_never() {
            match live.expect("nothing fails") {
                Live::Preview(Preview::Started { item, .. }) => {
                    assert!(texts.insert(item, String::new()).is_none(), "an item begins once");
                }
                Live::Preview(Preview::Delta { item, text, .. }) => {
                    texts.get_mut(&item).expect("a piece comes after its beginning").push_str(&text);
                }
                Live::Fact(_) | Live::Deleted => panic!("nothing is stored here"),
            }
            pieces += 1;
        }
        pieces
    }

    #[test]
    fn a_listener_that_lags_gets_what_it_missed_in_one_piece() {
        let channel = Arc::new(Channel::new());
        let mut told = merge(stream::pending().boxed(), channel.clone(), 0, 0);
        let attempt = AttemptId::from_bits(1);
        let (thought, message) = (ItemId::from_bits(2), ItemId::from_bits(3));
        let mut texts = HashMap::new();
        let mut said = String::new();
        let mut say = |words: usize| {
            for number in 0..words {
                let word = format!("{number} wörter, ");
                channel.say(attempt, message, PreviewPart::Message, &word);
                said.push_str(&word);
            }
            said.clone()
        };
        channel.say(attempt, thought, PreviewPart::Thinking, "hm");
        let expected = say(3);
        assert_eq!(drain(&mut told, &mut texts), 2 + 4, "one who keeps up gets every piece");
        assert_eq!(texts[&message], expected);
        let expected = say(10 * LAG);
        assert_eq!(drain(&mut told, &mut texts), 1, "what was missed comes at once");
        assert_eq!((&texts[&thought], &texts[&message]), (&"hm".to_owned(), &expected));
        let expected = say(2);
        assert_eq!(drain(&mut told, &mut texts), 2, "and it goes on as before");
        assert_eq!(texts[&message], expected);
    }

    #[test]
    fn a_listener_that_misses_a_whole_attempt_is_told_the_next_one_from_its_beginning() {
        let channel = Arc::new(Channel::new());
        let mut told = merge(stream::pending().boxed(), channel.clone(), 0, 0);
        let (first, second) = (AttemptId::from_bits(1), AttemptId::from_bits(2));
        for _ in 0..2 * LAG {
            channel.say(first, ItemId::from_bits(3), PreviewPart::Message, "lost ");
        }
        channel.finish(first);
        for _ in 0..2 * LAG {
            channel.say(second, ItemId::from_bits(4), PreviewPart::Message, "x");
        }
        let mut texts = HashMap::new();
        assert_eq!(drain(&mut told, &mut texts), 2);
        assert_eq!(texts, HashMap::from([(ItemId::from_bits(4), "x".repeat(2 * LAG))]));
    }
}
