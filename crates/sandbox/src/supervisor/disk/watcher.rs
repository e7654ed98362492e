use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tenure_core::id::SessionId;

use super::count::{Count, Room, count};
use super::watch::{Counted, Floor, Found, Watch};
use crate::guest::{executor, privileges, signals};
use crate::order::Limit;
use crate::supervisor::Board;
use crate::supervisor::head::Head;

/// How often the file system is looked at while a call runs, and while none does but something may be running that one has
/// left behind.
const LOOK: Duration = Duration::from_millis(200);
const LOOK_IDLE: Duration = Duration::from_secs(2);

/// How much lower the priority of a process that counts is than that of one that works.
const NICE: i32 = 10;

/// Watches what all sandboxes have on the disk. It never waits: processes of its own count, one at a time.
#[derive(Debug)]
pub(crate) struct Watcher {
    dir: PathBuf,
    floor_bytes: Option<u64>,
    floor: Floor,
    watches: HashMap<SessionId, Watch>,
    counting: Option<Counting>,
    /// What was due at the last look and is not counted yet, the next one last.
    due: Vec<Subject>,
    /// Somebody wants to know what these have, live ones and others.
    wanted: VecDeque<(SessionId, Option<Subject>)>,
    /// As above, of which counting couldn't even be begun; nobody has been told yet.
    unbegun: VecDeque<SessionId>,
    looked: Option<Instant>,
}

/// A sandbox as the watcher has to know it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) session: SessionId,
    pub(crate) keeper: i32,
    pub(crate) board: &'static Board,
}

/// What a process has counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) session: SessionId,
    /// Nothing if it couldn't be counted.
    pub(crate) count: Option<Count>,
    /// What that leads to, of one that is alive.
    pub(crate) found: Option<Found>,
}

/// A process that counts.
#[derive(Debug)]
struct Counting {
    session: SessionId,
    worker: OwnedFd,
    answer: OwnedFd,
    text: Vec<u8>,
    used: Count,
}

impl Watcher {
    pub(crate) fn new(dir: &Path, floor_bytes: Option<u64>) -> Self {
        let (floor, watches) = (Floor::default(), HashMap::new());
        let (due, wanted, unbegun) = (Vec::new(), VecDeque::new(), VecDeque::new());
        Self { dir: dir.to_owned(), floor_bytes, floor, watches, counting: None, due, wanted, unbegun, looked: None }
    }

    /// How long until it wants to look again.
    pub(crate) fn timeout(&self, busy: bool) -> Duration {
        let every = if busy { LOOK } else { LOOK_IDLE };
        self.looked.map_or(Duration::ZERO, |looked| every.saturating_sub(looked.elapsed()))
    }

