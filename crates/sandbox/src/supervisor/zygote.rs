//! The process that keepers are forked from: a copy of the supervisor as it was when it had nothing to keep yet.
//!
//! Forked from the supervisor itself, each keeper would get a copy of all that the supervisor has come to know and to have open,
//! and pages of memory would be its alone only because the supervisor has written to them since.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::Board;
use super::create::namespaces;
use super::layers::Detached;
use super::ownership::Ownership;
use super::reach::Reach;
use crate::dispatch::Ops;
use crate::fences;
use crate::guest::events::EventFiles;
use crate::guest::executor::fork_into;
use crate::guest::setup::{self, Inherited, Setup};
use crate::guest::{privileges, signals};
use crate::spec::Applied;
use crate::wire::{Packet, SHORT, decode, encode, receive, send};

/// What it is called (`/proc/<pid>/comm`); its keepers are called as the supervisor is.
const NAME: &CStr = c"tenure-zygote";

/// How long it may take to fork. It takes a millisecond.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The supervisor's hold on it.
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: OwnedFd,
    process: OwnedFd,
    common: Common,
}

/// What all keepers have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common {
    pub(crate) boards: &'static [Board],
    pub(crate) bell: &'static OwnedFd,
    pub(crate) ops: Ops,
}

/// The keeper that is wanted. Its descriptors come along, in the order of [`take`](Wanted::take).
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Where each mount belongs.
    pub(crate) targets: Vec<String>,
    /// Which board is its own.
    pub(crate) board: u32,
    /// The user whose its user namespace is to be.
    pub(crate) owner: u32,
    pub(crate) limits: Applied,
    pub(crate) is_spare: bool,
    pub(crate) entrances: usize,
    pub(crate) has_cpu_entrance: bool,
    pub(crate) has_memory_events: bool,
    pub(crate) has_pids_events: bool,
    pub(crate) fences_down: String,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
enum Forked {
    Keeper(i32),
    Failed(i32),
}

impl Zygote {
    /// Forks it. The supervisor's own descriptors are closed in it, and it ends when the supervisor does.
    pub(crate) fn start(common: Common) -> io::Result<Self> {
        let (socket, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let pid = Pid::from_raw(fork_into(|| live(&its, common))?).ok_or(io::ErrorKind::InvalidInput)?;
        // It isn't waited for before this.
        Ok(Self { socket, process: pidfd_open(pid, PidfdFlags::empty())?, common })
    }

    /// Forks a keeper, which is a child of the supervisor. A zygote that is dead or stands still is replaced.
    pub(crate) fn fork(&mut self, wanted: &Wanted, descriptors: &[BorrowedFd<'_>]) -> io::Result<i32> {
        let order = encode(wanted);
        match send(&self.socket, &order, descriptors, SendFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.replace()?;
                send(&self.socket, &order, descriptors, SendFlags::empty())?;
            }
            sent => sent?,
        }
        match self.hear()? {
            Some(Forked::Keeper(pid)) => Ok(pid),
            Some(Forked::Failed(number)) => Err(io::Error::from_raw_os_error(number)),
            // It may have forked one, which hears the end of its pipe in a moment.
            None => {
                self.replace()?;
                Err(io::Error::other("the process that keepers are forked from died of it"))
            }
        }
    }

    fn hear(&self) -> io::Result<Option<Forked>> {
        if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&PATIENCE))? == 0 {
            return Ok(None);
        }
        let packet = receive(&self.socket, SHORT, RecvFlags::empty())?;
        packet.map(|packet| decode(&packet.bytes).map(|(forked, _)| forked)).transpose()
    }

    fn replace(&mut self) -> io::Result<()> {
        self.end();
        *self = Self::start(self.common)?;
        Ok(())
    }

    /// Ends it; it is reaped with the others.
    pub(crate) fn end(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}

