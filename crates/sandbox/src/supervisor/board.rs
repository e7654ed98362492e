use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::{Group, Standing};
use crate::order::Limit;
use crate::spec::Applied;

/// What the supervisor and the keeper of a sandbox tell each other without messages, in memory that both have: neither
/// ever waits for the other.
///
/// Each has a page of its own, and processes of a sandbox have no other's: who takes one over must not get at those of other sandboxes.
#[derive(Debug)]
#[repr(align(4096))]
pub(crate) struct Board {
    /// Whether a call runs. The keeper's to say; all else is the supervisor's.
    busy: AtomicBool,
    /// The limits in force; 0: there is none.
    memory_bytes: AtomicU64,
    pids: AtomicU64,
    /// Whether the kernel counts processes by their user, since no group does.
    counts_by_user: AtomicBool,
    disk_bytes: AtomicU64,
    inodes: AtomicU64,
    open_files: AtomicU64,
    cpu_millis: AtomicU64,
    /// Which limit of the disk was passed, so that what runs has to end; 0: none.
    passed: AtomicU8,
    /// Whether nothing is to happen, and whether it does: a [`Stillness`].
    stillness: AtomicU8,
    /// Whether limits have changed that processes get from who forks them.
    renewed: AtomicBool,
    /// The limit of the disk that it is over, so that nothing in it may make a file longer; 0: none.
    fence: AtomicU8,
}

/// What the supervisor wants of a keeper and the keeper's answer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stillness {
    /// It is free to do what it is asked.
    Unwanted = 0,
    /// It is to do nothing more, and to say whether anything else is alive. A signal to the keeper has to follow this, and the
    /// end of it.
    Wanted = 1,
    /// It does nothing, and nothing but it and its executor is alive.
    Alone = 2,
    /// It does nothing, but there are others.
    InCompany = 3,
}

/// The limits that a process gets of itself, since no cgroup knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessLimits {
    pub(crate) open_files: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    /// Where a sandbox is the only one of its user: how many processes that user may have in it.
    pub(crate) processes: Option<u64>,
    /// Whether no file may become longer at all.
    pub(crate) fenced: bool,
}

/// Limits of the disk as numbers; 0 is none.
const OF_THE_DISK: [Limit; 3] = [Limit::Disk, Limit::Inodes, Limit::HostDisk];

/// Where the boards are of the supervisor that this process is, or was forked from, and how long they are.
static MAPPED: OnceLock<(usize, usize)> = OnceLock::new();

/// Takes boards from this process. Where pages are larger than a board, some stay.
fn unmap(from: usize, to: usize) -> io::Result<()> {
    // SAFETY: takes a number and gives one.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
    let (from, to) = (from.next_multiple_of(page), to / page * page);
    if from >= to {
        return Ok(());
    }
    // SAFETY: these are whole pages of boards, which whoever calls this won't look at again in this process; nothing else is in them.
    unsafe { rustix::mm::munmap(std::ptr::without_provenance_mut(from), to - from) }?;
    Ok(())
}

fn number(limit: Option<Limit>) -> u8 {
    let at = limit.and_then(|limit| OF_THE_DISK.iter().position(|other| *other == limit));
    at.map_or(0, |at| at as u8 + 1)
}

fn limit(number: u8) -> Option<Limit> {
    OF_THE_DISK.get(usize::from(number).checked_sub(1)?).copied()
}

