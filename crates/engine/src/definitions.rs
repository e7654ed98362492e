//! Equal definitions are kept in memory once, however many awake sessions have them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tenure_core::id::{AgentId, EnvironmentId};
use tenure_core::session::Definition;

/// What is likely to tell definitions apart; equality decides.
type Key = (AgentId, u32, EnvironmentId);

/// Definitions in use.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    known: Mutex<HashMap<Key, Weak<Definition>>>,
}

impl Definitions {
    /// The definition that is in memory already, if it is equal to this one; else this one.
    pub(crate) fn share(&self, definition: Arc<Definition>) -> Arc<Definition> {
        let key = (definition.agent.id, definition.agent.version, definition.environment.id);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&key).and_then(Weak::upgrade).filter(|shared| **shared == *definition) {
            Some(shared) => shared,
            None => {
                if known.len() >= 64 && known.len().is_power_of_two() {
                    known.retain(|_, definition| definition.strong_count() > 0);
                }
                known.insert(key, Arc::downgrade(&definition));
                definition
            }
        }
    }
}