    /// What says that a count is done.
    pub(crate) fn answer(&self) -> Option<BorrowedFd<'_>> {
        self.counting.as_ref().map(|counting| counting.answer.as_fd())
    }

    /// What a live sandbox had when it was last counted.
    pub(crate) fn count(&self, session: SessionId) -> Option<Count> {
        self.watches.get(&session).and_then(Watch::count)
    }

    /// Has what a session has counted soon, whether it is alive or not; [`hear`](Self::hear) tells.
    pub(crate) fn want(&mut self, session: SessionId, live: Option<Subject>) {
        if !self.wanted.iter().any(|(wanted, _)| *wanted == session) {
            self.wanted.push_back((session, live));
        }
        self.start_wanted();
    }

    fn start_wanted(&mut self) {
        while self.counting.is_none()
            && let Some((session, live)) = self.wanted.pop_front()
        {
            self.start(session, live);
            if self.counting.is_none() {
                self.unbegun.push_back(session);
            }
        }
    }

    /// Whether [`hear`](Self::hear) has something to tell at once.
    pub(crate) fn has_news(&self) -> bool {
        !self.unbegun.is_empty()
    }

    fn start_due(&mut self) {
        while self.counting.is_none()
            && let Some(subject) = self.due.pop()
        {
            self.start(subject.session, Some(subject));
        }
    }

    fn start(&mut self, session: SessionId, live: Option<Subject>) {
        let used = Room::of(&self.dir).map(|room| room.used).unwrap_or_default();
        let enough = live.map_or(Count::MAX, |live| self.enough(live));
        let keeper = live.map(|live| live.keeper);
        self.counting = Counting::start(session, keeper, &files_of(&self.dir, session), used, enough);
    }

    fn enough(&self, subject: Subject) -> Count {
        let most = most(subject.board);
        self.watches.get(&subject.session).map_or(most, |watch| watch.enough(most))
    }

    /// Counts nothing more: what is being counted may be large, and nobody wants to know any more.
    pub(crate) fn end(&mut self) {
        self.wanted.clear();
        self.due.clear();
        if let Some(counting) = self.counting.take() {
            let _ = pidfd_send_signal(&counting.worker, Signal::KILL);
        }
    }

    /// A sandbox is no more.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.watches.remove(&session);
        self.due.retain(|subject| subject.session != session);
    }

    /// Looks whether it is time to, and has what may have become too large counted; says what
    /// the host's disk demands of all of them, and of layers that are being built.
    pub(crate) fn look(&mut self, subjects: &[Subject], building: bool) -> Option<Found> {
        let busy = building || subjects.iter().any(|subject| subject.board.is_busy());
        if subjects.is_empty() && !building || self.timeout(busy) > Duration::ZERO {
            return None;
        }
        let now = Instant::now();
        self.looked = Some(now);
        let room = Room::of(&self.dir).ok()?;
        self.due = self.due(subjects, now, room);
        self.start_due();
        Some(self.floor.judge(room, self.floor_bytes))
    }

    /// Those that are to be counted now, who has waited longest last. While one of them fills the disk all may be due, time and again.
    fn due(&mut self, subjects: &[Subject], now: Instant, room: Room) -> Vec<Subject> {
        let mut due: Vec<(Option<Instant>, Subject)> = subjects
            .iter()
            .filter_map(|subject| {
                let watch = self.watches.entry(subject.session).or_default();
                let is_due = watch.is_due(now, room.used, subject.board.is_busy(), most(subject.board));
                is_due.then(|| (watch.counted_at(), *subject))
            })
            .collect();
        due.sort_by_key(|(counted_at, _)| std::cmp::Reverse(*counted_at));
        due.into_iter().map(|(_, subject)| subject).collect()
    }

    /// Whether so little is left of the host's disk that nothing more may be written to it.
    pub(crate) fn is_low(&self) -> bool {
        let mut floor = self.floor;
        Room::of(&self.dir).is_ok_and(|room| floor.judge(room, self.floor_bytes).over.is_some())
    }

    /// Judges a sandbox again, whose limits are others now. Where that takes knowing more than was counted, it is counted now: before
    /// it passes the new limit, as one has to be known by then that is ended for that at the first look.
    pub(crate) fn judge_again(&mut self, subject: Subject) -> Option<Found> {
        let watch = self.watches.get_mut(&subject.session)?;
        let found = watch.judge_again(most(subject.board));
        if watch.count().is_none() {
            self.want(subject.session, Some(subject));
        }
        found
    }

    /// Takes what a process has counted, when it is done.
    pub(crate) fn hear(&mut self, board: impl FnOnce(SessionId) -> Option<&'static Board>) -> Option<Heard> {
        if let Some(session) = self.unbegun.pop_front() {
            return Some(Heard { session, count: None, found: None });
        }
        let counting = self.counting.as_mut()?;
        if !counting.is_done() {
            return None;
        }
        let Counting { session, text, used, .. } = self.counting.take()?;
        self.start_wanted();
        self.start_due();
        // One that was killed has said nothing; it is due again.
        let counted: Option<Counted> = serde_json::from_slice(&text).ok();
        let found = counted.zip(board(session)).map(|(counted, board)| {
            self.watches.entry(session).or_default().take(counted, used, Instant::now(), most(board))
        });
        Some(Heard { session, count: counted.map(|counted| counted.count), found })
    }
}

/// Where a session's files are: its writable layer, and what was sealed of it. Layers that it shares with the session that it
/// was forked from count there.
fn files_of(dir: &Path, session: SessionId) -> Vec<PathBuf> {
    let session_dir = dir.join("sessions").join(session.to_string());
    let sealed = Head::read(&session_dir.join("HEAD")).ok().flatten().unwrap_or_default().own;
    let sealed = sealed.iter().map(|id| dir.join("layers").join(id.to_string()));
    std::iter::once(session_dir.join("layer")).chain(sealed).collect()
}

/// The limits of a sandbox.
fn most(board: &Board) -> Count {
    let of = |limit| Some(board.most(limit)).filter(|most| *most > 0).unwrap_or(u64::MAX - 1);
    Count { bytes: of(Limit::Disk), inodes: of(Limit::Inodes) }
}

impl Counting {
    fn start(session: SessionId, keeper: Option<i32>, dirs: &[PathBuf], used: Count, enough: Count) -> Option<Self> {
        let (answer, say) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        rustix::io::ioctl_fionbio(&answer, true).ok()?;
        let worker = executor::fork_into(|| {
            // The supervisor's sockets came along: whoever waits for their end must not wait for this.
            signals::close_all_but(&[say.as_raw_fd()]);
            let _ = privileges::die_with_parent();
            let _ = rustix::process::nice(NICE);
            let count = count(dirs, keeper, enough);
            let counted = Counted { count, cut: count.is_beyond(enough), took: processor_time() };
            let found = serde_json::to_vec(&counted).unwrap_or_default();
            // Whoever wanted to know is gone, if it can't be said.
            i32::from(rustix::io::write(&say, &found).is_err())
        })
        .ok()?;
        // It is our child and not yet waited for, so the number is its own.
        let worker = pidfd_open(Pid::from_raw(worker)?, PidfdFlags::empty()).ok()?;
        Some(Self { session, worker, answer, text: Vec::new(), used })
    }

