use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::pipe::{PipeFlags, pipe_with};

use super::layers::Detached;
use super::ownership::Ownership;
use super::requirements::refuse_user_namespace;
use super::start::listen_at;
use super::{Doing, Failure, Group, Standing, idmap};
use crate::fences::Fence;
use crate::guest::events::EventFiles;
use crate::guest::setup::{self, Inherited, Setup, Tenancy, Tenant, Terms};
use crate::spec::Spec;

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

/// Makes a sandbox and waits until its keeper is ready; gives the keeper's process id.
pub(crate) fn create(
    tenancy: Tenancy,
    mounts: Vec<Detached>,
    first_uid: u32,
    group: &mut Group,
    inherited: Inherited,
) -> Result<i32, Failure> {
    let is_known = matches!(tenancy, Tenancy::Known(_));
    let (mapped, say_mapped) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let (outcome, say_outcome) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;

    let first_uid = if Fence::OwnUsers.is_up() { first_uid } else { 0 };
    let ownership = Ownership::of(first_uid).doing(|| "acting as the sandbox's user".to_owned())?;
    // SAFETY: this process has one thread, so its copy finds every lock open; the child only goes on to `setup::enter`,
    // which never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, namespaces() | libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        let error = io::Error::last_os_error();
        drop(ownership);
        return Err(refuse_user_namespace(error));
    }
    if pid == 0 {
        let entrances = std::mem::take(&mut group.entrances);
        setup::enter(Setup {
            mounts,
            tenancy,
            entrances,
            cpu_entrance: group.cpu_entrance.take(),
            events: std::mem::take(&mut group.events),
            limits: group.applied.clone(),
            mapped,
            outcome: say_outcome,
            inherited,
        });
    }
    drop(ownership);
    if is_known {
        crate::failpoint::pass("supervisor.forked");
    }
    drop((mapped, say_outcome, mounts, tenancy));
    // What the keeper has now is not ours to hold: a group can't be removed from under an open file, nor should we pay
    // for a thousand of them.
    group.entrances.clear();
    group.cpu_entrance = None;
    group.events = EventFiles::default();
    let ready = idmap::write_map(pid, &Standing::ours().map(first_uid))
        .and_then(|()| File::from(say_mapped).write_all(b"1"))
        .doing(|| "mapping the sandbox's users".to_owned())
        .and_then(|()| wait_ready(outcome));
    if ready.is_err() {
        // SAFETY: the child is ours and not yet waited for.
        unsafe {
            libc::kill(pid as i32, libc::SIGKILL);
            libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
        }
    }
    ready.map(|()| pid as i32)
}

/// The keeper says `ok`, or what went wrong, and closes the pipe; if it dies it says nothing.
fn wait_ready(outcome: OwnedFd) -> Result<(), Failure> {
    let mut said = Vec::new();
    File::from(outcome).read_to_end(&mut said).doing(|| "waiting for the sandbox".to_owned())?;
    match said.as_slice() {
        b"ok" => Ok(()),
        b"" => Err(Failure::Failed { doing: "setting up the sandbox".to_owned(), cause: "it died".to_owned() }),
        text => Err(serde_json::from_slice(text).unwrap_or_else(|_| Failure::Failed {
            doing: "setting up the sandbox".to_owned(),
            cause: String::from_utf8_lossy(text).into_owned(),
        })),
    }
}
