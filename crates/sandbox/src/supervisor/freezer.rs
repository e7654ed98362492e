//! Having every process of a sandbox but its keeper stand still, so that its files can be read as they are at one moment.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

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
    Signals { before: Vec<Held> },
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
                let mut before = held_below(keeper)?;
                before.retain(|process| !is_running(process.pid));
                let frozen = Self { keeper, how: How::Signals { before } };
                frozen.wait(|| {
                    // Those that can't be held run, too.
                    let still = !below(keeper).into_iter().any(is_running);
                    if !still {
                        let running = held_below(keeper)?.into_iter().filter(|process| is_running(process.pid));
                        running.for_each(|process| process.signal(Signal::STOP));
                    }
                    Ok(still)
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
                let before: HashSet<i32> = before.iter().filter(|held| held.lives()).map(|held| held.pid).collect();
                // Without descriptors to spare nothing can be held, and it must not stand still for that.
                match held_below(self.keeper) {
                    Ok(held) => held
                        .iter()
                        .filter(|process| !before.contains(&process.pid))
                        .for_each(|process| process.signal(Signal::CONT)),
                    Err(_) => below(self.keeper).into_iter().filter(|pid| !before.contains(pid)).for_each(go_on),
                }
            }
        }
    }

    /// Lets everything of a sandbox go on, when who froze it has died.
    pub(crate) fn thaw_all(keeper: i32, groups: &[PathBuf]) {
        let how = match groups.iter().find(|group| group.join(FREEZE).exists()) {
            Some(group) => How::Group(group.clone()),
            None => How::Signals { before: Vec::new() },
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

/// A process, and not a later one that has got its number.
#[derive(Debug)]
struct Held {
    pid: i32,
    process: OwnedFd,
}

impl Held {
    /// `None`: it is gone.
    fn take(pid: i32) -> io::Result<Option<Self>> {
        let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(process) => Ok(Some(Self { pid, process })),
            // A number that has become a thread's is no process's either.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One that has gone by itself needs no signal, and nobody else gets it.
    fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.process, signal);
    }

    /// Whether it has not been waited for, so that its number is still its own.
    fn lives(&self) -> bool {
        // SAFETY: signal 0 is sent to nobody, and the information about it is not there.
        let sent = unsafe {
            let process = std::os::fd::AsRawFd::as_raw_fd(&self.process);
            libc::syscall(libc::SYS_pidfd_send_signal, process, 0, std::ptr::null::<libc::siginfo_t>(), 0)
        };
        sent == 0
    }
}

/// All processes below one, held. Each was below it while it was held already: that a number was seen there says nothing of who
/// has it a moment later.
fn held_below(keeper: i32) -> io::Result<Vec<Held>> {
    let held: Vec<Option<Held>> = below(keeper).into_iter().map(Held::take).collect::<io::Result<_>>()?;
    let seen: HashSet<i32> = below(keeper).into_iter().collect();
    Ok(held.into_iter().flatten().filter(|process| seen.contains(&process.pid) && process.lives()).collect())
}

/// Continuing one that isn't stopped changes nothing.
fn go_on(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::CONT);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use rustix::process::Signal;

    use super::{Frozen, Held, below, held_below, is_running};

    /// A process below which others come and go all the time, each telling of itself by a line.
    fn busy() -> Child {
        let script = "while :; do (:); echo; (:) & wait; done";
        Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("started")
    }

    fn lines(child: &mut Child, count: usize) {
        let out = BufReader::new(child.stdout.as_mut().expect("piped"));
        assert_eq!(out.lines().take(count).count(), count);
    }

    #[test]
    fn a_signal_is_only_for_who_is_held() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("started");
        let pid = child.id() as i32;
        let held = Held::take(pid).expect("there is room").expect("it lives");
        assert!(held.lives());
        held.signal(Signal::KILL);
        child.wait().expect("ended");
        // From here on the number may be anybody's.
        assert!(!held.lives());
        held.signal(Signal::KILL);
        assert!(!below(std::process::id() as i32).contains(&pid));
    }

    #[test]
    fn who_comes_and_goes_below_a_keeper_stands_still_and_nobody_beside_it_does() {
        // What is frozen is below this process's child, and what isn't is another child's.
        let mut keeper = Command::new("sh")
            .args(["-c", "sh -c 'while :; do (:); echo; (:) & wait; done' & wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut beside = busy();
        let (pid, other) = (keeper.id() as i32, beside.id() as i32);
        for _ in 0..20 {
            lines(&mut keeper, 3);
            let frozen = Frozen::freeze(pid, &[]).expect("they stand still");
            assert!(frozen.holds() && !below(pid).is_empty());
            assert!(!below(pid).into_iter().any(is_running));
            lines(&mut beside, 3);
            frozen.thaw();
        }
        for held in held_below(pid).expect("there is room").into_iter().chain(held_below(other).expect("there is room"))
        {
            held.signal(Signal::KILL);
        }
        for child in [&mut keeper, &mut beside] {
            child.kill().expect("killed");
            child.wait().expect("ended");
        }
    }
}
