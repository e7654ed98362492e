use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::order::Limit;
use crate::spec::Applied;

/// What the supervisor and the keeper of a sandbox tell each other without messages, in memory that both have: neither
/// ever waits for the other.
#[derive(Debug)]
pub(crate) struct Board {
    /// Whether a call runs. The keeper's to say; all else is the supervisor's.
    busy: AtomicBool,
    /// The limits in force; 0: there is none.
    memory_bytes: AtomicU64,
    pids: AtomicU64,
    disk_bytes: AtomicU64,
    inodes: AtomicU64,
    open_files: AtomicU64,
    /// Which limit of the disk was passed, so that what runs has to end; 0: none.
    passed: AtomicU8,
    /// Whether the sandbox has more on the disk than it may, so that nothing in it may make a file longer.
    fenced: AtomicBool,
}

/// The limits that a process gets of itself, since no cgroup knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessLimits {
    pub(crate) open_files: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
}

const NOTHING_PASSED: u8 = 0;

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
            Ok(std::slice::from_raw_parts(at.cast(), count))
        }
    }

    /// Makes it the board of a new sandbox.
    pub(crate) fn wipe(&self, limits: &Applied) {
        self.set_busy(false);
        self.fenced.store(false, Ordering::Relaxed);
        self.passed.store(NOTHING_PASSED, Ordering::Relaxed);
        self.set_limits(limits);
    }

    pub(crate) fn set_limits(&self, limits: &Applied) {
        self.memory_bytes.store(limits.memory_bytes.unwrap_or(0), Ordering::Relaxed);
        self.pids.store(limits.pids.map_or(0, u64::from), Ordering::Relaxed);
        self.disk_bytes.store(limits.disk_bytes.unwrap_or(0), Ordering::Relaxed);
        self.inodes.store(limits.inodes.unwrap_or(0), Ordering::Relaxed);
        self.open_files.store(limits.open_files.map_or(0, u64::from), Ordering::Relaxed);
    }

    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
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
        let file_bytes = match self.fenced.load(Ordering::Relaxed) {
            true => Some(0),
            false => set(&self.disk_bytes),
        };
        ProcessLimits { open_files: set(&self.open_files), file_bytes }
    }

    #[expect(dead_code, reason = "whoever watches the disk says so")]
    /// Lets the sandbox's files grow, or not; says whether that is new.
    pub(crate) fn set_fenced(&self, fenced: bool) -> bool {
        self.fenced.swap(fenced, Ordering::Relaxed) != fenced
    }

    #[expect(dead_code, reason = "whoever watches the disk says so")]
    /// Notes that a limit of the disk was passed. A signal to the keeper has to follow.
    pub(crate) fn pass(&self, limit: Limit) {
        let code = match limit {
            Limit::Disk => 1,
            Limit::Inodes => 2,
            Limit::HostDisk => 3,
            Limit::Memory | Limit::Pids | Limit::Other => return,
        };
        self.passed.store(code, Ordering::Release);
    }

    /// The limit of the disk that was passed since this was last asked.
    pub(crate) fn take_passed(&self) -> Option<Limit> {
        match self.passed.swap(NOTHING_PASSED, Ordering::Acquire) {
            1 => Some(Limit::Disk),
            2 => Some(Limit::Inodes),
            3 => Some(Limit::HostDisk),
            _ => None,
        }
    }
}
