use std::fmt;

/// What testing the isolation brought to light.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Every check, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether sandboxes isolate: no check failed. Absent things don't count; they are limits of the host.
    pub fn isolates(&self) -> bool {
        self.checks.iter().all(|check| check.outcome != Outcome::Fail)
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked, as a sentence that holds if it passed: "host files can't be seen".
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen, or what stands in the way.
    pub cause: String,
    /// What the operator can do; empty when nothing need be done.
    pub fix: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It doesn't hold: the sandbox isn't safe, or can't be made.
    Fail,
    /// The host lacks it; sandboxes work without.
    Absent,
}

/// Something of ours on the host that belongs to no known session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A process.
    Process {
        /// Its id.
        pid: i32,
        /// Its command line.
        command: String,
    },
    /// A mount.
    Mount(std::path::PathBuf),
    /// A control group.
    Cgroup(std::path::PathBuf),
    /// A directory of files.
    Directory(std::path::PathBuf),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { pid, command } => write!(f, "process {pid} ({command})"),
            Self::Mount(path) => write!(f, "mount {}", path.display()),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Directory(path) => write!(f, "directory {}", path.display()),
        }
    }
}
