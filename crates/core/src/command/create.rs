//! Creating a session: the only decision without a state.

use std::sync::Arc;

use crate::decide::Moment;
use crate::fact::{Fact, StoredFact};
use crate::id::{SessionId, ThreadId};
use crate::price::Budget;
use crate::session::{Definition, Labels, Metadata};

/// What a new session is.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// Its id.
    pub session: SessionId,
    /// Its agent, environment and lifetimes.
    pub definition: Arc<Definition>,
    /// A label for people.
    pub title: Option<String>,
    /// Names and values of the client's.
    pub metadata: Metadata,
    /// Short words to find it again by.
    pub labels: Labels,
    /// What it may cost. Its model must have a price.
    pub budget: Option<Budget>,
}

/// The first fact of a session. Input that comes with it is sent afterwards, in the same append.
pub fn create(command: Create, mut moment: Moment) -> StoredFact {
    let Create { session, definition, title, metadata, labels, budget } = command;
    let thread = ThreadId::from_bits(moment.ids.bits());
    let fact = Fact::SessionCreated { definition, thread, title, metadata, labels, budget };
    StoredFact { session, seq: 1, at: moment.at, fact: Arc::new(fact) }
}
