use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use super::reach::Reach;
use super::requirements::Place;
use super::serve::Supervisor;
use super::{Doing, Failure, Standing, own_namespace, predecessors, requirements, scope, subordinate};
use crate::dispatch::{Ops, SUPERVISOR};
use crate::native::cgroup_name;

/// What a supervisor is told by who starts it, in [`CONFIG_VARIABLE`]. Tools may read the command line that their keeper
/// shares with it, so that has only a name made from the directory's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) dir: PathBuf,
    pub(crate) linger: Duration,
    /// Whether to put sandboxes into cgroups at all; without, no limit can be enforced.
    pub(crate) cgroups: bool,
    /// How many bytes of the disk sandboxes leave to the host; `None`: a gibibyte, of small disks less.
    #[serde(default)]
    pub(crate) disk_floor_bytes: Option<u64>,
    /// Whether this is a supervisor in namespaces of its own already.
    #[serde(default)]
    pub(crate) entered: bool,
    /// Above how many layers that sessions made a stack is made flatter.
    #[serde(default = "most_layers")]
    pub(crate) most_layers: usize,
    /// Whether sealed layers are archived.
    #[serde(default)]
    pub(crate) archive_layers: bool,
    /// How many sandboxes to make ahead.
    #[serde(default)]
    pub(crate) pool: usize,
    /// Whether to do without mounts that are nowhere, though the kernel takes them.
    #[serde(default)]
    pub(crate) attach_mounts: bool,
}

fn most_layers() -> usize {
    super::MOST_LAYERS
}

/// The variable that has the configuration. Tools can't read a supervisor's or a keeper's environment.
pub(crate) const CONFIG_VARIABLE: &str = "TENURE_SANDBOX_CONFIG";

/// What a supervisor says when it has started, on its standard output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Started {
    Ready,
    /// Another one keeps the directory.
    Taken,
    /// Nothing: that is what one says that is killed before it says anything.
    Died,
    Failed(Failure),
}

/// Becomes the supervisor: leaves the session of who started it, takes the directory, says so, and serves.
pub(crate) fn start(ops: Ops) -> ! {
    let config: Config = std::env::var(CONFIG_VARIABLE)
        .ok()
        .and_then(|config| serde_json::from_str(&config).ok())
        .unwrap_or_else(|| std::process::exit(2));
    if !config.entered {
        leave_starter();
    }
    let code = match prepare(config, ops) {
        Ok(Some(mut supervisor)) => {
            say(&Started::Ready);
            let_go_of_starter();
            supervisor.serve();
            0
        }
        Ok(None) => {
            say(&Started::Taken);
            0
        }
        Err(failure) => {
            say(&Started::Failed(failure));
            1
        }
    };
    std::process::exit(code)
}

fn leave_starter() {
    // SAFETY: no thread has been started: `dispatch` is the first line of `main`.
    match unsafe { libc::fork() } {
        0 => {}
        -1 => std::process::exit(1),
        _ => std::process::exit(0),
    }
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    rustix::process::umask(Mode::from_raw_mode(0o022));
    allow_many_files();
}

/// Lets this process have as many files open as it may. A supervisor holds some for each sandbox; tools get the usual
/// number again.
pub(crate) fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
}

/// Says how starting went to who waits for it.
fn say(outcome: &Started) {
    let _ = io::stdout().write_all(&serde_json::to_vec(outcome).unwrap_or_default());
    let _ = io::stdout().flush();
}

/// Closes the pipe, which ends the wait. Where starting failed, the end of the process does, so that whoever waited finds
/// it gone.
fn let_go_of_starter() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

fn prepare(config: Config, ops: Ops) -> Result<Option<Supervisor>, Failure> {
    if !config.entered && requirements::check_process()? == Place::ToBeMade {
        let inside = serde_json::to_string(&Config { entered: true, ..config.clone() }).unwrap_or_default();
        let mut again = Command::new("/proc/self/exe");
        again.arg0(SUPERVISOR).arg(cgroup_name(&config.dir)).env(CONFIG_VARIABLE, inside);
        match own_namespace::enter(again, subordinate::settle(&config.dir)?)? {}
    }
    let dir = config.dir.clone();
    // Only to see whether users can be claimed: where not, nothing is to be made either.
    Ranges::open()?;
    Standing::ours().check_owner(&dir)?;
    let reach = Reach::prepare(&dir, config.attach_mounts)?;
    requirements::check_directory(&dir, &reach)?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir.join("sessions"))
        .doing(|| format!("making {}", dir.display()))?;
    let Some(lock) = take(&dir).doing(|| format!("locking {}", dir.display()))? else { return Ok(None) };
    requirements::cut_short(&dir).iter().for_each(|trial| drop(std::fs::remove_dir_all(trial)));
    predecessors::end(&cgroup_name(&dir)).doing(|| "waiting for the end of earlier sandboxes".to_owned())?;
    if config.cgroups && Standing::ours() == Standing::Root {
        enter_scope(&cgroup_name(&dir));
    }
    let listener = listen_at(&dir, "supervisor.sock").doing(|| "listening for the server".to_owned())?;
    Supervisor::new(config, ops, lock, listener, reach).map(Some)
}

/// Without a scope, groups are made at the top of the hierarchy.
#[expect(clippy::print_stderr, reason = "its standard error is the supervisor's log")]
fn enter_scope(name: &str) {
    if let Err(error) = scope::enter(name) {
        eprintln!("systemd made no unit for sandboxes beside the server's: {error}");
    }
}

/// Takes the directory for this process and its life; `None` if another supervisor has it.
fn take(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let lock = open(dir.join("supervisor.lock"), flags, Mode::from_raw_mode(0o600))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A socket of this name in the directory. It is addressed through the directory's descriptor, since a socket's address
/// is at most 107 bytes long and a data directory may not be.
pub(crate) fn listen_at(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let directory = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    bind(&socket, &address_in(&directory, name)?)?;
    rustix::fs::chmodat(CWD, dir.join(name), Mode::from_raw_mode(0o600), rustix::fs::AtFlags::empty())?;
    listen(&socket, 64)?;
    Ok(socket)
}

/// The address of a socket in an open directory.
pub(crate) fn address_in(directory: impl AsFd, name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd()))?)
}
