use serde::{Deserialize, Serialize};
use tenure_core::id::SessionId;

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
}

impl Spec {
    /// A sandbox with default limits, nothing added to its environment, and no network.
    pub fn new(session: SessionId) -> Self {
        Self { session, limits: Limits::default(), env: Vec::new(), network: Network::Loopback }
    }
}

/// What a sandbox may use. A limit that is set is mandatory: if the host can't enforce it, opening fails. One that is
/// not set gets its default where the host can enforce it, and [`Applied::missing`] says where not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all its processes and of the files in `/tmp`, `/run` and `/dev/shm`. Default: 2 GiB.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of a processor. Default: no limit.
    pub cpu_millis: Option<u32>,
    /// Processes and threads. Default: 512.
    pub pids: Option<u32>,
}

impl Limits {
    /// The memory limit where none is set.
    pub const DEFAULT_MEMORY_BYTES: u64 = 2 << 30;
    /// The limit of processes and threads where none is set.
    pub const DEFAULT_PIDS: u32 = 512;
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
    /// Defaults that this host can't enforce, each with its cause, for people.
    pub missing: Vec<String>,
}

/// What a sandbox may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Its own loopback device and nothing else.
    Loopback,
}
