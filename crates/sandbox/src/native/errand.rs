//! What a server can't do with the files of sandboxes as the ordinary user that it is: some are closed to
//! their own owner. A process in a user namespace like the supervisor's does it.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::as_owner::Again;
use super::trash;
use crate::dispatch::ERRAND;
use crate::supervisor::enter_own_namespace;
use crate::supervisor::subordinate::Users;

/// The variable that says what to do.
const VARIABLE: &str = "TENURE_SANDBOX_ERRAND";

/// What is to be done with the files of sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Errand {
    /// Delete all that is in a directory.
    Empty(PathBuf),
    /// Go on with a command.
    Again(Again),
}

/// What the process that does it is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) errand: Errand,
    /// Whose the files are, beside the user's own.
    pub(super) users: Option<Users>,
    /// Whether it is in its own namespace already.
    pub(super) entered: bool,
}

impl Errand {
    /// Does it: root by itself, others by a process that this executable becomes. Blocks.
    pub(crate) fn run(self, executable: &Path) -> io::Result<()> {
        if rustix::process::geteuid().is_root() {
            return self.run_here();
        }
        let users = self.dir().map(Users::read).transpose()?.flatten();
        let output =
            Told { errand: self, users, entered: false }.command(executable, true)?.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// The sandbox directory that it is about.
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Empty(dir) => dir.parent(),
            Self::Again(_) => None,
        }
    }

    fn run_here(&self) -> io::Result<()> {
        match self {
            Self::Empty(dir) => trash::empty(dir),
            Self::Again(again) => match again.clone().run()? {},
        }
    }
}

impl Told {
    pub(super) fn command(&self, executable: &Path, fresh: bool) -> io::Result<Command> {
        let mut command = Command::new(executable);
        if fresh {
            command.env_clear();
        }
        command.arg0(ERRAND).env(VARIABLE, serde_json::to_string(self)?);
        Ok(command)
    }
}

/// Does what this process was started for, and ends it.
pub(crate) fn run() -> ! {
    let code = match try_run() {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            1
        }
    };
    std::process::exit(code)
}

fn try_run() -> io::Result<()> {
    let told = std::env::var(VARIABLE).map_err(io::Error::other)?;
    let Told { errand, users, entered } = serde_json::from_str(&told)?;
    // Going on with a command makes its own namespace, once it is known with which users.
    if entered || matches!(errand, Errand::Again(_)) {
        return errand.run_here();
    }
    let again = Told { errand, users, entered: true }.command(Path::new("/proc/self/exe"), true)?;
    match enter_own_namespace(again, users).map_err(|failure| io::Error::other(crate::Error::from(failure)))? {}
}