/// The life of it. It changes as little as possible: what it writes to, all later keepers have to themselves.
fn live(socket: &OwnedFd, common: Common) -> i32 {
    let name = rustix::thread::name().unwrap_or_default();
    let _ = rustix::thread::set_name(NAME);
    // Whoever started the supervisor waits for the end of its standard output.
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
    let mut keep = [0, 1, 2, socket.as_raw_fd(), common.bell.as_raw_fd()];
    keep.sort_unstable();
    signals::close_of_supervisor(&keep);
    if privileges::die_with_parent().is_err() || Reach::leave().is_err() {
        return 1;
    }
    while let Ok(Some(packet)) = receive(socket, SHORT, RecvFlags::empty()) {
        let forked = match fork_keeper(packet, common, &name) {
            Ok(keeper) => Forked::Keeper(keeper),
            Err(error) => Forked::Failed(error.raw_os_error().unwrap_or(libc::EINVAL)),
        };
        if send(socket, &encode(&forked), &[], SendFlags::empty()).is_err() {
            break;
        }
    }
    0
}

fn fork_keeper(packet: Packet, common: Common, name: &CString) -> io::Result<i32> {
    let (wanted, _) = decode::<Wanted>(&packet.bytes)?;
    fences::set_down(&wanted.fences_down);
    let ownership = Ownership::of(wanted.owner)?;
    let flags = namespaces() | libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: this process has one thread, so its copy finds every lock open; the child only goes on to `setup::enter`,
    // which never returns.
    let keeper = match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => match wanted.take(packet.descriptors, common) {
            Some(setup) if setup.inherited.board.leave_others().is_ok() => {
                let _ = rustix::thread::set_name(name);
                setup::enter(setup)
            }
            // SAFETY: ends the process.
            Some(_) | None => unsafe { libc::_exit(1) },
        },
        pid => Ok(pid as i32),
    };
    drop(ownership);
    // Having been another user has undone it. It ends all the same when nobody speaks to it any more.
    let _ = privileges::die_with_parent();
    keeper
}

impl Wanted {
    /// Puts together what a keeper is made from.
    fn take(self, descriptors: Vec<OwnedFd>, common: Common) -> Option<Setup> {
        let mut descriptors = descriptors.into_iter();
        let mut next_if = |wanted: bool| if wanted { descriptors.next().map(Some) } else { Some(None) };
        let mut mounts = Vec::with_capacity(self.targets.len());
        for target in self.targets {
            mounts.push(Detached { target, mount: next_if(true)?? });
        }
        let [mapped, outcome, claim, listener, shell_mark] =
            [next_if(true)??, next_if(true)??, next_if(true)??, next_if(true)??, next_if(true)??];
        let cpu_entrance = next_if(self.has_cpu_entrance)?;
        let events = EventFiles { memory: next_if(self.has_memory_events)?, pids: next_if(self.has_pids_events)? };
        let entrances: Vec<OwnedFd> = descriptors.collect();
        let board = common.boards.get(self.board as usize)?;
        let inherited = Inherited { board, bell: common.bell, ops: common.ops };
        (entrances.len() == self.entrances).then_some(Setup {
            mounts,
            listener,
            shell_mark,
            claim,
            is_spare: self.is_spare,
            entrances,
            cpu_entrance,
            events,
            limits: self.limits,
            mapped,
            outcome,
            inherited,
        })
    }
}

/// The descriptors that go with a [`Wanted`].
pub(crate) struct Passed<'p> {
    pub(crate) mounts: &'p [Detached],
    /// Where it hears that its users are mapped, tells what came of it, and is told whose it is.
    pub(crate) pipes: [&'p OwnedFd; 3],
    /// Where a server finds it, and its shell's mark.
    pub(crate) place: [&'p OwnedFd; 2],
    pub(crate) cpu_entrance: Option<&'p OwnedFd>,
    pub(crate) events: &'p EventFiles,
    pub(crate) entrances: &'p [OwnedFd],
}

impl<'p> Passed<'p> {
    /// In the order in which they are taken.
    pub(crate) fn all(&self) -> Vec<BorrowedFd<'p>> {
        let mounts = self.mounts.iter().map(|mount| &mount.mount);
        let events = self.events.memory.iter().chain(&self.events.pids);
        let all = mounts.chain(self.pipes).chain(self.place).chain(self.cpu_entrance).chain(events);
        all.chain(self.entrances).map(AsFd::as_fd).collect()
    }
}
