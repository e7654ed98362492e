//! The bash process behind the session's shell.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use super::call::End;
use super::executor::{Executor, Job};
use super::shell_state::{self, Saving};
use super::tool::{self, Notice};
use crate::pipes::pipe_for_tools;

const COMMANDS: i32 = 254;
const STATUSES: i32 = 253;

/// No status is longer than this.
const LONGEST_STATUS: usize = 64;

/// The loop that bash runs. `eval` with redirections closes our descriptors for what the command starts and opens them
/// again after it; errors of the loop itself (under `set -x`, say) go nowhere.
const LOOP: &str = r#"while { IFS= builtin read -r -d '' -u 254 __tenure_line; } 2>/dev/null; do
builtin eval "$__tenure_line" </dev/null 254<&- 253>&-
{ builtin printf '%d\n' "$?" >&253; } 2>/dev/null
done"#;

/// What a root of somebody else's may lack.
const NO_BASH: &str = "there is no /bin/bash in this sandbox's root file system, and the shell needs it; tools that read and write \
                       files work without";

/// Becomes the shell. Called in the process that is to be it.
pub(crate) fn exec(commands: &OwnedFd, out: &OwnedFd, statuses: &OwnedFd, env: &[(String, String)]) -> i32 {
    let Ok(null) = std::fs::File::open("/dev/null") else { return 126 };
    // SAFETY: these numbers are nobody's in this process, which has a handful of descriptors.
    let plumbed =
        unsafe { libc::dup2(commands.as_raw_fd(), COMMANDS) >= 0 && libc::dup2(statuses.as_raw_fd(), STATUSES) >= 0 };
    if !plumbed || !tool::plumb(&null, out, out) {
        return 126;
    }
    // It has its new number, and as itself is closed with all the rest below.
    std::mem::forget(null);
    let _ = std::env::set_current_dir(tool::WORKSPACE);
    let life = format!("{}\n{LOOP}", shell_state::PRELUDE);
    if !std::path::Path::new("/bin/bash").exists() {
        return tool::complain(127, NO_BASH);
    }
    let argv = ["/bin/bash", "--noprofile", "--norc", "-c", &life, "bash"].map(str::to_owned);
    tool::become_program(&argv, env, &[STATUSES, COMMANDS])
}

/// One that runs, as the keeper holds it.
#[derive(Debug)]
pub(super) struct Bash {
    pub(super) commands: OwnedFd,
    pub(super) unwritten: Vec<u8>,
    /// Nothing once all its writers are gone: bash can be told to print elsewhere, or to become another program.
    pub(super) out: Option<OwnedFd>,
    /// Nothing once all its writers are gone.
    pub(super) statuses: Option<OwnedFd>,
    pub(super) status_text: Vec<u8>,
    pub(super) notices: OwnedFd,
    pub(super) notice_bytes: Vec<u8>,
    /// The process at the top of its tree, and bash itself.
    pub(super) pids: Option<(i32, i32)>,
    /// It is telling what it remembers.
    pub(super) saving: Option<Saving>,
    /// The next status is that of being made the same as another.
    pub(super) restoring: bool,
}

impl Bash {
    pub(super) fn start(executor: &mut Executor) -> io::Result<Self> {
        let flags = PipeFlags::CLOEXEC;
        let (commands_in, commands) = pipe_with(flags)?;
        let (out, out_in) = pipe_for_tools()?;
        let (statuses, statuses_in) = pipe_with(flags)?;
        let (notices, notices_in) = pipe_with(flags)?;
        for ours in [&commands, &out, &statuses, &notices] {
            rustix::io::ioctl_fionbio(ours, true)?;
        }
        executor.give(Job::Shell, &[commands_in.as_fd(), out_in.as_fd(), statuses_in.as_fd(), notices_in.as_fd()])?;
        let (status_text, notice_bytes) = (Vec::new(), Vec::new());
        let (out, statuses) = (Some(out), Some(statuses));
        Ok(Self {
            commands,
            unwritten: Vec::new(),
            out,
            statuses,
            status_text,
            notices,
            notice_bytes,
            pids: None,
            saving: None,
            restoring: false,
        })
    }

    /// Has it run this after what it has been told already.
    pub(super) fn command(&mut self, command: &[u8]) {
        self.unwritten.extend_from_slice(command);
        self.unwritten.push(0);
        self.write();
    }

    /// Writes what the pipe takes of the command.
    pub(super) fn write(&mut self) {
        while !self.unwritten.is_empty() {
            match rustix::io::write(&self.commands, &self.unwritten) {
                Ok(length) => drop(self.unwritten.drain(..length)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                // Bash has gone; its notice says how.
                Err(_) => self.unwritten.clear(),
            }
        }
    }

    /// The status of a command that has ended.
    pub(super) fn status(&mut self) -> Option<i32> {
        if !self.status_text.contains(&b'\n') {
            let mut bytes = [0; 64];
            let length = rustix::io::read(self.statuses.as_ref()?, &mut bytes).ok()?;
            if length == 0 {
                self.statuses = None;
            }
            self.status_text.extend_from_slice(&bytes[..length]);
        }
        if self.status_text.len() > LONGEST_STATUS && !self.status_text.contains(&b'\n') {
            // A command has found the descriptor, and writes to it without end.
            self.status_text.clear();
        }
        let end = self.status_text.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.status_text.drain(..=end).collect();
        Some(std::str::from_utf8(&line).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1))
    }

    /// How bash ended, if it did, and why it could not be started, if so.
    pub(super) fn notice(&mut self) -> Option<(End, Option<String>)> {
        let mut bytes = [0; 512];
        let length = match rustix::io::read(&self.notices, &mut bytes) {
            Ok(length) => length,
            Err(_) => return None,
        };
        if length == 0 {
            return Some((End::Signal(libc::SIGKILL), None));
        }
        self.notice_bytes.extend_from_slice(&bytes[..length]);
        let mut end = None;
        for notice in Notice::take(&mut self.notice_bytes) {
            match notice {
                Notice::Started { top, tool } => self.pids = Some((top, tool)),
                Notice::Ended(status) => end = Some((End::from_status(status), None)),
                Notice::Unable(reason) => end = Some((End::Code(126), Some(reason))),
            }
        }
        end
    }
}
