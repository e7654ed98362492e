//! Stopping this machine's server.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::data_dir::{DataDir, Served};

/// How long a server that doesn't say how long it may take has to finish what is under way.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the more urgent ways may take, and what a server has beyond what it said.
const URGENT: Duration = Duration::from_secs(4);

/// What was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// A server, which ended by itself when asked.
    Gracefully {
        /// Its process.
        pid: u32,
    },
    /// A server, which had to be killed; what it had acknowledged is kept.
    Killed {
        /// Its process.
        pid: u32,
    },
    /// Nothing: none ran.
    Nothing,
}

/// Stops the server, if one runs: asks, asks again, kills.
pub(crate) fn stop(dir: &DataDir) -> Result<Stopped> {
    let (pid, patience) = match dir.served()? {
        Served::Ready(server) => (server.pid, server.shutdown_grace_ms.map_or(PATIENCE, patience)),
        Served::Changing { pid } => (pid, PATIENCE),
        Served::Nobody { crashed } => {
            if crashed {
                let _ = std::fs::remove_file(dir.server_file());
            }
            return Ok(Stopped::Nothing);
        }
    };
    let handle = Pid::from_raw(pid.cast_signed()).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let handle = match handle {
        Some(Ok(handle)) => handle,
        None | Some(Err(rustix::io::Errno::SRCH)) => return Ok(Stopped::Nothing),
        Some(Err(error)) => return Err(error).with_context(|| format!("can't reach the server (pid {pid})")),
    };
    // The handle is of whoever had this number when it was opened: that has to be who holds the directory's lock.
    match dir.served()? {
        Served::Ready(server) if server.pid == pid => {}
        Served::Changing { pid: holder } if holder == pid => {}
        Served::Ready(_) | Served::Changing { .. } | Served::Nobody { .. } => return Ok(Stopped::Nothing),
    }
    for (signal, patience) in [(Signal::TERM, patience), (Signal::TERM, URGENT), (Signal::KILL, URGENT)] {
        match pidfd_send_signal(&handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("can't stop the server (pid {pid})")),
        }
        if ends_within(&handle, patience)? {
            let _ = std::fs::remove_file(dir.server_file());
            return Ok(if signal == Signal::KILL { Stopped::Killed { pid } } else { Stopped::Gracefully { pid } });
        }
    }
    anyhow::bail!("the server (pid {pid}) doesn't end, though it was killed")
}

/// Requests and models' answers have the grace each.
fn patience(shutdown_grace_ms: u64) -> Duration {
    Duration::from_millis(shutdown_grace_ms).saturating_mul(2).saturating_add(URGENT)
}

fn ends_within(process: &rustix::fd::OwnedFd, patience: Duration) -> Result<bool> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).context("the time to wait is too long")?;
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("can't wait for the server"),
        }
    }
}
