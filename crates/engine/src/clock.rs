use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tenure_core::decide::Moment;
use tenure_core::id::Ids;
use tenure_core::time::Timestamp;
use tokio::sync::watch;

/// Where the engine gets time and randomness from: the one seam a test needs to play both by hand.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// A hand-moved time, as microseconds since the epoch.
    Manual(Arc<ManualTime>),
}

/// How long to sleep at most before looking at the clock again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// A clock that is set back by less is waited for.
const SLIGHT: i64 = 1_000_000;

/// The system's time as this process tells it.
static STEADY: Mutex<Steady> = Mutex::new(Steady { ahead: 0, last: i64::MIN });

/// A time that goes on when the clock on the wall is set back, so that no deadline of this process comes later for it.
#[derive(Debug)]
struct Steady {
    /// How far it is ahead of the wall, in microseconds.
    ahead: i64,
    /// What it told last.
    last: i64,
}

impl Steady {
    fn tell(&mut self, wall: i64) -> i64 {
        if wall >= self.last {
            self.ahead = 0;
        }
        let mut now = wall.saturating_add(self.ahead);
        let back = self.last.saturating_sub(now);
        if back > 0 {
            if back > SLIGHT {
                tracing::warn!(seconds = back / 1_000_000, "the clock was set back; time goes on from where it was");
                self.ahead = self.ahead.saturating_add(back);
            }
            now = self.last;
        }
        self.last = now;
        now
    }
}

/// A time that stands still until it is moved.
#[derive(Debug)]
pub struct ManualTime {
    now: watch::Sender<i64>,
    seed: Mutex<u64>,
}

impl Clock {
    /// A clock that stands at this time until [`advance`](Self::advance).
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(ManualTime { now: watch::Sender::new(start.as_micros()), seed: Mutex::new(0) }))
    }

    /// Moves a manual clock on; does nothing to the system's.
    pub fn advance(&self, span: Duration) {
        match self {
            Self::System => {}
            Self::Manual(time) => {
                time.now.send_modify(|now| *now = Timestamp::from_micros(*now).after(span).as_micros());
            }
        }
    }

    /// Sets a manual clock, also back; does nothing to the system's.
    pub fn set(&self, at: Timestamp) {
        match self {
            Self::System => {}
            Self::Manual(time) => drop(time.now.send_replace(at.as_micros())),
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let wall = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(STEADY.lock().unwrap_or_else(PoisonError::into_inner).tell(wall))
            }
            Self::Manual(time) => Timestamp::from_micros(*time.now.borrow()),
        }
    }

    /// Waits until the time is at least `at`.
    pub async fn sleep_until(&self, at: Timestamp) {
        match self {
            Self::System => loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                // The clock may be set, and the machine may sleep, meanwhile.
                tokio::time::sleep(left.min(LOOK_AGAIN)).await;
            },
            Self::Manual(time) => {
                let mut now = time.now.subscribe();
                // The sender lives as long as the clock does, so waiting can't fail.
                let _ = now.wait_for(|now| *now >= at.as_micros()).await;
            }
        }
    }

    /// The time and fresh ids for one decision, while nobody uses the sandbox.
    pub fn moment(&self) -> Moment {
        Moment { at: self.now(), ids: self.ids(), in_use: false }
    }

    /// Fresh ids.
    pub fn ids(&self) -> Ids {
        let mut seed = [0; 16];
        match self {
            Self::Manual(time) => {
                let mut next = time.seed.lock().unwrap_or_else(PoisonError::into_inner);
                *next += 1;
                seed[..8].copy_from_slice(&next.to_le_bytes());
            }
            Self::System => getrandom::fill(&mut seed).expect("the system has random bytes"),
        }
        Ids::Seeded(u128::from_le_bytes(seed))
    }
}

#[cfg(test)]
mod tests {
    use super::Steady;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn time_goes_on_when_the_clock_is_set_back_and_follows_when_it_is_set_forward() {
        let mut steady = Steady { ahead: 0, last: i64::MIN };
        let told: Vec<i64> =
            [100, 101, 41, 42, 43, 30, 31, 200, 201].iter().map(|wall| steady.tell(wall * SECOND) / SECOND).collect();
        assert_eq!(told, [100, 101, 101, 102, 103, 103, 104, 200, 201]);
    }

    #[test]
    fn a_clock_that_is_set_back_slightly_is_waited_for() {
        let mut steady = Steady { ahead: 0, last: i64::MIN };
        let told = [1_000_000, 999_000, 1_000_500, 1_001_000].map(|wall| steady.tell(wall));
        assert_eq!(told, [1_000_000, 1_000_000, 1_000_500, 1_001_000]);
    }
}
