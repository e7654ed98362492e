use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use super::landlock::{self, Root};
use super::privileges::{self, Capabilities};
use super::signals;
use super::tool::{self, Notice};
use crate::dispatch::Ops;
use crate::fences::Fence;
use crate::supervisor::{AGENT, Board, ProcessLimits};
use crate::wire::{SHORT, decode, encode, receive, send};

/// What the executor forks, and the descriptors that come along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Job {
    /// With the order, where its output and errors go, and where its [`Notice`]s go.
    Exec,
    /// As `Exec`.
    Op,
    /// With the order, where input comes from, where output and errors go, where controls come from, and where its
    /// [`Notice`]s go.
    Attended,
    /// With where commands come from, where output goes, where statuses go, and where its [`Notice`]s go.
    Shell,
}

/// What every tool finds in its environment, unless the session says otherwise.
const DEFAULT_ENV: [(&str, &str); 8] = [
    ("PATH", "/home/agent/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/home/agent"),
    ("USER", "agent"),
    ("LOGNAME", "agent"),
    ("SHELL", "/bin/bash"),
    ("TERM", "dumb"),
    ("LANG", "C.UTF-8"),
    ("TMPDIR", "/tmp"),
];

/// The keeper's hold on its executor: a process within the limits, of the tools' own user, that forks them.
///
/// Forking them there, instead of moving each into the limits, saves milliseconds per call. Tools can kill it, and lack
/// of memory can; then the next job gets a new one.
#[derive(Debug)]
pub(crate) struct Executor {
    entrances: Vec<OwnedFd>,
    cpu_entrance: Option<OwnedFd>,
    env: Vec<(String, String)>,
    ops: Ops,
    board: &'static Board,
    socket: Option<OwnedFd>,
    /// Which root it was started in: sealing replaces it.
    root: Option<Root>,
    /// What it was limited to when it was started.
    limits: Option<ProcessLimits>,
    pid: i32,
}

impl Executor {
    /// Nothing is started until [`start`](Self::start) or the first job.
    pub(crate) fn new(entrances: Vec<OwnedFd>, cpu_entrance: Option<OwnedFd>, ops: Ops, board: &'static Board) -> Self {
        let env = DEFAULT_ENV.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Self { entrances, cpu_entrance, env, ops, board, socket: None, root: None, limits: None, pid: 0 }
    }

    /// Starts one. Entering the limits takes it up to some milliseconds on cgroup version 1; it does so while the keeper
    /// goes on, and takes no job before.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        self.root = Some(Root::now()?);
        self.limits = Some(self.board.process_limits());
        // An earlier one, whose tools may not write what is in another root, ends when it isn't spoken to any more.
        self.socket = None;
        self.pid = fork_into(|| self.serve(&its))?;
        self.socket = Some(ours);
        Ok(())
    }

    /// Replaces it by another: what it has taken of the root, which is no longer that, would not be right. Nothing runs meanwhile.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        self.socket = None;
        if self.pid > 0 {
            // SAFETY: it is our child; if it has been waited for, there is no process of this number to wait for.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
        self.start()
    }

    /// Has tools find this in their environment, from the first one on, and is ready to be given jobs. One that runs is replaced
    /// if it was started in another root or with other limits, or has another environment.
    pub(crate) fn suit(&mut self, env: Vec<(String, String)>) -> io::Result<()> {
        let suits =
            env.is_empty() && self.root == Some(Root::now()?) && self.limits == Some(self.board.process_limits());
        self.env = tool::overlaid(&self.env, env);
        if suits { Ok(()) } else { self.renew() }
    }

    /// Lets go of the present one: what it has forked goes on, and the next job gets another.
    pub(crate) fn retire(&mut self) {
        self.socket = None;
    }

    /// Ends the present one, which doesn't do what it is told: tools, being the same user, can stop it. What it has not forked yet
    /// it never will, and what it has goes on.
    pub(crate) fn end(&mut self) {
        self.socket = None;
        if self.pid > 0 {
            // SAFETY: takes numbers only. If it has been waited for, whoever has its number now is a process of this sandbox.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
        }
    }

    /// The process of the present one.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Has a job forked; its notices say what became of it.
    pub(crate) fn give(&mut self, job: Job, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let line = encode(&job);
        let root = Root::now()?;
        if let Some(socket) = &self.socket
            && self.root == Some(root)
            && send(socket, &line, descriptors, SendFlags::empty()).is_ok()
        {
            return Ok(());
        }
        self.start()?;
        let socket = self.socket.as_ref().expect("it was just started");
        send(socket, &line, descriptors, SendFlags::empty())
    }

    /// The executor's own life.
    fn serve(&self, socket: &OwnedFd) -> i32 {
        // First of all, lest anyone wait for the end of a pipe of which this has a copy.
        let mut keep: Vec<i32> =
            self.entrances.iter().chain(&self.cpu_entrance).chain([socket]).map(AsRawFd::as_raw_fd).collect();
        keep.sort_unstable();
        signals::close_all_but(&keep);
        let limited = self.enter_limits();
        signals::close_all_but(&[socket.as_raw_fd()]);
        let unable = limited
            .and_then(|()| fill_standard_descriptors())
            .and_then(|()| limit_processes(self.board.process_limits()))
            .and_then(|()| self.board.leave())
            .and_then(|()| become_agent())
            .err()
            .map(|error| format!("the sandbox's limits can't be applied: {error}"));
        while let Ok(Some(packet)) = receive(socket, SHORT, RecvFlags::empty()) {
            let Ok((job, _)) = decode::<Job>(&packet.bytes) else { continue };
            let Some(notices) = packet.descriptors.last().and_then(|fd| fd.try_clone().ok()) else { continue };
            if let Some(reason) = &unable {
                Notice::Unable(reason.clone()).give(&notices);
                continue;
            }
            if let Err(error) = fork_into(|| tool::tend(job, packet.descriptors, &self.env, self.ops)) {
                Notice::Unable(format!("can't start a process: {error}")).give(&notices);
            }
        }
        0
    }

    fn enter_limits(&self) -> io::Result<()> {
        let cpu = self.cpu_entrance.iter().filter(|_| self.board.limits_cpu());
        self.entrances
            .iter()
            .chain(cpu)
            .try_for_each(|entrance| rustix::io::write(entrance.as_fd(), b"0").map(drop).map_err(Into::into))
    }
}

