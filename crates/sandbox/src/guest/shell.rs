//! The session's persistent bash.
//!
//! It reads commands, each ended by a zero byte, from a descriptor of its own and writes each one's status to another.
//! Neither is open in what the commands start, and nothing is looked for in their output.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::call::{Call, End};
use super::executor::{Executor, Job};
use super::output::{MOST_CHUNKS_IN_A_PIPE, OUTPUT_CHUNK_BYTES};
use super::process_tree::{Process, Snapshot, kill, kill_below};
use super::tool::{self, Notice};
use crate::journal::Stream;

const COMMANDS: i32 = 254;
const STATUSES: i32 = 253;

/// The loop that bash runs. `eval` with redirections closes our descriptors for what the command starts and opens them
/// again after it; errors of the loop itself (under `set -x`, say) go nowhere.
const LOOP: &str = r#"while { IFS= builtin read -r -d '' -u 254 __tenure_line; } 2>/dev/null; do
builtin eval "$__tenure_line" </dev/null 254<&- 253>&-
{ builtin printf '%d\n' "$?" >&253; } 2>/dev/null
done"#;

/// What bash prints while no call runs is kept up to this much, for the next one.
const BETWEEN_CALLS_BYTES: usize = 16 * 1024;

/// How often the tree of a doomed call is killed before the shell itself is: a loop in the shell goes on when the
/// program in it is killed.
const KILL_ROUNDS: u32 = 10;
const KILL_AGAIN: Duration = Duration::from_millis(20);

/// Becomes the shell. Called in the process that is to be it.
pub(crate) fn exec(commands: &OwnedFd, out: &OwnedFd, statuses: &OwnedFd, env: &[(String, String)]) -> i32 {
    let Ok(null) = std::fs::File::open("/dev/null") else { return 126 };
    // SAFETY: these numbers are nobody's in this process, which has a handful of descriptors.
    let plumbed =
        unsafe { libc::dup2(commands.as_raw_fd(), COMMANDS) >= 0 && libc::dup2(statuses.as_raw_fd(), STATUSES) >= 0 };
    if !plumbed || !tool::plumb(&null, out, out) {
        return 126;
    }
    // It has its new number, and as itself is closed with all the rest below.
    std::mem::forget(null);
    let _ = std::env::set_current_dir(tool::WORKSPACE);
    let argv = ["/bin/bash", "--noprofile", "--norc", "-c", LOOP, "bash"].map(str::to_owned);
    tool::become_program(&argv, env, &[STATUSES, COMMANDS])
}

/// A call that waits for the shell.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) call: Call,
    pub(crate) command: Vec<u8>,
    pub(crate) restart: bool,
}

/// The keeper's side of the shell.
#[derive(Debug)]
pub(crate) struct Shell {
    running: Option<Bash>,
    waiting: VecDeque<Line>,
    current: Option<Current>,
    between: Vec<u8>,
    /// Whether the session had a shell before this one, in this sandbox or an earlier one.
    had_one: bool,
    mark: OwnedFd,
}

#[derive(Debug)]
struct Bash {
    commands: OwnedFd,
    unwritten: Vec<u8>,
    /// Nothing once all its writers are gone: bash can be told to print elsewhere, or to become another program.
    out: Option<OwnedFd>,
    /// Nothing once all its writers are gone.
    statuses: Option<OwnedFd>,
    status_text: Vec<u8>,
    notices: OwnedFd,
    notice_bytes: Vec<u8>,
    /// The process at the top of its tree, and bash itself.
    pids: Option<(i32, i32)>,
}

#[derive(Debug)]
struct Current {
    call: Call,
    /// What earlier calls left running: it isn't this one's.
    spared: HashSet<Process>,
    kills: u32,
    kill_again: Option<Instant>,
}

/// A descriptor of the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShellPort {
    Commands,
    Out,
    Statuses,
    Notices,
}

/// What came of a step: output to pass on, and a call that ended.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Step {
    pub(crate) printed: Option<(usize, Vec<u8>)>,
    pub(crate) ended: Option<(Call, End)>,
}

impl Shell {
    pub(crate) fn new(mark: OwnedFd) -> Self {
        let had_one = rustix::fs::fstat(&mark).is_ok_and(|found| found.st_size > 0);
        Self { running: None, waiting: VecDeque::new(), current: None, between: Vec::new(), had_one, mark }
    }

    pub(crate) fn queue(&mut self, line: Line) {
        self.waiting.push_back(line);
    }

