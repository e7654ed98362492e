//! Going back: what a conversation was at an earlier place of its log, and which of its facts it goes by after rewinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::fact::{Fact, StoredFact};
use crate::state::{State, Thread};

/// One time that a session was rewound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewind {
    /// The place of the fact that says so.
    pub place: u64,
    /// The place that the conversation went back to.
    pub to: u64,
}

/// Facts that the conversation doesn't go by any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// After this place …
    pub after: u64,
    /// … up to this one.
    pub until: u64,
}

impl Skipped {
    /// Whether a fact at that place is among them.
    pub fn contains(self, seq: u64) -> bool {
        seq > self.after && seq <= self.until
    }
}

/// What a conversation that stands at `head` doesn't go by, in the order of the log. A rewind to a place that was itself
/// skipped brings back what led there.
pub fn skipped(rewinds: &[Rewind], head: u64) -> Vec<Skipped> {
    let (mut all, mut at) = (Vec::new(), head);
    // What happened since the last rewind counts, and then what counted where that one went.
    for rewind in rewinds.iter().rev() {
        if rewind.place <= at {
            all.push(Skipped { after: rewind.to, until: rewind.place - 1 });
            at = rewind.to;
        }
    }
    all.reverse();
    all
}

/// What goes back when a session is rewound: the conversation as it was at one place of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Past {
    pub(crate) thread: Thread,
    pub(crate) first_line: Option<String>,
    pub(crate) messages: u64,
}

impl State {
    /// The conversation as it is now, to come back to.
    pub fn past(&self) -> Past {
        Past { thread: self.thread.clone(), first_line: self.first_line.clone(), messages: self.messages }
    }

    /// The conversation goes on from an earlier place. It follows [`Fact::SessionRewound`], whose other consequences
    /// [`evolve`](Self::evolve) has taken in. What has been spent stays spent, and cancelled calls may still be ending.
    pub fn go_back(&mut self, past: &Past) {
        let ending = std::mem::take(&mut self.thread.ending);
        let learned_limit = self.thread.learned_limit;
        self.thread = Thread { ending, learned_limit, ..past.thread.clone() };
        self.first_line.clone_from(&past.first_line);
        self.messages = past.messages;
    }
}

/// Reads a log, going back where it says so. For that it has to know beforehand where to.
#[derive(Debug, Clone)]
pub struct Replay {
    state: Option<State>,
    /// What is gone back to, once it has been passed.
    pasts: BTreeMap<u64, Option<Arc<Past>>>,
}

impl Replay {
    /// From the beginning of a log with these rewinds.
    pub fn new(rewinds: &[Rewind]) -> Self {
        Self { state: None, pasts: rewinds.iter().map(|rewind| (rewind.to, None)).collect() }
    }

    /// From a state on. `None` if the rest of the log goes back to before it.
    pub fn from_state(state: State, rewinds: &[Rewind]) -> Option<Self> {
        let later: Vec<Rewind> = rewinds.iter().copied().filter(|rewind| rewind.place > state.seq).collect();
        if later.iter().any(|rewind| rewind.to < state.seq) {
            return None;
        }
        let mut replay = Self { state: Some(state), ..Self::new(&later) };
        replay.remember();
        Some(replay)
    }

    /// Takes in the next fact. A log that doesn't begin with a session's creation leads nowhere.
    pub fn take(&mut self, stored: &StoredFact) {
        match &mut self.state {
            Some(state) => state.evolve(stored),
            None => self.state = State::open(stored),
        }
        if let (Some(state), Fact::SessionRewound { to, .. }) = (&mut self.state, &*stored.fact)
            && let Some(past) = self.pasts.get(to).cloned().flatten()
        {
            state.go_back(&past);
        }
        self.remember();
    }

    /// The state after what was taken in.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// The same, to keep.
    pub fn into_state(self) -> Option<State> {
        self.state
    }

    fn remember(&mut self) {
        if let Some(state) = &self.state
            && let Some(past) = self.pasts.get_mut(&state.seq)
        {
            *past = Some(Arc::new(state.past()));
        }
    }
}

/// The rewinds among these facts.
pub fn rewinds<'f>(facts: impl IntoIterator<Item = &'f StoredFact>) -> Vec<Rewind> {
    let rewind = |stored: &StoredFact| match &*stored.fact {
        Fact::SessionRewound { to, .. } => Some(Rewind { place: stored.seq, to: *to }),
        _ => None,
    };
    facts.into_iter().filter_map(rewind).collect()
}

#[cfg(test)]
mod tests {
    use super::{Rewind, Skipped, skipped};

    fn places(rewinds: &[(u64, u64)], head: u64) -> Vec<u64> {
        let rewinds: Vec<Rewind> = rewinds.iter().map(|(place, to)| Rewind { place: *place, to: *to }).collect();
        let skipped: Vec<Skipped> = skipped(&rewinds, head);
        (1..=head).filter(|seq| !skipped.iter().any(|skipped| skipped.contains(*seq))).collect()
    }

    #[test]
    fn a_rewind_skips_what_lies_between() {
        assert_eq!(places(&[], 4), [1, 2, 3, 4]);
        assert_eq!(places(&[(7, 3)], 9), [1, 2, 3, 7, 8, 9]);
    }

    #[test]
    fn rewinds_nest_and_follow_one_another() {
        assert_eq!(places(&[(5, 3), (8, 6)], 9), [1, 2, 3, 5, 6, 8, 9]);
        assert_eq!(places(&[(5, 3), (8, 2)], 9), [1, 2, 8, 9]);
    }

    #[test]
    fn a_rewind_to_what_was_skipped_brings_it_back() {
        assert_eq!(places(&[(7, 3), (10, 5)], 11), [1, 2, 3, 4, 5, 10, 11]);
        // To behind the first rewind, which then counts again.
        assert_eq!(places(&[(7, 3), (10, 5), (12, 8)], 13), [1, 2, 3, 7, 8, 12, 13]);
    }
}
