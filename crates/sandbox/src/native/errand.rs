//! What a server can't do with the files of sandboxes as the ordinary user that it is: some are closed to
//! their own owner. A process in a user namespace like the supervisor's does it.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::trash;
use crate::dispatch::ERRAND;
use crate::supervisor::enter_own_namespace;

/// The variable that says what to do.
const VARIABLE: &str = "TENURE_SANDBOX_ERRAND";

/// What is to be done with the files of sandboxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Errand {
    /// Delete all that is in a directory.
    Empty(PathBuf),
}

/// What the process that does it is told.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    errand: Errand,
    /// Whether it is in its own namespace already.
    entered: bool,
}

impl Errand {
    /// Does it: root by itself, others by a process that this executable becomes. Blocks.
    pub(crate) fn run(self, executable: &Path) -> io::Result<()> {
        if rustix::process::geteuid().is_root() {
            return self.run_here();
        }
        let output = Told { errand: self, entered: false }.command(executable)?.stdin(Stdio::null()).output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    fn run_here(&self) -> io::Result<()> {
        match self {
            Self::Empty(dir) => trash::empty(dir),
        }
    }
}

impl Told {
    fn command(&self, executable: &Path) -> io::Result<Command> {
        let mut command = Command::new(executable);
        command.arg0(ERRAND).env_clear().env(VARIABLE, serde_json::to_string(self)?);
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
    let Told { errand, entered } = serde_json::from_str(&told)?;
    if entered {
        return errand.run_here();
    }
    let again = Told { errand, entered: true }.command(Path::new("/proc/self/exe"))?;
    match enter_own_namespace(again).map_err(|failure| io::Error::other(crate::Error::from(failure)))? {}
}
