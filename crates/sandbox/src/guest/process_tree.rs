//! Finding and ending everything that a call has started.
//!
//! A tool can leave its process group and session and detach from its parent, but not from its ancestors: the process
//! above each tool (`tool.rs`) adopts orphans, so whatever a call starts stays below it in the tree. A cgroup per call
//! would be the other way; entering one costs milliseconds on version 1, and its kill switch exists on version 2 only.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A process: its id, and when it started, since ids come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: u64,
}

/// All processes of the sandbox at one moment, by parent.
#[derive(Debug, Default)]
pub(crate) struct Snapshot(HashMap<i32, Vec<Process>>);

impl Snapshot {
    /// Reads `/proc`.
    pub(crate) fn take() -> Self {
        let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if let Some((parent, started)) = parse(&stat) {
                children.entry(parent).or_default().push(Process { pid, started });
            }
        }
        Self(children)
    }

    /// The direct children of a process.
    pub(crate) fn children(&self, pid: i32) -> &[Process] {
        self.0.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// Everything but PID 1 and the executor.
    fn tools(&self, executor: i32) -> impl Iterator<Item = Process> {
        self.0.values().flatten().copied().filter(move |process| process.pid != 1 && process.pid != executor)
    }

    /// The ids of everything below a process.
    pub(crate) fn all_below(&self, pid: i32) -> Vec<i32> {
        let mut found = Vec::new();
        self.below(pid, &HashSet::new(), &mut found);
        found.into_iter().map(|process| process.pid).collect()
    }

    /// Everything below a process, except what is below one of `spared`.
    fn below(&self, pid: i32, spared: &HashSet<Process>, found: &mut Vec<Process>) {
        // They may be as deep below each other as there may be processes, and those of a process that ended meanwhile, whose number is
        // another's by now, may seem to be above it.
        let mut seen = HashSet::from([pid]);
        let mut left = vec![pid];
        while let Some(parent) = left.pop() {
            for child in self.children(parent).iter().filter(|child| !spared.contains(child)) {
                if seen.insert(child.pid) {
                    found.push(*child);
                    left.push(child.pid);
                }
            }
        }
    }
}

/// Parent and start time of the text of `/proc/<pid>/stat`; nothing for one that is dead already.
fn parse(stat: &str) -> Option<(i32, u64)> {
    // The program's name, in brackets, may contain anything; what follows the last bracket does not.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // The first thread of a process may have ended, and others go on.
    let threads: u32 = fields.nth(15)?.parse().ok()?;
    let started = fields.nth(1)?.parse().ok()?;
    (state != "X" && (state != "Z" || threads > 1)).then_some((parent, started))
}

/// How many times to look for processes that were started while looking. The limit on processes bounds what a fork bomb
/// can do meanwhile.
const ROUNDS: usize = 256;

/// How often to look whether what was killed is gone. A signal that is sent has not been taken yet, least of all on a busy
/// machine; a call that is said to have ended should have.
const GONE_ROUNDS: usize = 100;
const GONE_AGAIN: Duration = Duration::from_millis(1);

/// Kills everything below these roots, the roots themselves not, and nothing that is or is below one of `spared`.
///
/// First all are stopped, until no running one is found, so that none can start another unseen; then all are killed.
/// The roots are held meanwhile, so that none of them ends and lets its orphans go.
pub(crate) fn kill_below(roots: &[i32], spared: &HashSet<Process>) {
    roots.iter().for_each(|root| signal(*root, Signal::STOP));
    let mut stopped: HashSet<Process> = HashSet::new();
    for _ in 0..ROUNDS {
        let snapshot = Snapshot::take();
        let mut found = Vec::new();
        roots.iter().for_each(|root| snapshot.below(*root, spared, &mut found));
        let fresh: Vec<Process> =
            found.into_iter().filter(|process| !roots.contains(&process.pid) && stopped.insert(*process)).collect();
        if fresh.is_empty() {
            break;
        }
        fresh.iter().for_each(|process| signal(process.pid, Signal::STOP));
    }
    stopped.iter().for_each(|process| signal(process.pid, Signal::KILL));
    for _ in 0..GONE_ROUNDS {
        let snapshot = Snapshot::take();
        if !snapshot.0.values().flatten().any(|process| stopped.contains(process)) {
            break;
        }
        std::thread::sleep(GONE_AGAIN);
    }
    roots.iter().for_each(|root| signal(*root, Signal::CONT));
}

/// Sends SIGTERM to every tool: not to the executor, a child of PID 1, nor to the tops of trees, which report the ends.
pub(crate) fn ask_to_end(executor: i32, tops: &[i32]) {
    for process in Snapshot::take().tools(executor) {
        if !tops.contains(&process.pid) {
            signal(process.pid, Signal::TERM);
        }
    }
}

/// Whether anything lives but PID 1 and its executor.
pub(crate) fn any_tool(executor: i32) -> bool {
    Snapshot::take().tools(executor).next().is_some()
}

/// Who lives but PID 1 and its executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    Nobody,
    /// Those at the tops of trees whose tools have ended: they are about to end too.
    Leaving,
    Others,
}

/// Who lives but PID 1, its executor, and these two, while no call runs.
pub(crate) fn company(executor: i32, spared: Option<(i32, i32)>) -> Company {
    let is_spared = |pid: i32| spared.is_some_and(|(top, tool)| pid == top || pid == tool);
    let snapshot = Snapshot::take();
    let is_leaving = |pid: i32| {
        snapshot.children(pid).is_empty() && snapshot.children(executor).iter().any(|child| child.pid == pid)
    };
    let mut company = Company::Nobody;
    for process in snapshot.tools(executor).filter(|process| !is_spared(process.pid)) {
        if !is_leaving(process.pid) {
            return Company::Others;
        }
        company = Company::Leaving;
    }
    company
}

/// Collects dead executors and orphans: PID 1's duty.
pub(crate) fn reap() {
    // SAFETY: takes no pointer that matters.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Kills one process.
pub(crate) fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: i32, signal: Signal) {
    // One that has gone by itself needs no signal.
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Process, Snapshot, parse};

    fn snapshot(parents: impl IntoIterator<Item = (i32, i32)>) -> Snapshot {
        let mut all = Snapshot::default();
        for (pid, parent) in parents {
            all.0.entry(parent).or_default().push(Process { pid, started: 0 });
        }
        all
    }

    #[test]
    fn what_lies_deep_below_a_process_is_found() {
        let chain = snapshot((2..1_000_000).map(|pid| (pid, pid - 1)));
        assert_eq!(chain.all_below(1).len(), 999_998);
    }

    #[test]
    fn a_process_that_seems_to_be_below_itself_is_no_end_of_them() {
        let circle = snapshot([(2, 3), (3, 2), (4, 3)]);
        let found: HashSet<i32> = circle.all_below(2).into_iter().collect();
        assert_eq!(found, HashSet::from([3, 4]));
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_no_hindrance() {
        let stat = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 991 100 200";
        assert_eq!(parse(stat), Some((7, 991)));
        assert_eq!(parse(&stat.replace(" S ", " Z ")), None);
        assert_eq!(
            parse(&stat.replace(" S ", " Z ").replace(" 20 0 1 ", " 20 0 2 ")),
            Some((7, 991)),
            "a thread lives"
        );
    }
}
