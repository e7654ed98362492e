//! The session's persistent bash.
//!
//! It reads commands, each ended by a zero byte, from a descriptor of its own and writes each one's status to another.
//! Neither is open in what the commands start, and nothing is looked for in their output.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::bash::Bash;
use super::call::{Call, End};
use super::executor::Executor;
use super::output::{MOST_CHUNKS_IN_A_PIPE, read_chunk};
use super::process_tree::{Process, Snapshot, kill, kill_below};
use super::shell_state::Saving;
use crate::journal::Stream;

/// What bash prints while no call runs is kept up to this much, for the next one.
const BETWEEN_CALLS_BYTES: usize = 16 * 1024;

/// How often the tree of a doomed call is killed before the shell itself is: a loop in the shell goes on when the
/// program in it is killed.
const KILL_ROUNDS: u32 = 10;
const KILL_AGAIN: Duration = Duration::from_millis(20);

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
    /// What makes the next shell the same as the last, which was given up for it.
    saved: Option<Vec<u8>>,
    mark: OwnedFd,
}

/// Whether a shell can be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Saved {
    NotYet,
    Yes,
    /// It holds something that can't be put into another.
    No,
}

#[derive(Debug)]
struct Current {
    call: Call,
    /// What earlier calls left running: it isn't this one's.
    spared: HashSet<Process>,
    kills: u32,
    kill_again: Option<Instant>,
    /// Since when it is to be killed and isn't known yet.
    unheard_since: Option<Instant>,
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
        Self { running: None, waiting: VecDeque::new(), current: None, between: Vec::new(), had_one, saved: None, mark }
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
            self.saved = None;
        }
        if self.running.is_none() {
            match Bash::start(executor) {
                Ok(mut bash) => {
                    let saved = self.saved.take();
                    call.ending.shell_lost = self.had_one && !restart && saved.is_none();
                    if let Some(saved) = saved {
                        bash.unwritten = saved;
                        bash.unwritten.push(0);
                        bash.restoring = true;
                    }
                    self.running = Some(bash);
                }
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
        // Older than what this command will do.
        self.saved = None;
        crate::failpoint::pass("guest.forked");
        let between = std::mem::take(&mut self.between);
        call.print(Stream::Out, &between);
        let bash = self.running.as_mut().expect("it was started above");
        let spared = bash.pids.map(|(top, tool)| living_under(top, tool)).unwrap_or_default();
        bash.command(&command);
        self.current = Some(Current { call, spared, kills: 0, kill_again: None, unheard_since: None });
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
            (ShellPort::Out, Some(_)) => {
                Step { printed: self.read_output().filter(|_| self.current.is_some()), ended: None }
            }
            (ShellPort::Statuses, Some(bash)) => match bash.status() {
                Some(code) if std::mem::take(&mut bash.restoring) => {
                    if let Some(current) = &mut self.current {
                        current.call.ending.shell_lost |= code != 0;
                    }
                    // The next status may have been read with it.
                    self.hear(port)
                }
                Some(_) if bash.saving.is_some() => {
                    self.end_saving();
                    Step::default()
                }
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
        let bytes = read_chunk(bash.out.as_ref()?).ok()?;
        let length = bytes.len();
        if length == 0 {
            bash.out = None;
            return None;
        }
        if let Some(saving) = &mut bash.saving {
            saving.print(&bytes);
            // It is of no call, even if one has begun: the shell took too long to tell.
            return Some((0, Vec::new()));
        }
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

    /// Whether one runs, and what is alive of it: the top of its tree, and itself.
    pub(crate) fn processes(&self) -> Option<(i32, i32)> {
        self.running.as_ref()?.pids
    }

    /// Has the shell, which must be idle, tell what it remembers.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        self.read_what_there_is();
        if let Some(bash) = &mut self.running {
            self.saved = None;
            let saving = Saving::new()?;
            let command = saving.command();
            bash.saving = Some(saving);
            bash.command(&command);
        }
        Ok(())
    }

    /// What became of [`save`](Self::save). Where it was for nothing, the shell goes on as it was.
    pub(crate) fn is_saved(&self) -> Saved {
        match &self.running {
            Some(bash) if bash.saving.is_some() => Saved::NotYet,
            // It had to end, with or without what it remembered.
            Some(_) if self.saved.is_some() => Saved::Yes,
            None => Saved::Yes,
            Some(_) => Saved::No,
        }
    }

    fn read_what_there_is(&mut self) {
        for _ in 0..MOST_CHUNKS_IN_A_PIPE {
            if self.read_output().is_none() {
                return;
            }
        }
    }

    /// All that it printed is in the pipe by now, and nobody else prints.
    fn end_saving(&mut self) {
        self.read_what_there_is();
        self.saved = self.running.as_mut().and_then(|bash| bash.saving.take()).and_then(Saving::finish);
    }

    /// Gives up a shell that is saved. It is to be restored when a call needs one.
    pub(crate) fn give_up(&mut self) {
        let between = std::mem::take(&mut self.between);
        self.end();
        self.between = between;
    }

    pub(crate) fn call(&mut self, wanted: tenure_core::id::ItemId) -> Option<&mut Call> {
        let waiting = self.waiting.iter_mut().map(|line| &mut line.call);
        self.current.iter_mut().map(|current| &mut current.call).chain(waiting).find(|call| call.id == wanted)
    }

    /// The call that runs: its name, whether it is watched, how much it has printed.
    pub(crate) fn current(&self) -> Option<(tenure_core::id::ItemId, bool, u64)> {
        self.current.as_ref().map(|Current { call, .. }| (call.id, call.watched, call.printed))
    }

    /// Since when the current call is to be killed although it isn't known yet which process it is.
    pub(crate) fn unheard_since(&self) -> Option<Instant> {
        self.current.as_ref()?.unheard_since
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
        let Some((top, tool)) = bash.pids else {
            current.unheard_since.get_or_insert(now);
            return;
        };
        current.unheard_since = None;
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

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::pipe::{PipeFlags, pipe_with};
    use tenure_core::id::ItemId;

    use super::{Bash, Call, Current, HashSet, Saving, Shell, ShellPort};

    fn empty_file() -> OwnedFd {
        rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).expect("made")
    }

    /// A shell with nobody in it, and where its output and its statuses come from.
    fn shell() -> (Shell, OwnedFd, OwnedFd) {
        let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("a pipe");
        let ((_, commands), (out, prints), (statuses, says), (notices, _)) = (pipe(), pipe(), pipe(), pipe());
        let mut shell = Shell::new(empty_file());
        shell.running = Some(Bash {
            commands,
            unwritten: Vec::new(),
            out: Some(out),
            statuses: Some(statuses),
            status_text: Vec::new(),
            notices,
            notice_bytes: Vec::new(),
            pids: None,
            saving: None,
            restoring: false,
        });
        (shell, prints, says)
    }

    fn current() -> Current {
        let call = Call::new(ItemId::from_bits(1), empty_file(), None, 100, true);
        Current { call, spared: HashSet::new(), kills: 0, kill_again: None, unheard_since: None }
    }

    #[test]
    fn what_a_slow_shell_tells_of_itself_is_not_taken_for_what_a_call_printed() {
        let (mut shell, prints, _says) = shell();
        // It took longer than anybody waited, and the next call has begun.
        shell.running.as_mut().expect("it runs").saving = Some(Saving::new().expect("a mark"));
        shell.current = Some(current());
        rustix::io::write(&prints, b"declare -- x=1").expect("room");
        let step = shell.hear(ShellPort::Out);
        let (_, _, printed) = shell.current().expect("a call");
        assert!(step.printed.is_none_or(|(length, bytes)| length as u64 <= printed && bytes.is_empty()));
    }

    #[test]
    fn a_status_without_end_is_not_kept() {
        let (mut shell, _prints, says) = shell();
        shell.current = Some(current());
        for _ in 0..100 {
            rustix::io::write(&says, &[b'1'; 64]).expect("room");
            assert!(shell.hear(ShellPort::Statuses).ended.is_none());
        }
        assert!(shell.running.as_ref().expect("it runs").status_text.len() <= 128);
        rustix::io::write(&says, b"\n").expect("room");
        assert!(shell.hear(ShellPort::Statuses).ended.is_some(), "the loop itself is heard again");
    }
}
