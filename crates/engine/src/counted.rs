//! What is counted of what happened: from stored facts, so that a number says what is so.

use tenure_core::fact::{AttemptEnding, CallEnding, Fact, StoredFact};

/// Counts facts that were just stored.
pub(crate) fn stored(facts: &[StoredFact]) {
    for stored in facts {
        match &*stored.fact {
            Fact::AttemptEnded { ending, .. } => {
                let how = match ending {
                    AttemptEnding::Replied => "replied",
                    AttemptEnding::Cut => "cut",
                    AttemptEnding::Failed => "failed",
                    AttemptEnding::TooLong => "too_long",
                    AttemptEnding::Interrupted => "interrupted",
                    AttemptEnding::Lost => "lost",
                };
                metrics::counter!("tenure_attempts_ended_total", "how" => how).increment(1);
            }
            Fact::CallEnded { ending, .. } => {
                let how = match ending {
                    CallEnding::Finished => "finished",
                    CallEnding::Cancelled => "cancelled",
                    CallEnding::Interrupted => "interrupted",
                    CallEnding::Skipped => "skipped",
                    CallEnding::Denied => "denied",
                    CallEnding::Lost => "lost",
                };
                metrics::counter!("tenure_calls_ended_total", "how" => how).increment(1);
            }
            Fact::ConversationCompacted { summary, .. } => {
                let how = if summary.is_some() { "summary" } else { "left_out" };
                metrics::counter!("tenure_compactions_total", "how" => how).increment(1);
            }
            Fact::SessionRescheduled { .. } => metrics::counter!("tenure_retries_total").increment(1),
            _ => {}
        }
    }
}
