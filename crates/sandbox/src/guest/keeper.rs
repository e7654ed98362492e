use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tenure_core::id::ItemId;

use super::call::{Call, End};
use super::events::{EventFiles, Events};
use super::executor::{Executor, Job};
use super::output::{MOST_CHUNKS_IN_A_PIPE, read_chunk};
use super::process::{ToolPort, ToolProcess};
use super::process_tree;
use super::quiet::{Hold, Quiet};
use super::server_link::ServerLink;
use super::setup::{Inherited, Terms};
use super::shell::{Line, Shell, ShellPort, Step};
use super::signals;
use crate::journal::Stream;
use crate::order::{Limit, Sheet};
use crate::supervisor::Board;
use crate::wire::{KeeperAsk, KeeperTell, Versions};

/// How many cancels of calls that have not come yet are remembered.
const REMEMBERED_CANCELS: usize = 1024;
/// How many calls may be under way, those that wait for the shell included; each holds some descriptors.
const MOST_CALLS: usize = 128;
/// What comes with something to launch: a file for its record, its order, and four ends of pipes.
const LAUNCH_DESCRIPTORS: usize = 6;
/// How much is kept of why it could not be started.
const COMPLAINT_BYTES: usize = 4096;
/// How many pipes of ended calls are kept open for what still writes to them. Beyond that the oldest is closed, as others are.
const MOST_DRAINS: usize = 256;
/// How long the executor may take to fork what is to be killed already. It takes some milliseconds, more on a busy host.
const EXECUTOR_PATIENCE: Duration = Duration::from_secs(2);
/// How often a keeper that is to stop looks whether everything has ended.
const STOP_TICK: Duration = Duration::from_millis(2);

/// PID 1 of a sandbox: takes orders, has the executor fork them, keeps their journals, and outlives every server.
#[derive(Debug)]
pub(crate) struct Keeper {
    link: ServerLink,
    signals: OwnedFd,
    executor: Executor,
    tools: HashMap<ItemId, ToolProcess>,
    shell: Shell,
    cancelled: VecDeque<ItemId>,
    /// Pipes of calls that have ended, which something still writes to: emptied, so that it is not blocked or killed.
    drains: Vec<OwnedFd>,
    events: Events,
    board: &'static Board,
    bell: &'static OwnedFd,
    quiet: Quiet,
    /// The device that the root is.
    root: Option<u64>,
    /// Set once it is to stop: when to kill what has not ended by itself.
    stop_by: Option<Instant>,
    /// Nothing but the executor was alive when that was last looked at, on stopping.
    was_alone: bool,
}

/// What can wake the keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
enum Wake {
    Signal,
    Connection,
    Stranger,
    Server,
    Tool(ItemId, ToolPort),
    Shell(ShellPort),
    Drain(usize),
}

impl Keeper {
    pub(crate) fn new(
        link: ServerLink,
        signals: OwnedFd,
        executor: Executor,
        shell_mark: OwnedFd,
        events: EventFiles,
        inherited: Inherited,
    ) -> Self {
        let Inherited { board, bell, .. } = inherited;
        Self {
            link,
            signals,
            executor,
            tools: HashMap::new(),
            shell: Shell::new(shell_mark),
            cancelled: VecDeque::new(),
            drains: Vec::new(),
            events: Events::new(events, board),
            board,
            bell,
            quiet: Quiet::No,
            root: root_device(),
            stop_by: None,
            was_alone: false,
        }
    }

    /// Starts what it needs whoever it will be for.
    pub(crate) fn get_ready(&mut self) -> std::io::Result<()> {
        self.executor.start()
    }

    /// Becomes the keeper of a session, having been nobody's. What comes along is where that is listened to and its shell's mark, if
    /// these aren't those that it had from the beginning.
    pub(crate) fn take_session(&mut self, terms: Terms, descriptors: Vec<OwnedFd>) -> std::io::Result<()> {
        let listener = match <[OwnedFd; 2]>::try_from(descriptors) {
            Ok([listener, shell_mark]) => {
                self.shell = Shell::new(shell_mark);
                Some(listener)
            }
            Err(_) => None,
        };
        self.link.begin_anew(listener, terms.epoch);
        self.root = root_device();
        self.executor.suit(terms.env)
    }

    /// Serves until it is told to stop. When it returns the process ends, and with it the whole sandbox.
    pub(crate) fn serve(&mut self) {
        loop {
            for wake in self.wait() {
                self.handle(wake);
            }
            let is_busy = self.is_busy();
            // One that is to stop does that: then nothing is left that could change files.
            if self.stop_by.is_none() {
                let before = self.quiet;
                match self.quiet.advance(self.board, is_busy, &mut self.shell, &self.executor) {
                    Hold::No if before == Quiet::Still => self.look_at_root(),
                    Hold::No => {}
                    Hold::Yes => continue,
                    Hold::Answered => {
                        self.ring();
                        continue;
                    }
                }
            }
            self.check_deadlines();
            self.end_launched();
            self.check_executor();
            let step = self.shell.advance(&mut self.executor);
            self.take_step(step);
            self.board.set_busy(self.is_busy());
            if self.has_stopped() {
                return;
            }
        }
    }

