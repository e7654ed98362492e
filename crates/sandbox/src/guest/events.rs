use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};

use crate::order::{Limit, Reached};
use crate::supervisor::Board;

/// Where the kernel counts how often the sandbox came up against its limits. The files are the cgroup's, which can't be seen
/// from inside.
#[derive(Debug, Default)]
pub(crate) struct EventFiles {
    /// `memory.events`, or on version 1 `memory.oom_control`.
    pub(crate) memory: Option<OwnedFd>,
    /// `pids.events`.
    pub(crate) pids: Option<OwnedFd>,
}

impl EventFiles {
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = i32> {
        self.memory.iter().chain(&self.pids).map(AsRawFd::as_raw_fd)
    }
}

/// Tells which limits were reached since it was last asked.
#[derive(Debug)]
pub(crate) struct Events {
    board: &'static Board,
    counters: Vec<Counter>,
    /// What the supervisor found, which no call has been told of yet.
    passed: Option<Limit>,
}

#[derive(Debug)]
struct Counter {
    limit: Limit,
    file: File,
    key: &'static str,
    seen: u64,
}

impl Events {
    pub(crate) fn new(files: EventFiles, board: &'static Board) -> Self {
        let memory = files.memory.map(|file| (Limit::Memory, file, "oom_kill "));
        let pids = files.pids.map(|file| (Limit::Pids, file, "max "));
        let counters = memory.into_iter().chain(pids);
        let counters = counters.map(|(limit, file, key)| Counter { limit, file: file.into(), key, seen: 0 }).collect();
        Self { board, counters, passed: None }
    }

    /// Takes note of a limit of the disk that the supervisor saw passed; says whether there was one, so that what runs
    /// has to end.
    pub(crate) fn look(&mut self) -> bool {
        let passed = self.board.take_passed();
        self.passed = passed.or(self.passed);
        passed.is_some()
    }

    /// The limits that were reached since this was last asked.
    pub(crate) fn take(&mut self) -> Vec<Reached> {
        let counted = self.counters.iter_mut().filter_map(Counter::has_risen);
        // For want of memory processes are killed; more processes are refused.
        let counted = counted.map(|(limit, times)| (limit, limit == Limit::Memory, times));
        // As long as it is over, the next call ought to know.
        let (passed, fence) = (self.passed.take(), self.board.fence());
        let of_the_disk = passed.map(|limit| (limit, true, 0)).or(fence.map(|limit| (limit, false, 0)));
        let reached: Vec<(Limit, bool, u64)> = counted.chain(of_the_disk).collect();
        let told = |(limit, ended, times)| {
            let refused = if ended { 0 } else { times };
            Reached { limit, most: self.board.most(limit), ended, refused }
        };
        reached.into_iter().map(told).collect()
    }
}

impl Counter {
    /// By how much it has since it was last asked, if it has.
    fn has_risen(&mut self) -> Option<(Limit, u64)> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_string(&mut text)).ok()?;
        let count: u64 = text.lines().find_map(|line| line.strip_prefix(self.key)?.trim().parse().ok()).unwrap_or(0);
        let risen = count.saturating_sub(std::mem::replace(&mut self.seen, count));
        (risen > 0).then_some((self.limit, risen))
    }
}
