//! Standard error as a server's log needs it: nobody who reads too slowly, or not any more, can hold the server up or end it.

use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// As much as a pipe takes at once if it takes anything (`PIPE_BUF`).
const PIECE_BYTES: usize = 4_096;

/// How many lines were dropped since the last that was written.
static DROPPED: Mutex<u64> = Mutex::new(0);

/// Writes whole lines. A line that can't be written at once is dropped, and the next one says how many were.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogStream;

impl io::Write for LogStream {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
        let told = *dropped == 0 || give(format!("{} lines were dropped: nobody took them\n", *dropped).as_bytes());
        if told && give(line) {
            *dropped = 0;
        } else {
            *dropped += 1;
            metrics::counter!("tenure_log_lines_dropped_total").increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether all of it was written. Nothing here waits: a pipe that takes anything takes a piece of this size.
fn give(line: &[u8]) -> bool {
    let stderr = io::stderr();
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    line.chunks(PIECE_BYTES).all(|mut piece| {
        let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
        let takes = rustix::io::retry_on_intr(|| poll(&mut polled, Some(&now))).is_ok()
            && polled[0].revents().contains(PollFlags::OUT);
        while takes && !piece.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&stderr, piece)) {
                Ok(count @ 1..) => piece = &piece[count..],
                Ok(0) | Err(_) => return false,
            }
        }
        takes
    })
}
