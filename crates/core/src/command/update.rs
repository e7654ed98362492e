//! Somebody changes a session's title, metadata or labels, or its agent's tools.

use crate::agent::ToolConfig;
use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::phase::Fold;
use crate::session::{Labels, Lifecycle, MAX_METADATA, Metadata};

/// What is to change; `None` leaves a part as it is. Tools change only while no turn is under way.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update {
    /// The new title; the inner `None` clears it.
    pub title: Option<Option<String>>,
    /// Metadata by key; `None` removes the key.
    pub metadata: Vec<(String, Option<String>)>,
    /// The whole new labels.
    pub labels: Option<Labels>,
    /// The agent's whole new tools.
    pub tools: Option<Vec<ToolConfig>>,
}

impl Update {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let state = &draft.state;
        if let Lifecycle::Closing { outcome, .. } | Lifecycle::Ended { outcome, .. } = state.lifecycle {
            return Err(Refusal::Ended { outcome });
        }
        if self.tools.is_some() && matches!(state.fold(), Fold::Working | Fold::Rescheduling) {
            return Err(Refusal::Busy);
        }
        let mut metadata: Metadata = state.metadata.clone();
        for (key, value) in self.metadata {
            match value {
                Some(value) => drop(metadata.insert(key, value)),
                None => drop(metadata.remove(&key)),
            }
        }
        // What was stored before there was such a limit may still be changed.
        let pairs = metadata.len();
        if pairs > MAX_METADATA.max(state.metadata.len()) {
            return Err(Refusal::TooMuchMetadata { pairs });
        }
        let title = self.title.filter(|title| *title != state.title);
        let metadata = Some(metadata).filter(|metadata| *metadata != state.metadata);
        let labels = self.labels.filter(|labels| *labels != state.labels);
        let tools = self.tools.filter(|tools| *tools != state.definition.agent.tools);
        if title.is_some() || metadata.is_some() || labels.is_some() || tools.is_some() {
            let item = draft.ids.item();
            draft.push(Fact::SessionUpdated { item, title, metadata, labels, tools });
        }
        Ok(())
    }
}
