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
        let counted = counted.map(|limit| (limit, limit == Limit::Memory));
        // As long as it is over, the next call ought to know.
        let (passed, fence) = (self.passed.take(), self.board.fence());
        let of_the_disk = passed.map(|limit| (limit, true)).or(fence.map(|limit| (limit, false)));
        let reached: Vec<(Limit, bool)> = counted.chain(of_the_disk).collect();
        reached.into_iter().map(|(limit, ended)| Reached { limit, most: self.board.most(limit), ended }).collect()
    }
}

impl Counter {
    fn has_risen(&mut self) -> Option<Limit> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_string(&mut text)).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix(self.key)?.trim().parse().ok()).unwrap_or(0);
        (std::mem::replace(&mut self.seen, count) < count).then_some(self.limit)
    }
}
