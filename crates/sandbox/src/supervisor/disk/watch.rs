use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::count::{Count, Room};
use crate::order::Limit;

/// How much a sandbox over its limit may grow before what runs in it is ended once more: removing files takes a little room,
/// too.
const GROWTH: Count = Count { bytes: 1 << 20, inodes: 64 };
/// How many times as many files are counted to the end where nobody knows yet by how much a sandbox is over its limit.
const MORE: u64 = 8;
/// How often one that runs is counted although the file system seems to have become no fuller: somebody else may have removed
/// as much as it wrote.
const COUNT_AGAIN: Duration = Duration::from_secs(10);
/// Counting takes at most a fifth of a processor's time, or in the course of things a twentieth. What it waits for others, who
/// write as fast as the disk can, doesn't count: they go on in the pause.
const PAUSE: u32 = 4;
const LONG_PAUSE: u32 = 20;

/// What is known of what one sandbox has on the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch {
    known: Option<Known>,
    /// Since it is over its limit: which one, and how much it may have before it is ended again.
    over: Option<(Limit, Count)>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    count: Count,
    /// What was in use on the file system when that was counted.
    used: Count,
    at: Instant,
    /// How much of a processor's time that took.
    took: Duration,
    /// Whether a call has run since.
    stale: bool,
    /// Whether counting ended at what was [enough](Watch::enough): there may be any number more.
    cut: bool,
}

/// What a process has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) count: Count,
    /// Whether there was more than enough of something, and the rest wasn't counted.
    pub(crate) cut: bool,
    /// How much of a processor's time it took.
    pub(crate) took: Duration,
}

/// What a count leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The limit that the sandbox is over.
    pub(crate) over: Option<Limit>,
    /// Whether what runs has to end.
    pub(crate) ends: bool,
}

impl Watch {
    /// What it had when it was last counted.
    pub(crate) fn count(&self) -> Option<Count> {
        self.known.map(|known| known.count)
    }

    /// When it was last counted.
    pub(crate) fn counted_at(&self) -> Option<Instant> {
        self.known.map(|known| known.at)
    }

    /// Whether it is to be counted now, given what is in use on the file system.
    pub(crate) fn is_due(&mut self, now: Instant, used: Count, busy: bool, most: Count) -> bool {
        let Some(known) = &mut self.known else { return busy };
        known.stale |= busy;
        let since = now.saturating_duration_since(known.at);
        if since < known.took * PAUSE {
            return false;
        }
        if self.over.is_some() {
            // Either way: to end it again, or to let it write again.
            return used.bytes.abs_diff(known.used.bytes) >= GROWTH.bytes
                || used.inodes.abs_diff(known.used.inodes) >= GROWTH.inodes
                || known.stale && since >= COUNT_AGAIN.min(known.took * LONG_PAUSE + Duration::from_secs(1));
        }
        let room = |most: u64, counted: u64, least: u64| most.saturating_sub(counted).max(least);
        used.bytes.saturating_sub(known.used.bytes) >= room(most.bytes, known.count.bytes, GROWTH.bytes)
            || used.inodes.saturating_sub(known.used.inodes) >= room(most.inodes, known.count.inodes, GROWTH.inodes)
            || known.stale && since >= COUNT_AGAIN.max(known.took * LONG_PAUSE)
    }

    /// Of how much it needn't be known how much more it is: it makes no difference to what is found.
    pub(crate) fn enough(&self, most: Count) -> Count {
        match self.over {
            None => most,
            Some((_, borne)) => Count {
                bytes: borne.bytes.saturating_add(GROWTH.bytes),
                inodes: borne.inodes.saturating_add(GROWTH.inodes),
            },
        }
    }

    /// Judges what was counted last by other limits.
    pub(crate) fn judge_again(&mut self, most: Count) -> Option<Found> {
        let Known { count, used, at, took, cut, .. } = self.known?;
        let known = self.known;
        let found = self.take(Counted { count, cut, took }, used, at, most);
        // Nobody knows whether all there is would be within these.
        self.known = known.filter(|_| !cut);
        Some(found)
    }

