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

    /// The time.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
            Self::Manual(time) => Timestamp::from_micros(*time.now.borrow()),
        }
    }

    /// Waits until the time is at least `at`.
    pub async fn sleep_until(&self, at: Timestamp) {
        match self {
            Self::System => tokio::time::sleep(at.since(self.now())).await,
            Self::Manual(time) => {
                let mut now = time.now.subscribe();
                // The sender lives as long as the clock does, so waiting can't fail.
                let _ = now.wait_for(|now| *now >= at.as_micros()).await;
            }
        }
    }

    /// The time and fresh ids for one decision.
    pub fn moment(&self) -> Moment {
        Moment { at: self.now(), ids: self.ids() }
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
