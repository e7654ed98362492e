//! A model request failed.

use std::time::Duration;

use crate::decide::{Draft, Refusal};
use crate::fact::{AfterError, AttemptEnding, Fact, Problem};
use crate::id::AttemptId;
use crate::model::Failure;
use crate::session::{Activity, RetryPolicy};

/// A request that gave no reply. A transient failure is tried again after a while, until the session's retries are used
/// up; any other ends the turn. A failure of a request that isn't in flight any more changes nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct FailAttempt {
    /// Which request.
    pub attempt: AttemptId,
    /// What failed.
    pub failure: Failure,
}

impl FailAttempt {
    pub(super) fn decide(self, draft: &mut Draft) -> Result<(), Refusal> {
        let Activity::Asking { attempt } = draft.state.thread.activity else { return Ok(()) };
        if attempt.id != self.attempt {
            return Ok(());
        }
        draft.end_attempt(attempt, AttemptEnding::Failed);
        let Failure { kind, message, retry_after } = self.failure;
        let policy = draft.state.definition.retry;
        let failures = attempt.failures + 1;
        let problem = Problem::Model { failure: kind, message };
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