    /// Takes what was counted by now.
    pub(crate) fn take(&mut self, counted: Counted, used: Count, now: Instant, most: Count) -> Found {
        let Counted { count, cut, took } = counted;
        let knew = self.known.is_some();
        self.known = Some(Known { count, used, at: now, took, stale: false, cut });
        let over = match count {
            Count { bytes, .. } if bytes > most.bytes => Some(Limit::Disk),
            Count { inodes, .. } if inodes > most.inodes => Some(Limit::Inodes),
            Count { .. } => None,
        };
        let ends = match (over, self.over) {
            (None, _) => false,
            // One that was over from the beginning must be able to remove files.
            (Some(_), None) => knew,
            (Some(_), Some((_, borne))) => {
                count.bytes > borne.bytes.saturating_add(GROWTH.bytes)
                    || count.inodes > borne.inodes.saturating_add(GROWTH.inodes)
            }
        };
        // What it has removed it doesn't get back.
        let borne = match self.over {
            // The next is counted to its end, unless something makes ever more all the same.
            _ if cut => Count { bytes: u64::MAX, inodes: count.inodes.max(most.inodes).saturating_mul(MORE) },
            Some((_, borne)) if !ends => {
                Count { bytes: borne.bytes.min(count.bytes), inodes: borne.inodes.min(count.inodes) }
            }
            Some(_) | None => count,
        };
        self.over = over.map(|limit| (limit, borne));
        Found { over, ends }
    }
}

/// Watches that sandboxes leave the host some of its disk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Floor {
    /// How much there was when sandboxes were last kept from writing.
    low_at: Option<Count>,
}

/// What the host keeps of its disk where nothing else is set: a gibibyte, of small ones a twentieth.
fn default_floor(total_bytes: u64) -> u64 {
    (1 << 30).min(total_bytes / 20)
}

/// The inodes that the host keeps.
const FLOOR_INODES: u64 = 10_000;

impl Floor {
    /// Judges what is left: as for one sandbox that is over its limit, from when it is less than the floor until it is
    /// an eighth more.
    pub(crate) fn judge(&mut self, room: Room, floor_bytes: Option<u64>) -> Found {
        let floor = floor_bytes.unwrap_or_else(|| default_floor(room.total_bytes));
        let margin = if self.low_at.is_some() { floor / 8 } else { 0 };
        let is_low = room.free.bytes < floor.saturating_add(margin) || room.free.inodes < FLOOR_INODES.min(floor);
        let falls = |low_at: Count| {
            room.free.bytes.saturating_add(GROWTH.bytes * 16) < low_at.bytes
                || room.free.inodes.saturating_add(GROWTH.inodes * 16) < low_at.inodes
        };
        let ends = is_low && self.low_at.is_some_and(falls);
        self.low_at = match (is_low, self.low_at) {
            (false, _) => None,
            (true, Some(low_at)) if !ends => Some(low_at),
            (true, _) => Some(room.free),
        };
        Found { over: is_low.then_some(Limit::HostDisk), ends }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Count, Counted, Floor, Found, GROWTH, Watch};
    use crate::order::Limit;
    use crate::supervisor::disk::count::Room;

    const MOST: Count = Count { bytes: 100 << 20, inodes: 1_000 };

    fn mib(mib: u64) -> Count {
        Count { bytes: mib << 20, inodes: 10 }
    }

    fn all(count: Count) -> Counted {
        Counted { count, cut: false, took: Duration::ZERO }
    }

    fn counted(count: Count, used: Count) -> (Watch, Instant) {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.take(all(count), used, now, MOST);
        (watch, now)
    }

    #[test]
    fn it_is_counted_when_it_may_have_become_too_much() {
        let now = Instant::now();
        assert!(Watch::default().is_due(now, mib(0), true, MOST), "a call runs, and nothing is known");
        assert!(!Watch::default().is_due(now, mib(0), false, MOST));
        let soon = Duration::from_millis(200);
        for (used, inodes, later, busy, expected) in [
            (1_000, 10, soon, true, false),
            (1_079, 10, soon, true, false),
            (1_080, 10, soon, true, true),
            (1_080, 10, soon, false, true),
            (1_000, 999, soon, true, false),
            (1_000, 1_000, soon, true, true),
            (500, 10, soon, true, false),
            (1_000, 10, super::COUNT_AGAIN, true, true),
            (1_000, 10, super::COUNT_AGAIN, false, false),
        ] {
            let (mut watch, at) = counted(mib(20), mib(1_000));
            let used = Count { inodes, ..mib(used) };
            assert_eq!(watch.is_due(at + later, used, busy, MOST), expected, "{used:?} after {later:?}");
        }
    }

