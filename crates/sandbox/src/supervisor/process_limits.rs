use std::collections::HashSet;

use super::ownership::Ownership;
use super::{ProcessLimits, Standing};
use crate::guest::privileges;
use crate::guest::process_tree::Snapshot;

/// How many times to look for processes that were started while looking: each inherits its parent's limits, which may have
/// been read before they were changed.
const ROUNDS: usize = 64;

/// Changes the limits of every process below this keeper, the executor among them, so that later ones have them too. `owner` is who
/// made their user namespace.
///
/// Where this process may not raise limits again, a program could lift its fence by itself; it is ended when it then grows.
/// There, what runs keeps what it may have open and how long a file may be.
pub(super) fn limit_processes(keeper: i32, owner: u32, limits: ProcessLimits) {
    // Root of a namespace of its own has that capability, and nobody heeds it.
    let may_raise = Standing::ours() == Standing::Root
        && privileges::capabilities().is_ok_and(privileges::Capabilities::can_raise_limits);
    // Where it has no such right on the host, it has it as who the sandbox's namespace belongs to.
    let Ok(_ownership) = Ownership::of(owner) else { return };
    let mut limited = HashSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<i32> =
            Snapshot::take().all_below(keeper).into_iter().filter(|process| limited.insert(*process)).collect();
        if fresh.is_empty() {
            return;
        }
        // One that has ended meanwhile needs none.
        fresh.into_iter().for_each(|process| limit(process, limits, may_raise));
    }
}

fn limit(process: i32, ProcessLimits { open_files, file_bytes, processes: _, fenced }: ProcessLimits, may_raise: bool) {
    let usual = open_files.map(|most| most.min(crate::guest::USUAL_OPEN_FILES));
    change(process, libc::RLIMIT_NOFILE, usual, open_files, may_raise);
    let longest = if fenced { Some(0) } else { file_bytes };
    let longest_ever = if may_raise { longest } else { file_bytes };
    change(process, libc::RLIMIT_FSIZE, longest, longest_ever, may_raise);
}

fn change(process: i32, resource: u32, current: Option<u64>, maximum: Option<u64>, may_raise: bool) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads into and writes from a structure that lives across both calls.
    unsafe {
        if libc::prlimit(process, resource, std::ptr::null(), &raw mut limits) != 0 {
            return;
        }
        let maximum = maximum.unwrap_or(libc::RLIM_INFINITY);
        limits.rlim_max = if may_raise { maximum } else { maximum.min(limits.rlim_max) };
        limits.rlim_cur = current.unwrap_or(libc::RLIM_INFINITY).min(limits.rlim_max);
        libc::prlimit(process, resource, &raw const limits, std::ptr::null_mut());
    }
}
