use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenure_core::id::{ItemId, SessionId};

use crate::spec::{Applied, Spec};

/// The oldest version of these messages that this program speaks.
pub(crate) const VERSION_MIN: u16 = 1;
/// The newest version of these messages that this program speaks.
pub(crate) const VERSION_MAX: u16 = 1;

/// The first thing either side of a connection says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) min: u16,
    pub(crate) max: u16,
    pub(crate) pid: u32,
}

impl Greeting {
    pub(crate) fn ours() -> Self {
        Self { min: VERSION_MIN, max: VERSION_MAX, pid: std::process::id() }
    }

    /// The newest version that both sides speak.
    pub(crate) fn agree(self) -> Option<u16> {
        let newest = self.max.min(VERSION_MAX);
        (newest >= self.min && newest >= VERSION_MIN).then_some(newest)
    }
}

/// What a server asks of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SupervisorAsk {
    Hello(Greeting),
    Open {
        spec: Spec,
    },
    /// Kill what is left of the sandbox, reap it and remove its cgroups.
    End {
        session: SessionId,
    },
    Alive,
    Shutdown,
}

/// What the supervisor answers, in the order in which it was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SupervisorTell {
    Hello(Greeting),
    Opened { fresh: bool, limits: Applied },
    Refused { cause: String, fix: String },
    Unenforceable { what: Control, cause: String },
    Failed { doing: String, cause: String },
    Ended,
    Alive { sessions: Vec<SessionId> },
}

/// A cgroup controller we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    Memory,
    Cpu,
    Pids,
}

impl Control {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

/// What a server asks of a keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum KeeperAsk {
    Hello(Greeting),
    /// With the locked journal and the order as descriptors.
    Run {
        call: ItemId,
        timeout_ms: Option<u64>,
        cap_bytes: usize,
        watch: bool,
    },
    Attach {
        call: ItemId,
        watch: bool,
    },
    Cancel {
        call: ItemId,
    },
    Terminate {
        grace_ms: u64,
    },
}

/// What a keeper tells its server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum KeeperTell {
    Hello(Greeting),
    Attached {
        call: ItemId,
        known: bool,
    },
    /// The journal has the result.
    Ended {
        call: ItemId,
    },
    /// Followed by output bytes; `from` is how many came before them on all streams.
    Progress {
        call: ItemId,
        from: u64,
    },
}

/// A message as one line, to be followed by raw bytes.
pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages are plain data");
    line.push(b'\n');
    line
}

/// The message of a packet, and the raw bytes after it.
pub(crate) fn decode<T: DeserializeOwned>(packet: &[u8]) -> io::Result<(T, &[u8])> {
    let end =
        packet.iter().position(|byte| *byte == b'\n').ok_or_else(|| io::Error::other("a packet has no message"))?;
    let message = serde_json::from_slice(&packet[..end])?;
    Ok((message, &packet[end + 1..]))
}
