use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_core::packages::Manager;

use crate::spec::{Applied, Limits, Spec, Usage};
use crate::supervisor::{LayerId, Root};
use crate::{Packing, Taken};

/// Which versions of these messages somebody speaks.
///
/// Version 2 added epochs and draining; version 3 snapshots, forks, rewinding, processes that are launched, limits that change and what is used. A greeting, and
/// [`SupervisorAsk::Drain`] and [`SupervisorAsk::Shutdown`] after it, are understood between all versions from 2 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) min: u16,
    pub(crate) max: u16,
}

impl Versions {
    /// Those of this program: the newest, and the one before it.
    pub(crate) const OURS: Self = Self { min: 2, max: 3 };

    /// From `min-max`.
    #[cfg(feature = "failpoints")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (min, max) = text.split_once('-')?;
        Some(Self { min: min.parse().ok()?, max: max.parse().ok()? })
    }

    /// Those of this supervisor or keeper: a test build can be told others, as a stand-in for another program.
    pub(crate) fn of_this_process() -> Self {
        #[cfg(feature = "failpoints")]
        if let Some(told) = std::env::var("TENURE_SANDBOX_VERSIONS").ok().as_deref().and_then(Self::parse) {
            return told;
        }
        Self::OURS
    }

    /// The greeting of one that speaks these.
    pub(crate) fn greeting(self) -> Greeting {
        Greeting { min: self.min, max: self.max, pid: std::process::id(), epoch: None }
    }

    /// The newest version that both sides speak.
    pub(crate) fn agree(self, theirs: Greeting) -> Option<u16> {
        let newest = theirs.max.min(self.max);
        (newest >= theirs.min && newest >= self.min).then_some(newest)
    }
}

/// The first thing either side of a connection says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) min: u16,
    pub(crate) max: u16,
    pub(crate) pid: u32,
    /// Of a server that gives orders: which of all that ever served this directory it is. Since version 2; one that has
    /// none only looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
}

/// What a server asks of the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SupervisorAsk {
    Hello(Greeting),
    Open {
        spec: Spec,
        /// What a session without files begins with, unless it is the host's root. Since version 3.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<Start>,
    },
    /// Kill what is left of the sandbox, reap it and remove its cgroups.
    End {
        session: SessionId,
    },
    Alive,
    Shutdown,
    /// End each sandbox as soon as no call runs in it, make no more, then end. Since version 2.
    Drain,
    /// Keep the files of a session as they are. Since version 3.
    Snapshot {
        session: SessionId,
        snapshot: SnapshotId,
        most_copied: Option<u64>,
    },
    /// Give a session without files those of another's snapshot, and earlier snapshots of it. To be said again with more of
    /// these when they are many. Since version 3.
    Fork {
        from: SessionId,
        snapshot: SnapshotId,
        earlier: Vec<SnapshotId>,
        to: SessionId,
    },
    /// Put the files of a session, which must not be alive, back to a snapshot of it, or to what it started with. Since
    /// version 3.
    Rewind {
        session: SessionId,
        snapshot: Option<SnapshotId>,
    },
    /// Change the limits of a sandbox that is alive. Since version 3.
    Limit {
        session: SessionId,
        limits: Limits,
    },
    /// Tell what a session uses. Since version 3.
    Usage {
        session: SessionId,
    },
    /// Forget some snapshots of a session. Since version 3.
    Forget {
        session: SessionId,
        snapshots: Vec<SnapshotId>,
    },
    /// Collect what nothing needs and flatten deep stacks now, and say when nothing is left to do. Since version 3.
    Tidy,
    /// Make a layer, unless it is there. Since version 3.
    Build {
        build: Build,
    },
}

/// What the files of a session begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) root: Root,
    pub(crate) base: Vec<LayerId>,
}

/// A layer that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) layer: LayerId,
    pub(crate) root: Root,
    /// The layers below it, lowest first.
    pub(crate) base: Vec<LayerId>,
    pub(crate) task: BuildTask,
}

/// What a layer is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BuildTask {
    /// A layer's file of an image.
    Unpack { packed: PathBuf, packing: Packing, diff_id: String },
    /// What the sandbox itself and its tools need.
    System,
    /// What managers of packages make of archives below a directory of the host.
    Install { archives: PathBuf, steps: Vec<Step> },
}

