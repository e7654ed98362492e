//! How one executable plays several roles.

use std::io::Write;

use crate::guest::probe;

/// A function that runs inside sandboxes, in a process of its own: see [`Work::Op`](crate::Work::Op).
///
/// It runs as the sandbox's user after the root has been changed, so it must not load libraries or look for files of
/// the host.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    /// What an order calls it by.
    pub name: &'static str,
    /// Takes its input, writes its result, returns its exit code.
    pub run: fn(input: &[u8], out: &mut dyn Write) -> i32,
}

/// Every registered op: those of the caller, then our own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ops(&'static [Op]);

/// The ops of this crate.
const OWN: &[Op] = &[Op { name: probe::NAME, run: probe::run }];

impl Ops {
    pub(crate) fn find(self, name: &str) -> Option<Op> {
        self.0.iter().chain(OWN).find(|op| op.name == name).copied()
    }
}

/// The first argument (`argv[0]`) of a supervisor, which its keepers and executors share.
pub(crate) const SUPERVISOR: &str = "tenure-sandbox-supervisor";

/// The first argument of a process that does something with files for a server that isn't root.
pub(crate) const ERRAND: &str = "tenure-sandbox-errand";

/// Must be the first line of every `main` whose executable a [`Native`](crate::Native) starts: if this process was
/// started in a sandbox role, plays it and never returns.
pub fn dispatch(ops: &'static [Op]) {
    let role = std::env::args_os().next().unwrap_or_default();
    if role == SUPERVISOR {
        crate::supervisor::start(Ops(ops));
    }
    if role == crate::supervisor::WORKER {
        crate::supervisor::play();
    }
    if role == ERRAND {
        crate::native::errand::run();
    }
}
