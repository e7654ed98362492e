use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tenure_core::id::ItemId;

use crate::TerminalSize;

/// One call to run in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The call's name; an order with the name of an earlier one is a repetition of it.
    pub call: ItemId,
    /// What to do.
    pub work: Work,
    /// How long it may take. Then its whole tree is killed and [`Exit::timed_out`] is set. `None`: for ever.
    pub timeout: Option<Duration>,
    /// How much of each output stream is kept: the first half and the last half of this, but no more than 64 KiB of its end.
    /// What lies between is counted in [`Exit::omitted_bytes`].
    pub output_cap_bytes: usize,
    /// When the call was first asked for, if that may have been by an earlier process than this one; `None` for a new
    /// call. A crash of the machine can lose a journal: a call without one that was asked for before the machine
    /// started is reported as interrupted instead of being run, perhaps a second time.
    pub asked_at: Option<SystemTime>,
}

impl Order {
    /// A new call without time-out that keeps 1 MiB of each output stream.
    pub fn new(call: ItemId, work: Work) -> Self {
        Self { call, work, timeout: None, output_cap_bytes: 1 << 20, asked_at: None }
    }
}

/// What a call does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A line for the session's persistent bash: directory, variables, functions and options stay from call to call, and
    /// so do processes put in the background. What these print between calls is at the start of the next call's output.
    Shell {
        /// The text, as bash reads it; several lines are fine. May be empty.
        command: String,
        /// End the shell and everything in it, and start a fresh one first.
        restart: bool,
    },
    /// A program.
    Exec {
        /// Its name (looked up in `PATH` unless it has a slash) and arguments.
        argv: Vec<String>,
        /// Added to the sandbox's environment.
        env: Vec<(String, String)>,
        /// The directory it starts in.
        cwd: String,
        /// All of its standard input.
        stdin: Vec<u8>,
    },
    /// A function of this binary, registered with [`dispatch`](crate::dispatch()), run in a process of its own in the sandbox.
    Op {
        /// Its name.
        name: String,
        /// What it is given.
        input: Vec<u8>,
    },
}

/// How a call came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEnd {
    /// It ran, or was cancelled before it did.
    Exited(Exit),
    /// It had started, and nobody can know how far it got. It is not run again.
    Interrupted {
        /// What cut it short, for people.
        reason: String,
    },
}

/// How a call's main process ended, and what it printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; `None` if a signal ended it. 127: no such program or op; 126: it could not be started.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed; of a shell also what it printed as errors, in order.
    pub stdout: Vec<u8>,
    /// What it printed as errors; empty for a shell.
    pub stderr: Vec<u8>,
    /// Whether anything was left out. The cut is after the first [`kept_head_bytes`](crate::kept_head_bytes) of a
    /// stream.
    pub truncated: bool,
    /// How many bytes were left out.
    pub omitted_bytes: u64,
    /// Whether it was killed for taking longer than its `timeout`.
    pub timed_out: bool,
    /// Whether it was killed by [`cancel`](crate::Sandbox::cancel).
    pub cancelled: bool,
    /// Whether the shell had been lost since the previous shell call (it exited, was killed, or the sandbox was
    /// stopped), so that this one ran in a fresh one. Not set for a restart that was asked for.
    pub shell_lost: bool,
    /// Whether the kernel killed something in the sandbox for lack of memory meanwhile.
    pub out_of_memory: bool,
    /// The limits that were reached meanwhile, or between the last call and this.
    pub reached: Vec<Reached>,
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which.
    pub limit: Limit,
    /// What it was then; 0 where that isn't known.
    pub most: u64,
    /// Whether something was ended for it. Otherwise more was refused.
    #[serde(default)]
    pub ended: bool,
    /// How often more was refused, where the kernel counts that; else 0.
    #[serde(default)]
    pub refused: u64,
}

/// A limit of a sandbox that can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "&'static str")]
pub enum Limit {
    /// Memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Bytes on the disk.
    Disk,
    /// Files and directories on the disk.
    Inodes,
    /// What the host keeps of its disk.
    HostDisk,
    /// One that this version doesn't know.
    Other,
}

impl From<Limit> for &'static str {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Memory => "memory",
            Limit::Pids => "pids",
            Limit::Disk => "disk",
            Limit::Inodes => "inodes",
            Limit::HostDisk => "host_disk",
            Limit::Other => "other",
        }
    }
}

impl From<String> for Limit {
    fn from(name: String) -> Self {
        let known = [Self::Memory, Self::Pids, Self::Disk, Self::Inodes, Self::HostDisk];
        known.into_iter().find(|limit| <&str>::from(*limit) == name).unwrap_or(Self::Other)
    }
}

/// An order as it travels to the guest: this as one line of JSON, then stdin, the op's input or the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sheet {
    Shell {
        restart: bool,
    },
    Exec {
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: String,
        /// Only of a process that is launched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<TerminalSize>,
    },
    Op {
        name: String,
    },
}

impl Work {
    pub(crate) fn into_sheet(self) -> (Sheet, Vec<u8>) {
        match self {
            Self::Shell { command, restart } => (Sheet::Shell { restart }, command.into_bytes()),
            Self::Exec { argv, env, cwd, stdin } => (Sheet::Exec { argv, env, cwd, terminal: None }, stdin),
            Self::Op { name, input } => (Sheet::Op { name }, input),
        }
    }
}
