//! What a check of the store needs to know of facts: what a session's row and kept state have to be.

use serde_json::Value;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_core::past::{Replay as LogReplay, Rewind};
use tenure_core::state::State;
use tenure_store::{CachedState, Disagreement, Part, Replay, SessionRow};

use crate::owner::STATE_FORMAT;

/// Replays sessions for a check, one at a time.
#[derive(Debug, Default)]
pub struct Replayer {
    log: Option<LogReplay>,
    /// The state that was kept and hasn't been compared yet.
    kept: Option<State>,
    disagreements: Vec<Disagreement>,
}

impl Replayer {
    fn disagree(&mut self, part: Part, what: String) {
        self.disagreements.push(Disagreement { part, what });
    }

    fn state(&self) -> Option<&State> {
        self.log.as_ref()?.state()
    }

    fn compare_kept(&mut self) {
        let (Some(state), Some(kept)) = (self.state(), &self.kept) else { return };
        if kept.seq != state.seq {
            return;
        }
        let differences = (kept != state).then(|| differences(kept, state));
        let seq = state.seq;
        self.kept = None;
        if let Some(differences) = differences {
            let what = format!("the state kept at fact {seq} isn't that of the log: it differs in {differences}");
            self.disagree(Part::State, what);
        }
    }
}

impl Replay for Replayer {
    fn begin(&mut self, _: SessionId, rewinds: &[Rewind], kept: Option<CachedState>) {
        *self = Self { log: Some(LogReplay::new(rewinds)), ..Self::default() };
        // One of another format is ignored by whoever wakes the session, too.
        let Some(kept) = kept.filter(|kept| kept.format == STATE_FORMAT) else { return };
        match serde_json::from_slice::<State>(&kept.blob) {
            Ok(state) if state.seq == kept.seq => self.kept = Some(state),
            Ok(state) => {
                let what = format!("the state kept at fact {} says that it is of fact {}", kept.seq, state.seq);
                self.disagree(Part::State, what);
            }
            Err(error) => self.disagree(Part::State, format!("the kept state can't be read: {error}")),
        }
    }

    fn fact(&mut self, fact: &StoredFact) {
        if let Some(log) = &mut self.log {
            log.take(fact);
        }
        self.compare_kept();
    }

    fn end(&mut self, row: Option<&SessionRow>) -> Vec<Disagreement> {
        if let Some(kept) = &self.kept {
            let what = format!("a state is kept at fact {}, which the log doesn't have", kept.seq);
            self.disagree(Part::State, what);
        }
        match (self.state(), row) {
            (None, _) => self.disagree(Part::Log, "the log doesn't begin with the session's creation".to_owned()),
            (Some(_), None) => {}
            (Some(state), Some(row)) => {
                let (summary, definition) = (state.summary(), state.definition.clone());
                if row.summary != summary {
                    let differences = differences(&row.summary, &summary);
                    self.disagree(Part::Row, format!("the row isn't that of the log: it differs in {differences}"));
                }
                if row.definition != definition {
                    let differences = differences(&*row.definition, &*definition);
                    let what = format!("the definition isn't that of the log: it differs in {differences}");
                    self.disagree(Part::Definition, what);
                }
            }
        }
        std::mem::take(&mut self.disagreements)
    }

    fn row(&self) -> Option<SessionRow> {
        let state = self.state()?;
        Some(SessionRow { summary: state.summary(), definition: state.definition.clone() })
    }
}

/// The names of the fields in which two values differ. Their contents stay where they are: people said them.
fn differences(left: &impl serde::Serialize, right: &impl serde::Serialize) -> String {
    let fields = |value: Result<Value, _>| match value {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (left, right) = (fields(serde_json::to_value(left)), fields(serde_json::to_value(right)));
    let mut names: Vec<_> =
        left.keys().chain(right.keys()).filter(|name| left.get(*name) != right.get(*name)).collect();
    names.sort();
    names.dedup();
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
