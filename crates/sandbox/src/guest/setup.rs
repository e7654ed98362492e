use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};

use super::events::EventFiles;
use super::executor::Executor;
use super::keeper::Keeper;
use super::privileges::{self, Capabilities};
use super::server_link::ServerLink;
use super::{mounts, seccomp, signals};
use crate::dispatch::Ops;
use crate::fences::Fence;
use crate::spec::Applied;
use crate::supervisor::{Board, Detached, Doing, Failure, HOSTNAME, Standing};
use crate::wire::{decode, length_of_next, receive};

/// What a keeper is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) mounts: Vec<Detached>,
    pub(crate) listener: OwnedFd,
    pub(crate) shell_mark: OwnedFd,
    /// Where it is told its terms: when it is ready, or before if it isn't spare.
    pub(crate) claim: OwnedFd,
    /// Nobody's yet.
    pub(crate) is_spare: bool,
    pub(crate) entrances: Vec<OwnedFd>,
    pub(crate) cpu_entrance: Option<OwnedFd>,
    pub(crate) events: EventFiles,
    pub(crate) limits: Applied,
    pub(crate) mapped: OwnedFd,
    pub(crate) outcome: OwnedFd,
    pub(crate) inherited: Inherited,
}

/// What a keeper has from its supervisor, whatever session it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inherited {
    /// Where it says whether a call is running, and hears of limits.
    pub(crate) board: &'static Board,
    /// What to ring when a call begins.
    pub(crate) bell: &'static OwnedFd,
    pub(crate) ops: Ops,
}

/// A session that has a sandbox.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) listener: OwnedFd,
    pub(crate) shell_mark: OwnedFd,
    pub(crate) terms: Terms,
}

/// What of it can be written down.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) env: Vec<(String, String)>,
    /// The latest epoch that the supervisor knows of.
    pub(crate) epoch: u64,
}

/// Turns this fresh copy of the supervisor, PID 1 of new namespaces, into a keeper, and never returns.
pub(crate) fn enter(setup: Setup) -> ! {
    // A panic must end here: above are the frames of the supervisor.
    let code = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(setup))) {
        Ok(()) => 0,
        Err(_) => 101,
    };
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

fn live(setup: Setup) {
    close_what_is_not_ours(&setup);
    let (Ok(outcome), Ok(claim)) = (setup.outcome.try_clone(), setup.claim.try_clone()) else { return };
    let (mut outcome, is_spare) = (File::from(outcome), setup.is_spare);
    let made = make(setup).and_then(|mut keeper| {
        match is_spare {
            true => keeper.get_ready().doing(|| "starting the executor".to_owned())?,
            false => wait_for_session(&mut keeper, &claim).doing(|| "starting the executor".to_owned())?,
        }
        Ok(keeper)
    });
    let said = match &made {
        Ok(_) => b"ok".to_vec(),
        Err(failure) => serde_json::to_vec(failure).unwrap_or_default(),
    };
    let _ = outcome.write_all(&said);
    drop(outcome);
    if let Ok(mut keeper) = made
        && (!is_spare || wait_for_session(&mut keeper, &claim).is_ok())
    {
        drop(claim);
        keeper.serve();
    }
}

/// Nothing is to be done until then. If the supervisor dies, so does this.
fn wait_for_session(keeper: &mut Keeper, claim: &OwnedFd) -> io::Result<()> {
    // No longer a place than it takes, which this process would keep for its life.
    let length = length_of_next(claim)?;
    let packet = receive(claim, length, RecvFlags::empty())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (terms, _) = decode::<Terms>(&packet.bytes)?;
    keeper.take_session(terms, packet.descriptors)
}

/// The supervisor's descriptors came along: its sockets, other sandboxes' mounts. They must not stay.
fn close_what_is_not_ours(setup: &Setup) {
    let Setup { mapped, outcome, claim, listener, shell_mark, inherited, .. } = setup;
    let mut keep: Vec<i32> =
        [mapped, outcome, claim, listener, shell_mark, inherited.bell].map(AsRawFd::as_raw_fd).to_vec();
    keep.extend(setup.mounts.iter().map(|mount| mount.mount.as_raw_fd()));
    keep.extend(
        setup.entrances.iter().chain(&setup.cpu_entrance).map(AsRawFd::as_raw_fd).chain(setup.events.descriptors()),
    );
    keep.extend([0, 1, 2]);
    keep.sort_unstable();
    signals::close_all_but(&keep);
}

/// Gives a keeper that isn't ready for any order yet.
fn make(setup: Setup) -> Result<Keeper, Failure> {
    wait_until_mapped(setup.mapped)?;
    privileges::become_user(Standing::ours().keeper()).doing(|| "becoming the sandbox's root".to_owned())?;
    // From here on: if the supervisor is dead by now, the pipe it holds the other end of says so.
    privileges::die_with_parent().doing(|| "tying the sandbox to its supervisor".to_owned())?;
    privileges::hide_from_peers().doing(|| "hiding the keeper".to_owned())?;
    mounts::build(setup.mounts, &setup.limits)?;
    if Fence::Network.is_up() {
        bring_up_loopback().doing(|| "bringing up the loopback device".to_owned())?;
    }
    rustix::system::sethostname(HOSTNAME.as_bytes()).doing(|| "naming the sandbox".to_owned())?;
    forbid_core_files();
    let _ = rustix::process::setsid();
    if Fence::Keyring.is_up() {
        privileges::leave_keys().doing(|| "leaving the host's keys".to_owned())?;
    }
    if Fence::NewPrivileges.is_up() {
        privileges::gain_nothing_by_exec().doing(|| "forbidding new privileges".to_owned())?;
    }
    if Fence::Capabilities.is_up() {
        privileges::set_capabilities(Capabilities::KEEPER).doing(|| "dropping capabilities".to_owned())?;
    }
    if Fence::Seccomp.is_up() {
        seccomp::install().doing(|| "filtering system calls".to_owned())?;
    }
    let signals = signals::open().doing(|| "watching for signals".to_owned())?;
    let Setup { listener, shell_mark, entrances, cpu_entrance, events, inherited, .. } = setup;
    let executor = Executor::new(entrances, cpu_entrance, inherited.ops, inherited.board);
    Ok(Keeper::new(ServerLink::new(listener), signals, executor, shell_mark, events, inherited))
}

fn wait_until_mapped(pipe: OwnedFd) -> Result<(), Failure> {
    let mut byte = [0];
    File::from(pipe).read_exact(&mut byte).doing(|| "waiting for the supervisor".to_owned())
}

fn bring_up_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an all-zero request is valid; the name is shorter than its field.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request lives across the call, which only reads it.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The host's pattern for core files may be a program of the host.
pub(super) fn forbid_core_files() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}