/// Descriptors that are passed to us must not be numbered as the standard ones, which tools replace.
fn fill_standard_descriptors() -> io::Result<()> {
    loop {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        if null.as_raw_fd() > 2 {
            return Ok(());
        }
        std::mem::forget(null);
    }
}

/// How many files a program has open at most unless it asks for more: what programs expect, some of which take longer the
/// higher it is.
pub(crate) const USUAL_OPEN_FILES: u64 = 1024;

/// Sets what this process and all it forks are limited to. None of them can raise it again, but for a fence: that it may have
/// to be lifted again, for which not every host has the right.
fn limit_processes(ProcessLimits { open_files, file_bytes, processes, fenced }: ProcessLimits) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = open_files.into_iter().chain(getrlimit(Resource::Nofile).maximum).min();
    let usual = most.map_or(USUAL_OPEN_FILES, |most| most.min(USUAL_OPEN_FILES));
    setrlimit(Resource::Nofile, Rlimit { current: Some(usual), maximum: most })?;
    let longest = file_bytes.into_iter().chain(getrlimit(Resource::Fsize).maximum).min();
    setrlimit(Resource::Fsize, Rlimit { current: if fenced { Some(0) } else { longest }, maximum: longest })?;
    if processes.is_some() {
        // Counted in this user namespace alone, since Linux 5.14.
        let most = processes.into_iter().chain(getrlimit(Resource::Nproc).maximum).min();
        setrlimit(Resource::Nproc, Rlimit { current: most, maximum: most })?;
    }
    Ok(())
}

/// Becomes the user that tools are, without any right over others.
fn become_agent() -> io::Result<()> {
    if Fence::Capabilities.is_up() {
        privileges::bound(Capabilities::NONE)?;
        privileges::become_user(AGENT)?;
        privileges::set_capabilities(Capabilities::NONE)?;
    }
    #[cfg(feature = "weakened")]
    if !Fence::Capabilities.is_up() {
        privileges::keep_by_exec()?;
    }
    privileges::hide_from_peers()?;
    privileges::die_with_parent()?;
    landlock::confine()?;
    // Its children, each at the top of a tool's tree, report for themselves; but the time they took is counted only if they
    // are waited for.
    // SAFETY: sets a disposition of this process; the handler does what a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = reap as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_NOCLDSTOP;
        match libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) {
            0 => {
                // The keeper waits for signals otherwise, and this is a copy of it.
                let mut set: libc::sigset_t = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, libc::SIGCHLD);
                libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
                Ok(())
            }
            _ => Err(io::Error::last_os_error()),
        }
    }
}

extern "C" fn reap(_: libc::c_int) {
    // SAFETY: takes no pointer that matters, and leaves the interrupted code its `errno`.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        while libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) > 0 {}
        *errno = saved;
    }
}

/// Forks a process that does this and ends, and gives its id. It must not return into the code that forked it, by panic
/// least of all.
pub(crate) fn fork_into(life: impl FnOnce() -> i32) -> io::Result<i32> {
    // SAFETY: keeper, executor and the tops of the trees have one thread each, so a copy finds every lock open.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life)).unwrap_or(101);
            // SAFETY: ends this process.
            unsafe { libc::_exit(code) }
        }
        pid => Ok(pid),
    }
}

/// As [`fork_into`], for a process that is to become another program at once: it borrows this one's memory until it
/// does, instead of getting a copy that nobody needs, and this one waits meanwhile.
pub(crate) fn borrow_into(life: impl FnOnce() -> i32) -> io::Result<i32> {
    extern "C" fn begin<F: FnOnce() -> i32>(life: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is the place of `life` below, whose owner waits until this process is another.
        let life = unsafe { (*life.cast::<Option<F>>()).take() };
        let run = || life.map_or(101, |life| life());
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(101)
    }
    fn entry<F: FnOnce() -> i32>(_: &Option<F>) -> extern "C" fn(*mut libc::c_void) -> libc::c_int {
        begin::<F>
    }
    let mut life = Some(life);
    let mut stack = vec![0u8; BORROWED_STACK_BYTES];
    let top = stack.as_mut_ptr_range().end.map_addr(|end| end & !0xf);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack and `life` live until the call returns, and with CLONE_VFORK it does so only when the new process
    // has ended or become another program. It leaves by `_exit`, which `clone` calls for it.
    match unsafe { libc::clone(entry(&life), top.cast(), flags, (&raw mut life).cast()) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// Room for reading an order and finding the program.
const BORROWED_STACK_BYTES: usize = 256 * 1024;