    /// Starts the next command if the shell is free; gives a call that has ended already.
    pub(crate) fn advance(&mut self, executor: &mut Executor) -> Step {
        if self.current.is_some() {
            return Step::default();
        }
        let Some(Line { mut call, command, restart }) = self.waiting.pop_front() else { return Step::default() };
        if let Err(error) = call.start() {
            call.print(Stream::Out, format!("can't start a command: {}\n", Call::unrecorded(&error)).as_bytes());
            return Step { printed: None, ended: Some((call, End::Code(126))) };
        }
        if restart {
            self.end();
        }
        if self.running.is_none() {
            call.ending.shell_lost = self.had_one && !restart;
            match Bash::start(executor) {
                Ok(bash) => self.running = Some(bash),
                Err(error) => {
                    call.print(Stream::Out, format!("can't start a shell: {error}\n").as_bytes());
                    return Step { printed: None, ended: Some((call, End::Code(126))) };
                }
            }
            if !self.had_one {
                self.had_one = true;
                let _ = rustix::io::write(&self.mark, b"1");
            }
        }
        crate::failpoint::pass("guest.forked");
        let between = std::mem::take(&mut self.between);
        call.print(Stream::Out, &between);
        let bash = self.running.as_mut().expect("it was started above");
        let spared = bash.pids.map(|(top, tool)| living_under(top, tool)).unwrap_or_default();
        bash.unwritten = command;
        bash.unwritten.push(0);
        bash.write();
        self.current = Some(Current { call, spared, kills: 0, kill_again: None });
        Step::default()
    }

    /// The descriptors to wait for.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (ShellPort, std::os::fd::BorrowedFd<'_>)> {
        self.running.iter().flat_map(|bash| {
            let writing = (!bash.unwritten.is_empty()).then_some((ShellPort::Commands, bash.commands.as_fd()));
            let out = bash.out.iter().map(|out| (ShellPort::Out, out.as_fd()));
            let statuses = bash.statuses.iter().map(|statuses| (ShellPort::Statuses, statuses.as_fd()));
            writing.into_iter().chain(out).chain(statuses).chain([(ShellPort::Notices, bash.notices.as_fd())])
        })
    }

    pub(crate) fn hear(&mut self, port: ShellPort) -> Step {
        match (port, &mut self.running) {
            (_, None) => Step::default(),
            (ShellPort::Commands, Some(bash)) => {
                bash.write();
                Step::default()
            }
            (ShellPort::Out, Some(_)) => Step { printed: self.read_output(), ended: None },
            (ShellPort::Statuses, Some(bash)) => match bash.status() {
                Some(code) => self.end_current(End::Code(code)),
                None => Step::default(),
            },
            (ShellPort::Notices, Some(bash)) => match bash.notice() {
                Some((end, reason)) => {
                    if let (Some(current), Some(reason)) = (&mut self.current, reason) {
                        current.call.print(Stream::Out, format!("{reason}\n").as_bytes());
                    }
                    let step = self.end_current(end);
                    self.running = None;
                    step
                }
                None => Step::default(),
            },
        }
    }

    /// What it printed belongs to the call that runs, or else to the next.
    fn read_output(&mut self) -> Option<(usize, Vec<u8>)> {
        let bash = self.running.as_mut()?;
        let mut bytes = vec![0; OUTPUT_CHUNK_BYTES];
        let length = rustix::io::read(bash.out.as_ref()?, &mut bytes).ok()?;
        if length == 0 {
            bash.out = None;
            return None;
        }
        bytes.truncate(length);
        match &mut self.current {
            Some(current) => {
                current.call.print(Stream::Out, &bytes);
                Some((length, bytes))
            }
            None => {
                self.between.extend_from_slice(&bytes);
                let excess = self.between.len().saturating_sub(BETWEEN_CALLS_BYTES);
                self.between.drain(..excess);
                None
            }
        }
    }

    /// Ends the current call. All that its foreground printed is in the pipe by now; what comes from the background is
    /// not waited for.
    fn end_current(&mut self, end: End) -> Step {
        let mut printed: Option<(usize, Vec<u8>)> = None;
        // More than a pipe holds is from a background process that goes on printing.
        for _ in 0..MOST_CHUNKS_IN_A_PIPE {
            match self.read_output() {
                Some((length, bytes)) => {
                    let all = printed.get_or_insert_default();
                    all.0 += length;
                    all.1.extend(bytes);
                }
                None => break,
            }
        }
        Step { printed, ended: self.current.take().map(|current| (current.call, end)) }
    }

    pub(crate) fn call(&mut self, wanted: tenure_core::id::ItemId) -> Option<&mut Call> {
        let waiting = self.waiting.iter_mut().map(|line| &mut line.call);
        self.current.iter_mut().map(|current| &mut current.call).chain(waiting).find(|call| call.id == wanted)
    }

    /// The call that runs: its name, whether it is watched, how much it has printed.
    pub(crate) fn current(&self) -> Option<(tenure_core::id::ItemId, bool, u64)> {
        self.current.as_ref().map(|Current { call, .. }| (call.id, call.watched, call.printed))
    }

    /// How many calls it has, running or waiting.
    pub(crate) fn calls(&self) -> usize {
        usize::from(self.current.is_some()) + self.waiting.len()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.calls() > 0
    }

    /// Takes a call that has not been started out of the queue.
    pub(crate) fn withdraw(&mut self, wanted: tenure_core::id::ItemId) -> Option<Call> {
        let at = self.waiting.iter().position(|line| line.call.id == wanted)?;
        self.waiting.remove(at).map(|line| line.call)
    }

    /// Takes all calls, running or waiting.
    pub(crate) fn take_calls(&mut self) -> Vec<Call> {
        let current = self.current.take().map(|current| current.call);
        current.into_iter().chain(self.waiting.drain(..).map(|line| line.call)).collect()
    }

    /// When something has to be done about the current call.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let current = self.current.as_ref()?;
        current.call.deadline().into_iter().chain(current.kill_again).min()
    }

    /// Dooms the current call if its time is over, and goes on killing it if it is doomed.
    pub(crate) fn check_deadline(&mut self, now: Instant) {
        if let Some(current) = &mut self.current {
            current.call.ending.timed_out |= current.call.deadline().is_some_and(|deadline| deadline <= now);
            if current.call.is_doomed() && current.kill_again.is_none_or(|again| again <= now) {
                self.kill_current(now);
            }
        }
    }

    /// Kills what the current call started; the shell itself only if that doesn't end it.
    pub(crate) fn kill_current(&mut self, now: Instant) {
        let (Some(current), Some(bash)) = (&mut self.current, &self.running) else { return };
        current.kill_again = Some(now + KILL_AGAIN);
        let Some((top, tool)) = bash.pids else { return };
        current.kills += 1;
        kill_below(&[top, tool], &current.spared);
        if current.kills > KILL_ROUNDS {
            kill(tool);
        }
    }

    /// Kills all that lives below the shell, whichever call started it; the shell itself only if that doesn't end the current
    /// call, of which it may be a loop.
    pub(crate) fn kill_everything(&mut self, now: Instant) {
        if let Some(current) = &mut self.current {
            current.call.doomed = true;
            current.spared.clear();
            return self.kill_current(now);
        }
        if let Some((top, tool)) = self.running.as_ref().and_then(|bash| bash.pids) {
            kill_below(&[top, tool], &HashSet::new());
        }
    }

    /// Ends the shell and everything in it.
    fn end(&mut self) {
        if let Some((top, _)) = self.running.take().and_then(|bash| bash.pids) {
            kill_below(&[top], &HashSet::new());
        }
        self.between.clear();
    }

    /// The process at the top of the shell's tree, if it runs.
    pub(crate) fn top(&self) -> Option<i32> {
        self.running.as_ref()?.pids.map(|(top, _)| top)
    }
}