    fn wait(&self) -> Vec<Wake> {
        let input = PollFlags::IN;
        let mut sources =
            vec![(Wake::Signal, self.signals.as_fd(), input), (Wake::Connection, self.link.listener(), input)];
        sources.extend(self.link.strangers().map(|stranger| (Wake::Stranger, stranger, input)));
        if let Some((socket, writing)) = self.link.socket().filter(|_| self.quiet == Quiet::No) {
            sources.push((Wake::Server, socket, if writing { input | PollFlags::OUT } else { input }));
        }
        for (id, tool) in &self.tools {
            sources.extend(tool.ports().map(|(port, fd)| (Wake::Tool(*id, port), fd, input)));
        }
        sources.extend(self.shell.ports().map(|(port, fd)| {
            (Wake::Shell(port), fd, if port == ShellPort::Commands { PollFlags::OUT } else { input })
        }));
        sources.extend(self.drains.iter().enumerate().map(|(at, pipe)| (Wake::Drain(at), pipe.as_fd(), input)));
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let deadline = if self.quiet == Quiet::No { self.next_deadline() } else { self.quiet.deadline() };
        let timeout = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // Rounded up to a millisecond, lest it spin through the last one.
        let timeout = timeout.and_then(|left| Timespec::try_from(left + Duration::from_millis(1)).ok());
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        sources
            .iter()
            .zip(&polled)
            .filter(|(_, poll)| !poll.revents().is_empty())
            .map(|((wake, ..), _)| *wake)
            .collect()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let tools = self.tools.values().filter_map(|tool| tool.call.deadline());
        let stop = self.stop_by.map(|_| Instant::now() + STOP_TICK);
        tools.chain(self.shell.deadline()).chain(stop).chain(self.executor_deadline()).min()
    }

    /// By when the executor has to have forked what is to be killed.
    fn executor_deadline(&self) -> Option<Instant> {
        let unheard = self.tools.values().filter_map(|tool| tool.kill_wanted).chain(self.shell.unheard_since());
        unheard.min().map(|since| since + EXECUTOR_PATIENCE)
    }

