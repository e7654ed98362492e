use serde::{Deserialize, Serialize};
use tenure_core::id::SessionId;
use tenure_core::packages::Packages;
use tenure_core::root::Root;

use crate::Progress;

/// What a sandbox is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Whose it is. One session has at most one live sandbox.
    pub session: SessionId,
    /// What it may use.
    pub limits: Limits,
    /// Added to the environment of every process, over the defaults (`PATH`, `HOME`, `LANG`, `TERM` …).
    pub env: Vec<(String, String)>,
    /// What it may reach.
    pub network: Network,
    /// What its root file system is, if it is made for the first time; later it is what it was then.
    #[serde(skip)]
    pub root: Root,
    /// What is installed in it then.
    #[serde(skip)]
    pub packages: Packages,
    /// Who hears what is being done until it is open.
    #[serde(skip)]
    pub progress: Progress,
}

impl Spec {
    /// A sandbox with default limits, nothing added to its environment, and no network.
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            limits: Limits::default(),
            env: Vec::new(),
            network: Network::Loopback,
            root: Root::Host,
            packages: Packages::default(),
            progress: Progress::default(),
        }
    }
}

/// What a sandbox may use. A limit that is set is mandatory: if the host can't enforce it, opening fails. One that is
/// not set gets its default where the host can enforce it, and [`Applied::missing`] says where not.
///
/// An environment's limits have more, those of calls, which come with each order. These are what goes to the supervisor, in a form that
/// changes with the version of the protocol alone, so they are a type of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all its processes and of the files in `/tmp`, `/run` and `/dev/shm`. Default: 2 GiB.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of a processor. Default: no limit.
    pub cpu_millis: Option<u32>,
    /// Processes and threads. Default: 512.
    pub pids: Option<u32>,
    /// Bytes on the disk of everything the session has written and not removed, and the longest a file may be. Default:
    /// 10 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Files and directories on the disk that the session has made and not removed. Default: 1,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Files that one process may have open, 256 or more: the shell's own have high numbers. Default: 65,536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
}

impl Limits {
    /// The memory limit where none is set.
    pub const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;
    /// The limit of processes and threads where none is set.
    pub const DEFAULT_PIDS: u32 = 512;
    /// The limit of bytes on the disk where none is set.
    pub const DEFAULT_DISK_BYTES: u64 = 10 << 30;
    /// The limit of files on the disk where none is set.
    pub const DEFAULT_INODES: u64 = 1_000_000;
    /// The limit of files that a process has open where none is set.
    pub const DEFAULT_OPEN_FILES: u32 = 65_536;
}

/// The limits that are in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The memory limit, if there is one.
    pub memory_bytes: Option<u64>,
    /// The processor limit, if there is one.
    pub cpu_millis: Option<u32>,
    /// The limit of processes, if there is one.
    pub pids: Option<u32>,
    /// The limit of bytes on the disk, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// The limit of files on the disk, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// The limit of files that a process has open, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// Defaults that this host can't enforce, each with its cause, for people.
    pub missing: Vec<String>,
}

impl Applied {
    /// Notes the limits that need nothing of the host.
    pub(crate) fn note_plain(&mut self, set: Limits) {
        self.disk_bytes = set.disk_bytes.or(Some(Limits::DEFAULT_DISK_BYTES));
        self.inodes = set.inodes.or(Some(Limits::DEFAULT_INODES));
        // No process can be given more than this one may have.
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
        let open_files = set.open_files.unwrap_or(Limits::DEFAULT_OPEN_FILES);
        self.open_files = Some(most.map_or(open_files, |most| open_files.min(u32::try_from(most).unwrap_or(u32::MAX))));
    }
}

impl Limits {
    /// Whether only a supervisor that speaks version 3 can keep them.
    pub(crate) fn since_3(&self) -> bool {
        self.disk_bytes.is_some() || self.inodes.is_some() || self.open_files.is_some()
    }
}

/// What a session uses now. What isn't known is absent; all but the disk is, where no sandbox is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Memory, as the limit counts it; where no cgroup does, what is resident of its processes.
    pub memory_bytes: Option<u64>,
    /// The most memory since the sandbox was made.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time of all that ran since the sandbox was made, in milliseconds.
    pub cpu_ms: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes on the disk.
    pub disk_bytes: Option<u64>,
    /// Files and directories on the disk.
    pub inodes: Option<u64>,
    /// The limits in force.
    pub limits: Option<Applied>,
}

/// What a sandbox may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Its own loopback device and nothing else.
    Loopback,
}
