//! Somebody changes a session's title, metadata or labels, its agent's tools, its budget or the limits of its sandbox.

use crate::agent::{LimitsChange, ToolConfig};
use crate::decide::{Draft, Refusal};
use crate::fact::Fact;
use crate::phase::Fold;
use crate::price::Budget;
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
    /// The new budget; the inner `None` takes it away for good. Work that had stopped for the old one goes on.
    pub budget: Option<Option<Budget>>,
    /// Other limits of its sandbox. Whoever asks for it has them applied to the one that is alive.
    pub limits: LimitsChange,
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
        if let Some(Some(budget)) = self.budget {
            check_budget(draft, budget)?;
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
        let budget = self.budget.filter(|budget| *budget != state.budget);
        let labelled = title.is_some() || metadata.is_some() || labels.is_some();
        let before = state.definition.environment.limits;
        let limits = Some(self.limits.apply(before)).filter(|limits| *limits != before);
        if labelled || tools.is_some() || budget.is_some() || limits.is_some() {
            let item = draft.ids.item();
            draft.push(Fact::SessionUpdated { item, title, metadata, labels, tools, budget, limits });
        }
        if budget.is_some() {
            draft.go_on_within_budget();
        }
        Ok(())
    }
}

/// A budget can be changed, not added, and is above what has been spent.
fn check_budget(draft: &Draft, budget: Budget) -> Result<(), Refusal> {
    let spent = draft.state.list_cost(draft.at);
    let (Some(_), Some(spent)) = (draft.state.budget, spent) else { return Err(Refusal::BudgetCreateOnly) };
    match budget.max_list_cost_cents > spent.cents() {
        true => Ok(()),
        false => Err(Refusal::BudgetNotRaised { spent_cents: spent.cents(), given_cents: budget.max_list_cost_cents }),
    }
}
