use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::layers::{Detached, Slot};
use super::requirements::refuse_user_namespace;
use super::start::listen_at;
use super::zygote::{Passed, Wanted, Zygote};
use super::{Doing, Failure, Group, Standing, idmap};
use crate::fences::{self, Fence};
use crate::guest::events::EventFiles;
use crate::guest::setup::{Tenant, Terms};
use crate::spec::{Applied, Spec};
use crate::wire::{encode, send};

/// The name of the socket on which a sandbox's keeper can be reached, in the session's directory.
pub(crate) const KEEPER_SOCKET: &str = "keeper.sock";
/// The file in a session's directory that isn't empty once the session had a shell.
pub(crate) const SHELL_MARK: &str = "shell";

/// The namespaces that a sandbox has of its own.
pub(super) fn namespaces() -> libc::c_int {
    let always = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    let fenced =
        [(Fence::Pids, libc::CLONE_NEWPID), (Fence::Network, libc::CLONE_NEWNET), (Fence::Ipc, libc::CLONE_NEWIPC)];
    fenced.into_iter().filter(|(fence, _)| fence.is_up()).fold(always, |all, (_, namespace)| all | namespace)
}

/// What a session brings along to its sandbox.
pub(crate) fn tenant(spec: Spec, session_dir: &Path, epoch: u64) -> Result<Tenant, Failure> {
    let listener = listen_at(session_dir, KEEPER_SOCKET).doing(|| "listening for orders".to_owned())?;
    let shell_mark = File::options()
        .append(true)
        .create(true)
        .open(session_dir.join(SHELL_MARK))
        .doing(|| "opening the shell's mark".to_owned())?;
    Ok(Tenant { listener, shell_mark: shell_mark.into(), terms: Terms { env: spec.env, epoch } })
}

/// A keeper that is ready, and where it is told whose it is, if it hasn't been.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) keeper: i32,
    pub(crate) claim: OwnedFd,
}

/// Makes a sandbox and waits until its keeper is ready. A spare one has still to be told its terms.
pub(crate) fn create(
    zygote: &mut Zygote,
    tenant: Tenant,
    is_spare: bool,
    mounts: Vec<Detached>,
    slot: &Slot,
    group: &mut Group,
) -> Result<Created, Failure> {
    let (mapped, say_mapped) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let (outcome, say_outcome) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let (claim, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .doing(|| "making a pair of sockets".to_owned())?;
    if !is_spare {
        send(&claim, &encode(&tenant.terms), &[], SendFlags::empty()).doing(|| "telling a keeper".to_owned())?;
    }
    let first_uid = if Fence::OwnUsers.is_up() { slot.base() } else { 0 };
    let passed = Passed {
        mounts: &mounts,
        pipes: [&mapped, &say_outcome, &theirs],
        place: [&tenant.listener, &tenant.shell_mark],
        cpu_entrance: group.cpu_entrance.as_ref(),
        events: &group.events,
        entrances: &group.entrances,
    };
    let wanted = Wanted {
        targets: mounts.iter().map(|mount| mount.target.clone()).collect(),
        board: slot.index,
        owner: first_uid,
        // What is missing is for people.
        limits: Applied { missing: Vec::new(), ..group.applied.clone() },
        is_spare,
        entrances: group.entrances.len(),
        has_cpu_entrance: group.cpu_entrance.is_some(),
        has_memory_events: group.events.memory.is_some(),
        has_pids_events: group.events.pids.is_some(),
        fences_down: fences::down(),
    };
    let keeper = zygote.fork(&wanted, &passed.all()).map_err(refuse_user_namespace)?;
    if !is_spare {
        crate::failpoint::pass("supervisor.forked");
    }
    drop((mapped, say_outcome, theirs, mounts, tenant));
    // What the keeper has now is not ours to hold: a group can't be removed from under an open file, nor should we pay
    // for a thousand of them.
    group.entrances.clear();
    group.cpu_entrance = None;
    group.events = EventFiles::default();
    let ready = idmap::write_map(keeper.into(), &Standing::ours().map(first_uid))
        .and_then(|()| File::from(say_mapped).write_all(b"1"))
        .doing(|| "mapping the sandbox's users".to_owned())
        .and_then(|()| wait_ready(outcome));
    if ready.is_err() {
        // SAFETY: the child is ours and not yet waited for.
        unsafe {
            libc::kill(keeper, libc::SIGKILL);
            libc::waitpid(keeper, std::ptr::null_mut(), 0);
        }
    }
    ready.map(|()| Created { keeper, claim })
}

/// The keeper says `ok`, or what went wrong, and closes the pipe; if it dies it says nothing. Its executor has a copy of the pipe
/// for a moment, which needn't be waited for.
fn wait_ready(outcome: OwnedFd) -> Result<(), Failure> {
    let (mut outcome, mut said) = (File::from(outcome), vec![0; 2]);
    let doing = || "waiting for the sandbox".to_owned();
    let length = outcome.read(&mut said).doing(doing)?;
    said.truncate(length);
    if said != b"ok" {
        outcome.read_to_end(&mut said).doing(doing)?;
    }
    match said.as_slice() {
        b"ok" => Ok(()),
        b"" => Err(Failure::Failed { doing: "setting up the sandbox".to_owned(), cause: "it died".to_owned() }),
        text => Err(serde_json::from_slice(text).unwrap_or_else(|_| Failure::Failed {
            doing: "setting up the sandbox".to_owned(),
            cause: String::from_utf8_lossy(text).into_owned(),
        })),
    }
}