/// What one manager is to install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) manager: Manager,
    /// As it is told them: names, or archives in its directory.
    pub(crate) packages: Vec<String>,
}

impl SupervisorAsk {
    /// The first version that has this.
    pub(crate) fn since(&self) -> u16 {
        match self {
            Self::Open { spec, start } if start.is_some() || spec.limits.since_3() => 3,
            Self::Hello(_) | Self::Open { .. } | Self::End { .. } | Self::Alive | Self::Shutdown => 1,
            Self::Drain => 2,
            Self::Snapshot { .. }
            | Self::Fork { .. }
            | Self::Rewind { .. }
            | Self::Forget { .. }
            | Self::Tidy
            | Self::Limit { .. }
            | Self::Usage { .. }
            | Self::Build { .. } => 3,
        }
    }
}

/// What the supervisor answers, in the order in which it was asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SupervisorTell {
    Hello(Greeting),
    Opened {
        fresh: bool,
        limits: Applied,
    },
    Refused {
        cause: String,
        fix: String,
    },
    Unenforceable {
        what: Control,
        cause: String,
    },
    Failed {
        doing: String,
        cause: String,
    },
    Ended,
    Alive {
        sessions: Vec<SessionId>,
    },
    /// A server of this later epoch has taken over. Since version 2.
    Superseded {
        epoch: u64,
    },
    /// What became of a [`SupervisorAsk::Snapshot`]. Since version 3.
    Taken {
        taken: Taken,
    },
    /// The limits in force, unless the sandbox isn't alive. Since version 3.
    Limited {
        limits: Option<Applied>,
    },
    /// What the session uses. Since version 3.
    Usage {
        usage: Usage,
    },
    /// It is done. Since version 3.
    Done,
    /// It can't be carried out as it was asked. Since version 3.
    Invalid {
        why: String,
    },
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
    /// With a file for the record, the order, and where input comes from, where output and errors go, and where controls come
    /// from. What is launched ends with this connection. Since version 3.
    Launch {
        call: ItemId,
        timeout_ms: Option<u64>,
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
    /// A server of this later epoch has taken over. Since version 2.
    Superseded {
        epoch: u64,
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

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{KeeperAsk, KeeperTell, SupervisorAsk, SupervisorTell, Versions, decode, encode};

    /// What each version added, as it was stored when that was the newest. A line that has to change here means a new
    /// version.
    const STORED: [(u16, &str); 3] = [
        (1, include_str!("../../tests/golden/packets-1")),
        (2, include_str!("../../tests/golden/packets-2")),
        (3, include_str!("../../tests/golden/packets-3")),
    ];

    #[test]
    fn packets_of_every_spoken_version_are_read_and_said_as_they_were() {
        for (version, stored) in STORED {
            assert!(version <= Versions::OURS.max);
            for line in stored.lines() {
                let (kind, packet) = line.split_once(' ').expect("a kind and a packet");
                let said = match kind {
                    "supervisor<" => again::<SupervisorAsk>(packet),
                    "supervisor>" => again::<SupervisorTell>(packet),
                    "keeper<" => again::<KeeperAsk>(packet),
                    "keeper>" => again::<KeeperTell>(packet),
                    other => panic!("no such kind: {other}"),
                };
                assert_eq!(said, format!("{packet}\n"), "version {version}");
            }
        }
    }

    fn again<T: Serialize + DeserializeOwned>(packet: &str) -> String {
        let packet = format!("{packet}\n");
        let (message, rest) = decode::<T>(packet.as_bytes()).unwrap_or_else(|error| panic!("{packet}{error}"));
        assert!(rest.is_empty());
        String::from_utf8(encode(&message)).expect("text")
    }

    #[test]
    fn the_newest_version_that_both_speak_is_spoken() {
        let agree = |ours: (u16, u16), theirs: (u16, u16)| {
            let versions = |(min, max)| Versions { min, max };
            versions(ours).agree(versions(theirs).greeting())
        };
        assert_eq!(agree((1, 2), (1, 2)), Some(2));
        assert_eq!(agree((1, 2), (1, 1)), Some(1));
        assert_eq!(agree((1, 1), (1, 2)), Some(1));
        assert_eq!(agree((1, 2), (2, 3)), Some(2));
        assert_eq!(agree((1, 2), (3, 4)), None);
        assert_eq!(agree((3, 4), (1, 2)), None);
    }
}