    /// Reads what there is; says whether that is all.
    fn is_done(&mut self) -> bool {
        let mut bytes = [0; 256];
        loop {
            match rustix::io::read(&self.answer, &mut bytes) {
                Ok(0) => return true,
                Ok(length) => self.text.extend_from_slice(&bytes[..length]),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return false,
                Err(_) => return true,
            }
        }
    }
}

/// How much of a processor's time this process has had.
fn processor_time() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, poll};
    use tenure_core::id::SessionId;

    use super::{Board, Count, Counted, Found, Room, Subject, Watcher};
    use crate::spec::Applied;

    #[test]
    fn what_was_not_counted_to_its_end_is_as_soon_as_the_limit_is_raised() {
        let session = SessionId::from_bits(1);
        let dir = tempfile::tempdir().expect("a directory");
        let layer = dir.path().join("sessions").join(session.to_string()).join("layer");
        std::fs::create_dir_all(&layer).expect("made");
        (0..9).for_each(|n| std::fs::write(layer.join(n.to_string()), "").expect("written"));
        let board: &'static Board = &Board::shared(1).expect("shared memory")[0];
        let limit = |inodes| board.set_limits(&Applied { inodes: Some(inodes), ..Applied::default() });
        let subject = Subject { session, keeper: i32::MAX, board };
        let mut watcher = Watcher::new(dir.path(), None);
        let found = |inodes, cut| Counted { count: Count { bytes: 0, inodes }, cut, took: Duration::ZERO };
        let take = |watcher: &mut Watcher, counted| {
            let watch = watcher.watches.entry(session).or_default();
            watch.take(counted, Count::default(), Instant::now(), super::most(board))
        };
        limit(5);
        take(&mut watcher, found(2, false));
        assert!(take(&mut watcher, found(6, true)).ends);
        limit(20);
        assert_eq!(watcher.judge_again(subject), Some(Found { over: None, ends: false }));
        let counting = watcher.answer().expect("it is counted").try_clone_to_owned().expect("a descriptor");
        poll(&mut [PollFd::new(&counting, PollFlags::IN)], None).expect("counted");
        while watcher.hear(|_| Some(board)).is_none() {
            poll(&mut [PollFd::new(&counting, PollFlags::IN)], None).expect("counted");
        }
        assert_eq!(watcher.count(session).map(|count| count.inodes), Some(9));
        assert!(take(&mut watcher, found(21, false)).ends, "at the first look");
    }

    #[test]
    fn who_has_waited_longest_is_counted_first() {
        let boards = Board::shared(3).expect("shared memory");
        boards.iter().for_each(|board| board.set_busy(true));
        let subjects: Vec<Subject> = (0..3u8)
            .map(|n| Subject { session: SessionId::from_bits(n.into()), keeper: 0, board: &boards[usize::from(n)] })
            .collect();
        let dir = tempfile::tempdir().expect("a directory");
        let mut watcher = Watcher::new(dir.path(), None);
        let begun = Instant::now();
        let later = begun + Duration::from_secs(100);
        let mut due = |counted: &[usize]| -> Vec<usize> {
            for (n, at) in counted.iter().zip(0..) {
                let count = Counted { count: Count::default(), cut: false, took: Duration::ZERO };
                let watch = watcher.watches.entry(subjects[*n].session).or_default();
                watch.take(count, Count::default(), begun + Duration::from_secs(at), Count::MAX);
            }
            let due = watcher.due(&subjects, later, Room::default());
            due.iter()
                .rev()
                .map(|due| subjects.iter().position(|one| one.session == due.session).expect("one"))
                .collect()
        };
        assert_eq!(due(&[1, 0]), [2, 1, 0], "nothing is known of the last");
        assert_eq!(due(&[2, 0, 1]), [2, 0, 1]);
        assert_eq!(due(&[0, 1, 2]), [0, 1, 2]);
    }

    #[test]
    fn who_wants_to_know_is_told_even_if_counting_cannot_begin() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let dir = tempfile::tempdir().expect("a directory");
        let mut watcher = Watcher::new(dir.path(), None);
        let files = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..files }).expect("no more files can be opened");
        for n in 0..2 {
            watcher.want(SessionId::from_bits(n), None);
        }
        setrlimit(Resource::Nofile, files).expect("as before");
        for n in 0..2 {
            assert!(watcher.has_news());
            let heard = watcher.hear(|_| None).expect("it can't be counted");
            assert_eq!((heard.session, heard.count), (SessionId::from_bits(n), None));
        }
        assert!(!watcher.has_news());
    }
}
