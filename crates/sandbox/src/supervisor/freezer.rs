//! Having every process of a sandbox but its keeper stand still, so that its files can be read as they are at one moment.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long it may take until all stand still.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// A sandbox whose processes stand still.
#[derive(Debug)]
pub(crate) struct Frozen {
    keeper: i32,
    how: How,
}

#[derive(Debug)]
enum How {
    /// By the kernel, in a group that they can't leave.
    Group(PathBuf),
    /// By signals; those that had been stopped before stay so.
    Signals { before: HashSet<i32> },
}

impl Frozen {
    /// Freezes all that is below a keeper. Where the sandbox has a group that can be frozen, that does it; otherwise each is
    /// stopped, until none is found that runs: then nobody is left who could start another, or let one go on.
    pub(crate) fn freeze(keeper: i32, groups: &[PathBuf]) -> io::Result<Self> {
        match groups.iter().find(|group| group.join(FREEZE).exists()) {
            Some(group) => {
                let frozen = Self { keeper, how: How::Group(group.clone()) };
                std::fs::write(group.join(FREEZE), "1")?;
                let is_frozen = || {
                    let events = std::fs::read_to_string(group.join("cgroup.events"))?;
                    Ok(events.lines().any(|line| line == "frozen 1"))
                };
                frozen.wait(is_frozen)
            }
            None => {
                let before = below(keeper).into_iter().filter(|pid| !is_running(*pid)).collect();
                let frozen = Self { keeper, how: How::Signals { before } };
                frozen.wait(|| {
                    let running: Vec<i32> = below(keeper).into_iter().filter(|pid| is_running(*pid)).collect();
                    running.iter().for_each(|pid| signal(*pid, Signal::STOP));
                    Ok(running.is_empty())
                })
            }
        }
    }

    fn wait(self, is_still: impl Fn() -> io::Result<bool>) -> io::Result<Self> {
        let until = Instant::now() + PATIENCE;
        loop {
            match is_still() {
                Ok(true) => return Ok(self),
                Ok(false) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
                Ok(false) => {
                    self.thaw();
                    return Err(io::Error::other("its processes don't stand still"));
                }
                Err(error) => {
                    self.thaw();
                    return Err(error);
                }
            }
        }
    }

    /// Whether nothing has been running since.
    pub(crate) fn holds(&self) -> bool {
        match &self.how {
            How::Group(_) => true,
            How::Signals { .. } => !below(self.keeper).into_iter().any(is_running),
        }
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        match &self.how {
            How::Group(group) => drop(std::fs::write(group.join(FREEZE), "0")),
            How::Signals { before } => {
                let stopped = below(self.keeper);
                stopped.iter().filter(|pid| !before.contains(pid)).for_each(|pid| signal(*pid, Signal::CONT));
            }
        }
    }

    /// Lets everything of a sandbox go on, when who froze it has died.
    pub(crate) fn thaw_all(keeper: i32, groups: &[PathBuf]) {
        let how = match groups.iter().find(|group| group.join(FREEZE).exists()) {
            Some(group) => How::Group(group.clone()),
            None => How::Signals { before: HashSet::new() },
        };
        Self { keeper, how }.thaw();
    }
}

/// What a group of version 2 is frozen by.
const FREEZE: &str = "cgroup.freeze";

/// All processes below one, whether they are running or dead and not yet waited for: the threads of one that seems dead may live.
fn below(keeper: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Some((_, parent)) = state(Path::new(&format!("/proc/{pid}/stat"))) else { continue };
        children.entry(parent).or_default().push(pid);
    }
    let mut found = Vec::new();
    let mut left = vec![keeper];
    while let Some(pid) = left.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend_from_slice(&below);
        left.extend(below);
    }
    found
}

/// Whether any thread of a process runs, or will without anybody's doing.
fn is_running(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let states = threads.filter_map(|thread| state(&thread.path().join("stat")));
    states.into_iter().any(|(state, _)| !matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// State and parent, from such a file.
fn state(stat: &Path) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(stat).ok()?;
    // The program's name, in brackets, may contain anything; what follows the last bracket does not.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn signal(pid: i32, signal: Signal) {
    // One that has gone by itself needs no signal.
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
