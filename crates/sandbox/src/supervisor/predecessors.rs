use std::io;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::WORKER;
use crate::dispatch::SUPERVISOR;

/// Ends what an earlier supervisor of the same directory left and waits until it is gone. Its sandboxes die with it, but
/// not at the same instant, and two must not write to one layer.
///
/// To be called with the directory's lock held: then no other supervisor lives, and whatever of its kind is in a process
/// namespace of its own is an orphan.
pub(crate) fn end(name: &str) -> io::Result<()> {
    let entries = std::fs::read_dir("/proc")?.flatten();
    let orphans =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| is_orphan(*pid, name));
    for pid in orphans.filter_map(Pid::from_raw) {
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => continue,
            Err(error) => return Err(error.into()),
        };
        // The number may have come to mean another process since; the descriptor can't.
        if is_orphan(pid.as_raw_nonzero().get(), name) {
            let _ = pidfd_send_signal(&process, Signal::KILL);
            rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&process, PollFlags::IN)], None))?;
        }
    }
    Ok(())
}

fn is_orphan(pid: i32, name: &str) -> bool {
    let at = Path::new("/proc").join(pid.to_string());
    let command = std::fs::read(at.join("cmdline")).unwrap_or_default();
    let expected = [SUPERVISOR.as_bytes(), name.as_bytes()];
    let is_ours = command.split(|byte| *byte == 0).take(2).eq(expected);
    if command.split(|byte| *byte == 0).take(2).eq([WORKER.as_bytes(), name.as_bytes()]) {
        return true;
    }
    // A process in a namespace below ours has two numbers.
    let status = std::fs::read_to_string(at.join("status")).unwrap_or_default();
    is_ours
        && status
            .lines()
            .any(|line| line.strip_prefix("NSpid:").is_some_and(|pids| pids.split_whitespace().count() > 1))
}
