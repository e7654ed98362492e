//! Pipes whose other end a tool has.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, fchmod};
use rustix::pipe::{PipeFlags, pipe_with};

/// A pipe, what is read of it first. Tools may open their end of it once more by its name, as `echo x > /dev/stderr` and servers
/// that log to `/dev/stdout` do: the file behind a pipe is its maker's alone otherwise. Nobody but who sees into a process that has
/// an end can name it, so it matters to nobody else.
pub(crate) fn pipe_for_tools() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reads, writes) = pipe_with(PipeFlags::CLOEXEC)?;
    fchmod(&writes, Mode::from_raw_mode(0o666))?;
    Ok((reads, writes))
}
