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
    /// Somebody wants to know what these have, live ones and others.
    wanted: VecDeque<(SessionId, Option<Subject>)>,
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
        Self { dir: dir.to_owned(), floor_bytes, floor, watches, counting: None, wanted: VecDeque::new(), looked: None }
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
            let used = Room::of(&self.dir).map(|room| room.used).unwrap_or_default();
            let enough = live.map_or(Count::MAX, |live| self.enough(live));
            let keeper = live.map(|live| live.keeper);
            self.counting = Counting::start(session, keeper, &files_of(&self.dir, session), used, enough);
        }
    }

    fn enough(&self, subject: Subject) -> Count {
        let most = most(subject.board);
        self.watches.get(&subject.session).map_or(most, |watch| watch.enough(most))
    }

    /// Counts nothing more: what is being counted may be large, and nobody wants to know any more.
    pub(crate) fn end(&mut self) {
        self.wanted.clear();
        if let Some(counting) = self.counting.take() {
            let _ = pidfd_send_signal(&counting.worker, Signal::KILL);
        }
    }

    /// A sandbox is no more.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.watches.remove(&session);
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
        let mut due = subjects.iter().filter(|subject| {
            let watch = self.watches.entry(subject.session).or_default();
            watch.is_due(now, room.used, subject.board.is_busy(), most(subject.board))
        });
        if self.counting.is_none()
            && let Some(subject) = due.next()
        {
            let files = files_of(&self.dir, subject.session);
            let enough = self.enough(*subject);
            self.counting = Counting::start(subject.session, Some(subject.keeper), &files, room.used, enough);
        }
        Some(self.floor.judge(room, self.floor_bytes))
    }

    /// Whether so little is left of the host's disk that nothing more may be written to it.
    pub(crate) fn is_low(&self) -> bool {
        let mut floor = self.floor;
        Room::of(&self.dir).is_ok_and(|room| floor.judge(room, self.floor_bytes).over.is_some())
    }

    /// Judges a sandbox again, whose limits are others now.
    pub(crate) fn judge_again(&mut self, session: SessionId, board: &Board) -> Option<Found> {
        self.watches.get_mut(&session)?.judge_again(most(board))
    }

    /// Takes what a process has counted, when it is done.
    pub(crate) fn hear(&mut self, board: impl FnOnce(SessionId) -> Option<&'static Board>) -> Option<Heard> {
        let counting = self.counting.as_mut()?;
        if !counting.is_done() {
            return None;
        }
        let Counting { session, text, used, .. } = self.counting.take()?;
        self.start_wanted();
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