/// What lives under bash or has been adopted from it.
fn living_under(top: i32, tool: i32) -> HashSet<Process> {
    let snapshot = Snapshot::take();
    let adopted = snapshot.children(top).iter().filter(|child| child.pid != tool);
    adopted.chain(snapshot.children(tool)).copied().collect()
}

impl Bash {
    fn start(executor: &mut Executor) -> io::Result<Self> {
        let flags = PipeFlags::CLOEXEC;
        let (commands_in, commands) = pipe_with(flags)?;
        let (out, out_in) = pipe_with(flags)?;
        let (statuses, statuses_in) = pipe_with(flags)?;
        let (notices, notices_in) = pipe_with(flags)?;
        for ours in [&commands, &out, &statuses, &notices] {
            rustix::io::ioctl_fionbio(ours, true)?;
        }
        executor.give(Job::Shell, &[commands_in.as_fd(), out_in.as_fd(), statuses_in.as_fd(), notices_in.as_fd()])?;
        let (status_text, notice_bytes) = (Vec::new(), Vec::new());
        let (out, statuses) = (Some(out), Some(statuses));
        Ok(Self { commands, unwritten: Vec::new(), out, statuses, status_text, notices, notice_bytes, pids: None })
    }

    /// Writes what the pipe takes of the command.
    fn write(&mut self) {
        while !self.unwritten.is_empty() {
            match rustix::io::write(&self.commands, &self.unwritten) {
                Ok(length) => drop(self.unwritten.drain(..length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // Bash has gone; its notice says how.
                Err(_) => self.unwritten.clear(),
            }
        }
    }

    /// The status of a command that has ended.
    fn status(&mut self) -> Option<i32> {
        let mut bytes = [0; 64];
        let length = rustix::io::read(self.statuses.as_ref()?, &mut bytes).ok()?;
        if length == 0 {
            self.statuses = None;
        }
        self.status_text.extend_from_slice(&bytes[..length]);
        let end = self.status_text.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.status_text.drain(..=end).collect();
        Some(std::str::from_utf8(&line).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1))
    }

    /// How bash ended, if it did, and why it could not be started, if so.
    fn notice(&mut self) -> Option<(End, Option<String>)> {
        let mut bytes = [0; 512];
        let length = match rustix::io::read(&self.notices, &mut bytes) {
            Ok(length) => length,
            Err(_) => return None,
        };
        if length == 0 {
            return Some((End::Signal(libc::SIGKILL), None));
        }
        self.notice_bytes.extend_from_slice(&bytes[..length]);
        let mut end = None;
        for notice in Notice::take(&mut self.notice_bytes) {
            match notice {
                Notice::Started { top, tool } => self.pids = Some((top, tool)),
                Notice::Ended(status) => end = Some((End::from_status(status), None)),
                Notice::Unable(reason) => end = Some((End::Code(126), Some(reason))),
            }
        }
        end
    }
}