impl Board {
    /// As many as that, all blank, in memory that is shared with every process forked from this one.
    pub(crate) fn shared(count: usize) -> io::Result<&'static [Self]> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let length = count * size_of::<Self>();
        // SAFETY: a fresh mapping of zeros, aligned to a page and never unmapped; every field is an atomic number or flag,
        // for which zeros are a value.
        unsafe {
            let at =
                mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)?;
            let boards = std::slice::from_raw_parts(at.cast(), count);
            let _ = MAPPED.set((at.addr(), length));
            Ok(boards)
        }
    }

    /// Lets go of all boards but this one, which is one of the first that were [shared](Self::shared): in a process that has just been
    /// forked, and will look at no other.
    pub(crate) fn leave_others(&'static self) -> io::Result<()> {
        let Some((all, length)) = MAPPED.get().copied() else { return Ok(()) };
        let own = std::ptr::from_ref(self).addr();
        unmap(all, own)?;
        unmap(own + size_of::<Self>(), all + length)
    }

    /// Lets go of all of them, in a process that has just been forked.
    pub(crate) fn leave_all() -> io::Result<()> {
        MAPPED.get().map_or(Ok(()), |(all, length)| unmap(*all, all + length))
    }

    /// Lets go of this one, in a process that won't look at it again and has let go of the others.
    pub(crate) fn leave(&'static self) -> io::Result<()> {
        let own = std::ptr::from_ref(self).addr();
        unmap(own, own + size_of::<Self>())
    }

    /// Makes it the board of a new sandbox.
    pub(crate) fn wipe(&self, group: &Group) {
        self.set_busy(false);
        self.want_stillness(false);
        self.renewed.store(false, Ordering::Relaxed);
        self.fence.store(number(None), Ordering::Relaxed);
        self.passed.store(number(None), Ordering::Relaxed);
        self.counts_by_user.store(group.counts_by_user, Ordering::Relaxed);
        self.set_limits(&group.applied);
    }

    pub(crate) fn set_limits(&self, limits: &Applied) {
        self.memory_bytes.store(limits.memory_bytes.unwrap_or(0), Ordering::Relaxed);
        self.pids.store(limits.pids.map_or(0, u64::from), Ordering::Relaxed);
        self.disk_bytes.store(limits.disk_bytes.unwrap_or(0), Ordering::Relaxed);
        self.inodes.store(limits.inodes.unwrap_or(0), Ordering::Relaxed);
        self.cpu_millis.store(limits.cpu_millis.map_or(0, u64::from), Ordering::Relaxed);
        self.open_files.store(limits.open_files.map_or(0, u64::from), Ordering::Relaxed);
    }

    /// Whether processors are limited.
    pub(crate) fn limits_cpu(&self) -> bool {
        self.cpu_millis.load(Ordering::Relaxed) > 0
    }

    /// Notes that limits have changed that processes get from who forks them. A signal to the keeper has to follow.
    pub(crate) fn renew(&self) {
        self.renewed.store(true, Ordering::Release);
    }

    /// Whether such limits have changed since this was last asked.
    pub(crate) fn take_renewed(&self) -> bool {
        self.renewed.swap(false, Ordering::Acquire)
    }

    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// The supervisor's to say.
    pub(crate) fn want_stillness(&self, wanted: bool) {
        let stillness = if wanted { Stillness::Wanted } else { Stillness::Unwanted };
        self.stillness.store(stillness as u8, Ordering::Release);
    }

    /// The keeper's to say, if it is still wanted.
    pub(crate) fn stand_still(&self, how: Stillness) {
        let (wanted, how) = (Stillness::Wanted as u8, how as u8);
        let _ = self.stillness.compare_exchange(wanted, how, Ordering::AcqRel, Ordering::Acquire);
    }

    pub(crate) fn stillness(&self) -> Stillness {
        match self.stillness.load(Ordering::Acquire) {
            1 => Stillness::Wanted,
            2 => Stillness::Alone,
            3 => Stillness::InCompany,
            _ => Stillness::Unwanted,
        }
    }

    /// The limit of this kind that is in force, or 0.
    pub(crate) fn most(&self, limit: Limit) -> u64 {
        let value = match limit {
            Limit::Memory => &self.memory_bytes,
            Limit::Pids => &self.pids,
            Limit::Disk => &self.disk_bytes,
            Limit::Inodes => &self.inodes,
            Limit::HostDisk | Limit::Other => return 0,
        };
        value.load(Ordering::Relaxed)
    }

    /// What a new process is limited to. Nothing it writes to may be larger than the whole sandbox may be, and nothing
    /// may grow at all while that is too large already.
    pub(crate) fn process_limits(&self) -> ProcessLimits {
        let set = |value: &AtomicU64| Some(value.load(Ordering::Relaxed)).filter(|value| *value > 0);
        let fenced = self.fence().is_some();
        let of_the_user = |most: u64| Standing::ours().counted_beside_tools().map(|beside| most + beside);
        let processes = set(&self.pids).filter(|_| self.counts_by_user.load(Ordering::Relaxed)).and_then(of_the_user);
        ProcessLimits { open_files: set(&self.open_files), file_bytes: set(&self.disk_bytes), processes, fenced }
    }

    /// The limit of the disk that it is over, if it is.
    pub(crate) fn fence(&self) -> Option<Limit> {
        limit(self.fence.load(Ordering::Relaxed))
    }

    /// Lets no file in it become longer, as it is over this limit, or lets them again; says whether that is new.
    pub(crate) fn set_fence(&self, over: Option<Limit>) -> bool {
        let before = self.fence.swap(number(over), Ordering::Relaxed);
        limit(before).is_some() != over.is_some()
    }

    /// Notes that a limit of the disk was passed. A signal to the keeper has to follow.
    pub(crate) fn pass(&self, passed: Limit) {
        self.passed.store(number(Some(passed)), Ordering::Release);
    }

    /// The limit of the disk that was passed since this was last asked.
    pub(crate) fn take_passed(&self) -> Option<Limit> {
        limit(self.passed.swap(number(None), Ordering::Acquire))
    }
}
