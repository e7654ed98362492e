//! Everything in memory: for tests, and the plainest statement of what a store does.

mod facts;
mod resources;
mod sessions;
mod settings;
mod state;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;
use tenure_core::fact::StoredFact;

use crate::tails::Hub;
use state::State;

/// A store that forgets everything when the last clone is dropped.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    hub: Arc<Hub>,
    generation: u64,
    facts_read: Arc<AtomicU64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store of a later generation, as if it came from a backup.
    pub fn of_generation(generation: u64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// How many facts were read out of logs so far, followers' aside: for tests that count.
    pub fn facts_read(&self) -> u64 {
        self.facts_read.load(Ordering::Relaxed)
    }

    fn count(&self, facts: Vec<StoredFact>) -> Vec<StoredFact> {
        self.facts_read.fetch_add(facts.len() as u64, Ordering::Relaxed);
        facts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the state in one step, when the future is polled.
    fn step<T: Send + 'static>(&self, step: impl FnOnce(&mut State) -> T + Send + 'static) -> BoxFuture<'_, T> {
        Box::pin(async move { step(&mut self.lock()) })
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
