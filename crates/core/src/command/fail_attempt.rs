//! A model request failed.

use std::time::Duration;

use crate::compaction::{self, SUMMARY_RETRIES};
use crate::decide::{Draft, Refusal};
use crate::fact::{AfterError, AttemptEnding, Fact, Problem};
use crate::id::AttemptId;
use crate::model::{Failure, FailureKind, TokenUsage};
use crate::session::{Activity, Purpose, RetryPolicy};

/// A request that gave no reply. A transient failure is tried again after a while, until the session's retries are used
/// up; if the conversation is too long, it is made shorter, as far as it can be; any other ends the turn. When a summary
/// can't be had, the conversation is made shorter without it. A failure of a request that isn't in flight any more changes
/// nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct FailAttempt {
    /// Which request.
    pub attempt: AttemptId,
    /// What failed.
    pub failure: Failure,
    /// Whether the provider had begun to answer. If not, the request took nothing.
    pub answered: bool,
}

impl FailAttempt {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Activity::Asking { attempt } = draft.state.thread.activity else { return Ok(()) };
        if attempt.id != self.attempt {
            return Ok(());
        }
        let Failure { kind, message, retry_after } = self.failure;
        let failures = attempt.failures + 1;
        let policy = draft.state.definition.retry;
        let problem = Problem::Model { failure: kind, message };
        let ending = match kind {
            FailureKind::TooLong => AttemptEnding::TooLong,
            FailureKind::Overloaded
            | FailureKind::RateLimited
            | FailureKind::Unavailable
            | FailureKind::Authentication
            | FailureKind::Billing
            | FailureKind::Rejected => AttemptEnding::Failed,
        };
        match self.answered {
            true => draft.end_attempt(attempt, ending),
            false => draft.finish_attempt(attempt, ending, TokenUsage::default()),
        }
        match attempt.purpose {
            Purpose::Reply if ending == AttemptEnding::TooLong => {
                if !compaction::wants_summary(&draft.state, failures) && !draft.shrink() {
                    draft.give_up(problem);
                }
                return Ok(());
            }
            Purpose::Summary if is_about_the_summary(kind, failures, policy) => {
                if ending == AttemptEnding::Failed {
                    let item = draft.ids.item();
                    draft.push(Fact::ErrorRaised { item, problem, next: AfterError::Retrying });
                }
                draft.do_without_summary(failures);
                return Ok(());
            }
            Purpose::Reply | Purpose::Summary => {}
        }
        if !kind.is_transient() || failures > policy.retries {
            draft.give_up(problem);
            return Ok(());
        }
        let item = draft.ids.item();
        draft.push(Fact::ErrorRaised { item, problem, next: AfterError::Retrying });
        let span = wait(policy, failures, retry_after, draft.ids.bits());
        draft.reschedule(failures, span);
        Ok(())
    }
}

/// Whether a summary that failed so is given up, rather than tried again or taken for a failure of every request.
fn is_about_the_summary(kind: FailureKind, failures: u32, policy: RetryPolicy) -> bool {
    match kind {
        FailureKind::Rejected | FailureKind::TooLong => true,
        FailureKind::Authentication | FailureKind::Billing => false,
        FailureKind::Overloaded | FailureKind::RateLimited | FailureKind::Unavailable => {
            failures > SUMMARY_RETRIES.min(policy.retries)
        }
    }
}

/// How long to wait before the `failures`th repetition: doubling from the base, spread over its upper half so that sessions
/// that failed together don't come back together, but never sooner than the provider asks, and never over the cap.
pub(super) fn wait(policy: RetryPolicy, failures: u32, asked: Option<Duration>, random: u128) -> Duration {
    let doubled = policy.base.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(policy.cap);
    let spread = doubled.mul_f64(0.5 + (random % 1024) as f64 / 2048.0);
    spread.max(asked.unwrap_or_default()).min(policy.cap)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::wait;
    use crate::session::RetryPolicy;

    #[test]
    fn waits_double_up_to_the_cap_and_heed_the_provider() {
        let policy = RetryPolicy { retries: 9, base: Duration::from_secs(1), cap: Duration::from_secs(10) };
        let longest = |failures| wait(policy, failures, None, 1023).as_secs_f64().ceil();
        assert_eq!([1, 2, 3, 4, 5, 40].map(longest), [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(wait(policy, 1, None, 0), Duration::from_millis(500));
        assert_eq!(wait(policy, 1, Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
        assert_eq!(wait(policy, 1, Some(Duration::from_secs(700)), 0), policy.cap);
    }
}