    /// Ends an executor that forks nothing any more.
    fn check_executor(&mut self) {
        if self.executor_deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            self.executor.end();
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Signal => {
                let _ = signals::drain(&self.signals);
                process_tree::reap();
                if self.board.take_renewed() {
                    self.executor.retire();
                }
                if self.events.look() {
                    self.end_all();
                }
            }
            Wake::Connection => self.link.accept(),
            Wake::Stranger => self.link.greet(),
            Wake::Server => {
                self.link.flush();
                while let Some((ask, descriptors)) = self.link.hear() {
                    self.answer(ask, descriptors);
                }
            }
            Wake::Tool(id, ToolPort::Out) => {
                self.read_tool(id, Stream::Out);
            }
            Wake::Tool(id, ToolPort::Err) => {
                self.read_tool(id, Stream::Err);
            }
            Wake::Tool(id, ToolPort::Notices) => {
                if let Some(end) = self.tools.get_mut(&id).and_then(ToolProcess::notice) {
                    self.end_tool(id, end);
                }
            }
            Wake::Shell(port) => {
                let step = self.shell.hear(port);
                self.take_step(step);
            }
            Wake::Drain(at) => self.drain(at),
        }
    }

    fn answer(&mut self, ask: KeeperAsk, descriptors: Vec<OwnedFd>) {
        match ask {
            KeeperAsk::Hello(_) => self.link.tell(&KeeperTell::Hello(Versions::of_this_process().greeting())),
            KeeperAsk::Run { call, timeout_ms, cap_bytes, watch } => {
                // A repeated order for a call that runs brings nothing new.
                if let (None, Ok([journal, order])) = (self.call(call), <[OwnedFd; 2]>::try_from(descriptors)) {
                    let call = Call::new(call, journal, timeout_ms.map(Duration::from_millis), cap_bytes, watch);
                    self.run(call, order);
                }
            }
            KeeperAsk::Launch { call, timeout_ms } => {
                let connection = self.link.connection();
                if let (None, Some(connection)) = (self.call(call), connection) {
                    self.launch(call, timeout_ms.map(Duration::from_millis), descriptors, connection);
                }
            }
            KeeperAsk::Attach { call, watch } => {
                let known = self.call(call).map(|known| known.watched = watch).is_some();
                self.link.tell(&KeeperTell::Attached { call, known });
            }
            KeeperAsk::Cancel { call } => self.cancel(call),
            KeeperAsk::Terminate { grace_ms } => self.stop(Duration::from_millis(grace_ms)),
        }
    }

    fn call(&mut self, id: ItemId) -> Option<&mut Call> {
        match self.tools.get_mut(&id) {
            Some(tool) => Some(&mut tool.call),
            None => self.shell.call(id),
        }
    }

    fn run(&mut self, mut call: Call, order: OwnedFd) {
        crate::failpoint::pass("guest.ordered");
        // Before anything has started, so that nobody takes this sandbox for idle.
        self.board.set_busy(true);
        self.ring();
        if self.stop_by.is_some() || self.cancelled.contains(&call.id) {
            self.cancelled.retain(|id| *id != call.id);
            call.ending.cancelled = true;
            return self.finish(call, End::Signal(libc::SIGKILL));
        }
        if self.tools.len() + self.shell.calls() >= MOST_CALLS {
            call.print(Stream::Err, format!("{MOST_CALLS} calls are under way in this sandbox already\n").as_bytes());
            return self.finish(call, End::Code(126));
        }
        let mut order = File::from(order);
        match read_order(&mut order) {
            Ok((Sheet::Shell { restart }, command)) => self.shell.queue(Line { call, command, restart }),
            Ok((Sheet::Exec { .. }, _)) => self.start_tool(call, Job::Exec, order.into()),
            Ok((Sheet::Op { .. }, _)) => self.start_tool(call, Job::Op, order.into()),
            Err(error) => {
                call.print(Stream::Err, format!("the order can't be read: {error}\n").as_bytes());
                self.finish(call, End::Code(126));
            }
        }
    }

    /// Starts a process with which the server talks.
    fn launch(&mut self, id: ItemId, timeout: Option<Duration>, mut descriptors: Vec<OwnedFd>, connection: u64) {
        if descriptors.len() != LAUNCH_DESCRIPTORS {
            return;
        }
        let record = descriptors.remove(0);
        self.board.set_busy(true);
        self.ring();
        let mut call = Call::new(id, record, timeout, COMPLAINT_BYTES, false);
        if self.stop_by.is_some() {
            call.ending.cancelled = true;
            return self.finish(call, End::Signal(libc::SIGKILL));
        }
        if self.tools.len() + self.shell.calls() >= MOST_CALLS {
            call.print(Stream::Err, format!("{MOST_CALLS} calls are under way in this sandbox already\n").as_bytes());
            return self.finish(call, End::Code(126));
        }
        match ToolProcess::launch(call, &descriptors, connection, &mut self.executor) {
            Ok(tool) => drop(self.tools.insert(tool.call.id, tool)),
            Err(failed) => self.not_started(*failed),
        }
    }

    fn not_started(&mut self, (mut call, error): (Call, std::io::Error)) {
        call.print(Stream::Err, format!("can't start a process: {error}\n").as_bytes());
        self.finish(call, End::Code(126));
    }

    /// Ends what was launched by a server that is gone.
    fn end_launched(&mut self) {
        let connection = self.link.connection();
        let left_behind = |tool: &&mut ToolProcess| tool.launched_by.is_some() && tool.launched_by != connection;
        for tool in self.tools.values_mut().filter(left_behind).filter(|tool| !tool.call.is_doomed()) {
            tool.call.ending.cancelled = true;
            tool.kill();
        }
    }

    fn start_tool(&mut self, call: Call, job: Job, order: OwnedFd) {
        match ToolProcess::start(call, job, &order, &mut self.executor) {
            Ok(tool) => drop(self.tools.insert(tool.call.id, tool)),
            Err(failed) => self.not_started(*failed),
        }
    }

    /// Says whether there was anything.
    fn read_tool(&mut self, id: ItemId, stream: Stream) -> bool {
        let Some(tool) = self.tools.get_mut(&id) else { return false };
        let Some(bytes) = tool.read(stream) else { return false };
        if tool.call.watched {
            self.link.show(id, tool.call.printed - bytes.len() as u64, &bytes);
        }
        true
    }

    /// What the tool itself printed is in the pipes by now. What others go on writing to them goes nowhere.
    fn end_tool(&mut self, id: ItemId, end: End) {
        for stream in [Stream::Out, Stream::Err] {
            // What others print without end must not hold it up.
            for _ in 0..MOST_CHUNKS_IN_A_PIPE {
                if !self.read_tool(id, stream) {
                    break;
                }
            }
        }
        if let Some(tool) = self.tools.remove(&id) {
            let (call, pipes) = tool.into_parts();
            self.drains.extend(pipes);
            let excess = self.drains.len().saturating_sub(MOST_DRAINS);
            self.drains.drain(..excess);
            self.finish(call, end);
        }
    }

    fn take_step(&mut self, Step { printed, ended }: Step) {
        let call = ended.as_ref().map(|(call, _)| (call.id, call.watched, call.printed));
        if let (Some((length, bytes)), Some((id, true, total))) = (printed, call.or_else(|| self.shell.current())) {
            self.link.show(id, total - length as u64, &bytes);
        }
        if let Some((call, end)) = ended {
            self.finish(call, end);
        }
    }

    fn finish(&mut self, mut call: Call, end: End) {
        let id = call.id;
        call.ending.reached.extend(self.events.take());
        call.ending.out_of_memory = call.ending.reached.iter().any(|reached| reached.limit == Limit::Memory);
        call.finish(end);
        self.link.tell(&KeeperTell::Ended { call: id });
        crate::failpoint::pass("guest.told");
    }

    fn cancel(&mut self, id: ItemId) {
        if let Some(tool) = self.tools.get_mut(&id) {
            tool.call.ending.cancelled = true;
            tool.kill();
        } else if let Some(mut call) = self.shell.withdraw(id) {
            call.ending.cancelled = true;
            self.finish(call, End::Signal(libc::SIGKILL));
        } else if let Some(call) = self.shell.call(id) {
            call.ending.cancelled = true;
            self.shell.kill_current(Instant::now());
        } else {
            self.cancelled.push_back(id);
            let excess = self.cancelled.len().saturating_sub(REMEMBERED_CANCELS);
            self.cancelled.drain(..excess);
        }
    }

    fn check_deadlines(&mut self) {
        let now = Instant::now();
        for tool in self.tools.values_mut().filter(|tool| tool.call.deadline().is_some_and(|deadline| deadline <= now))
        {
            tool.call.ending.timed_out = true;
            tool.kill();
        }
        self.shell.check_deadline(now);
    }

    /// Ends every call that runs, and what earlier ones left running: whichever writes to the disk is among them.
    fn end_all(&mut self) {
        for tool in self.tools.values_mut() {
            tool.call.doomed = true;
            tool.kill();
        }
        self.shell.kill_everything(Instant::now());
    }

    /// The supervisor may have put another root under us.
    fn look_at_root(&mut self) {
        let root = root_device();
        if std::mem::replace(&mut self.root, root) != root {
            // If this fails, the next job starts one.
            let _ = self.executor.renew();
        }
    }

    /// Has the supervisor look at the board.
    fn ring(&self) {
        let _ = rustix::io::write(self.bell, &1u64.to_ne_bytes());
    }

    fn is_busy(&self) -> bool {
        !self.tools.is_empty() || self.shell.is_busy()
    }

    /// Asks everything to end. Calls that are under way end with it, and their journals say so.
    fn stop(&mut self, grace: Duration) {
        self.stop_by = Some(Instant::now() + grace);
        let tops: Vec<i32> = self.tools.values().filter_map(ToolProcess::top).chain(self.shell.top()).collect();
        process_tree::ask_to_end(self.executor.pid(), &tops);
    }

    fn has_stopped(&mut self) -> bool {
        let Some(stop_by) = self.stop_by else { return false };
        let is_alone = !process_tree::any_tool(self.executor.pid());
        // Who has ended since it was last listened to has said how: that is still to be heard.
        let all_is_heard = std::mem::replace(&mut self.was_alone, is_alone) || !self.is_busy();
        if stop_by > Instant::now() && !(is_alone && all_is_heard) {
            return false;
        }
        let tools: Vec<Call> = self.tools.drain().map(|(_, tool)| tool.into_parts().0).collect();
        for mut call in tools.into_iter().chain(self.shell.take_calls()) {
            call.ending.cancelled = true;
            self.finish(call, End::Signal(libc::SIGKILL));
        }
        true
    }

    fn drain(&mut self, at: usize) {
        // An earlier wake of this round may have moved it; it is found in the next.
        let Some(pipe) = self.drains.get(at) else { return };
        match read_chunk(pipe) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(_) => {}
        }
        self.drains.swap_remove(at);
    }
}

/// Each overlay is a device of its own.
fn root_device() -> Option<u64> {
    rustix::fs::stat("/").ok().map(|root| root.st_dev)
}

/// What the order is, and its payload if the keeper itself needs it.
fn read_order(order: &mut File) -> std::io::Result<(Sheet, Vec<u8>)> {
    let sheet = super::tool::read_sheet(order)?;
    let mut command = Vec::new();
    if matches!(sheet, Sheet::Shell { .. }) {
        order.read_to_end(&mut command)?;
    }
    Ok((sheet, command))
}