    #[test]
    fn counting_takes_a_part_of_the_time() {
        let (mut watch, now) = (Watch::default(), Instant::now());
        watch.take(Counted { took: Duration::from_secs(1), ..all(mib(20)) }, mib(1_000), now, MOST);
        assert!(!watch.is_due(now + Duration::from_millis(3_999), mib(2_000), true, MOST));
        assert!(watch.is_due(now + Duration::from_secs(4), mib(2_000), true, MOST));
    }

    #[test]
    fn what_runs_is_ended_when_it_passes_the_limit_and_again_when_it_grows() {
        let (mut watch, now) = counted(mib(99), mib(0));
        let mut take = |count| watch.take(all(count), mib(0), now, MOST);
        let over = |ends| Found { over: Some(Limit::Disk), ends };
        assert_eq!(take(mib(150)), over(true));
        assert_eq!(take(mib(151)), over(false), "little is borne");
        assert_eq!(take(mib(120)), over(false), "files are removed");
        assert_eq!(take(mib(130)), over(true), "and it grows again");
        assert_eq!(take(mib(100)), Found { over: None, ends: false });
        assert_eq!(take(mib(101)), over(true));
        let many = Count { bytes: 0, inodes: 1_001 };
        assert_eq!(take(many).over, Some(Limit::Inodes));
        let plenty = Count { inodes: 2_000, ..mib(2_000) };
        assert_eq!(watch.judge_again(plenty), Some(Found { over: None, ends: false }));
        assert_eq!(counted(mib(101), mib(0)).0.over.map(|(limit, _)| limit), Some(Limit::Disk));
        assert_eq!(Watch::default().take(all(mib(101)), mib(0), now, MOST), over(false), "files can be removed");
    }

    #[test]
    fn what_is_too_much_is_counted_to_its_end_only_once_it_was_ended() {
        let (mut watch, now) = counted(mib(0), mib(0));
        assert_eq!(watch.enough(MOST), MOST);
        let cut = |count| Counted { cut: true, ..all(count) };
        let over = |ends| Found { over: Some(Limit::Disk), ends };
        assert_eq!(watch.take(cut(mib(101)), mib(0), now, MOST), over(true));
        assert_eq!(watch.enough(MOST), Count { bytes: u64::MAX, inodes: 8_000 + GROWTH.inodes });
        assert_eq!(watch.take(all(mib(700)), mib(0), now, MOST), over(false), "it was ended; so much is borne");
        assert_eq!(watch.enough(MOST), Count { bytes: (700 << 20) + GROWTH.bytes, ..watch.enough(MOST) });
        assert_eq!(watch.take(cut(mib(702)), mib(0), now, MOST), over(true), "it grows again");
        // Other limits: how much there is has to be found out.
        assert!(watch.judge_again(mib(10_000)).is_some_and(|found| found.over.is_none()));
        assert!(watch.is_due(now, mib(0), true, mib(10_000)));
    }

    #[test]
    fn one_that_is_over_is_counted_whenever_it_may_have_changed() {
        let (mut watch, at) = counted(mib(150), mib(1_000));
        let soon = at + Duration::from_millis(200);
        assert!(!watch.is_due(soon, mib(1_000), true, MOST));
        assert!(watch.is_due(soon, mib(1_001), true, MOST));
        assert!(watch.is_due(soon, mib(999), true, MOST));
    }

    #[test]
    fn the_host_keeps_the_last_of_its_disk() {
        let room = |free: u64| Room {
            used: mib(0),
            free: Count { bytes: free << 20, inodes: u64::MAX },
            total_bytes: 100 << 30,
        };
        let mut floor = Floor::default();
        let mut judge = |free| floor.judge(room(free), None);
        let low = |ends| Found { over: Some(Limit::HostDisk), ends };
        let fine = Found { over: None, ends: false };
        assert_eq!(judge(1_024), fine);
        assert_eq!(judge(1_023), low(false), "nothing may grow, and what computes goes on");
        assert_eq!(judge(1_010), low(false));
        assert_eq!(judge(1_000), low(true), "something grows all the same");
        assert_eq!(judge(999), low(false));
        assert_eq!(judge(1_100), low(false));
        assert_eq!(judge(1_200), fine);
        assert_eq!(Floor::default().judge(room(5), Some(4 << 20)), fine, "as it is set");
        let small = Room { total_bytes: 1 << 30, ..room(60) };
        assert_eq!(Floor::default().judge(small, None), fine, "of a small disk, less");
    }
}
