//! The port: what every provider of models does.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use tenure_core::model::{Failure, Reply, Request};

/// A source of model replies.
pub trait ModelProvider: Send + Sync + std::fmt::Debug {
    /// The provider's short name, for logs and lists.
    fn name(&self) -> &'static str;

    /// Streams one reply. The last item is [`Event::Finished`] or an error; after it the stream ends. Nothing is sent
    /// before the first poll, and dropping the stream aborts the request. `request.model.id` is the routed name
    /// (`openai/<model>`), from which a provider strips its own prefix once.
    fn stream(&self, request: Arc<Request>) -> BoxStream<'static, Result<Event, Failure>>;

    /// The models it offers.
    fn models(&self) -> BoxFuture<'_, Result<Vec<ModelInfo>, Failure>>;
}

/// One thing a stream tells. An `index` counts the reply's parts: part `index` of the finished [`Reply`] is the sum of
/// its deltas.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The provider has begun to answer.
    Started,
    /// More text of a part.
    TextDelta {
        /// Which part of the reply.
        index: u32,
        /// The text to add; never empty.
        text: String,
    },
    /// More thinking of a part.
    ThinkingDelta {
        /// Which part of the reply.
        index: u32,
        /// The text to add; never empty.
        text: String,
    },
    /// The whole reply.
    Finished(Reply),
}

/// A model on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// The name that routes to it, prefix included.
    pub id: String,
    /// The provider's name for people, if it has one.
    pub display_name: Option<String>,
}
