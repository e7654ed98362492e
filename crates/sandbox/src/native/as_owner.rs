//! Commands that read or write files of sandboxes of an ordinary user's. These belong to ids that it was given, or are its own and perhaps
//! closed to their own owner: such a command runs in a namespace that has those ids, with an owner's rights over all of it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::errand::{Errand, Told};
use crate::Error;
use crate::supervisor::subordinate::{self, Users};
use crate::supervisor::{Standing, enter_own_namespace};

/// Set, to its process id, for a program that was started by [`as_owner_of_files`].
const STARTED: &str = "TENURE_SANDBOX_AS_OWNER";

/// A command that is to go on as who may read and write the files in a sandbox directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Again {
    root: PathBuf,
    /// Its own name first.
    arguments: Vec<OsString>,
}

/// To be called before anything else by a command that reads files in a sandbox directory, or makes one: for an ordinary user
/// this starts the command over as who may read and write them. Returns if there is nothing to be done, or once it is done.
pub fn as_owner_of_files(root: &Path) -> Result<(), Error> {
    let is_done = std::env::var(STARTED).is_ok_and(|pid| pid == std::process::id().to_string());
    if rustix::process::geteuid().is_root() || is_done {
        return Ok(());
    }
    let start = || -> io::Result<()> {
        let again = Again { root: std::path::absolute(root)?, arguments: std::env::args_os().collect() };
        let told = Told { errand: Errand::Again(again), users: None, entered: false };
        // It keeps its environment: it is the same command.
        Err(told.command(Path::new("/proc/self/exe"), false)?.exec())
    };
    start().map_err(Error::failed(format!("going on as the owner of the files in {}", root.display())))
}

impl Again {
    /// Becomes that command; returns only if that fails. In a process with one thread.
    pub(super) fn run(self) -> io::Result<std::convert::Infallible> {
        let (name, rest) = self.arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let again = || {
            let mut again = Command::new("/proc/self/exe");
            again.arg0(name).args(rest).env(STARTED, std::process::id().to_string());
            again
        };
        let failed = |failure| io::Error::other(Error::from(failure));
        let users: Option<Users> = match subordinate::has_users(&self.root) {
            true => subordinate::found(&self.root).map_err(failed)?,
            false => None,
        };
        match (users, enter_own_namespace(again(), users)) {
            (_, Ok(never)) => match never {},
            (Some(_), Err(failure)) => Err(failed(failure)),
            // A host that forbids namespaces has no sandboxes whose files they could be. What can't be read is named.
            (None, Err(_)) => Err(again().exec()),
        }
    }
}

/// Says of a sandbox directory that was made by this process whose its files are.
pub(super) fn note_users(root: &Path) -> io::Result<()> {
    match Standing::ours() {
        Standing::Given => Users::of_namespace().ok_or(io::ErrorKind::NotFound)?.note(root),
        Standing::Root | Standing::One => Ok(()),
    }
}
