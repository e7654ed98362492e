use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tenure_core::id::ItemId;

use super::output::Kept;
use crate::journal::{Ending, Entry, Stream, output_frame};

/// A call under way: its journal, what is kept of its output, and why it may have to die.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: ItemId,
    journal: OwnedFd,
    out: Kept,
    err: Kept,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    pub(crate) ending: Ending,
    /// Whether the server wants to see output as it comes.
    pub(crate) watched: bool,
    /// How many bytes it has printed.
    pub(crate) printed: u64,
}

impl Call {
    pub(crate) fn new(
        id: ItemId,
        journal: OwnedFd,
        timeout: Option<Duration>,
        cap_bytes: usize,
        watched: bool,
    ) -> Self {
        let kept = || Kept::new(cap_bytes);
        let ending = Ending::default();
        Self { id, journal, out: kept(), err: kept(), timeout, deadline: None, ending, watched, printed: 0 }
    }

    /// Says that it may have effects from here on.
    pub(crate) fn start(&mut self) {
        self.write(&Entry::Started.encode());
        self.deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        crate::failpoint::pass("guest.started");
    }

    /// When it has to be killed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Once it is known why it dies, there is no other reason.
        self.deadline.filter(|_| !self.is_doomed())
    }

    /// Whether it is being killed.
    pub(crate) fn is_doomed(&self) -> bool {
        self.ending.timed_out || self.ending.cancelled
    }

    /// Takes what it printed.
    pub(crate) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        self.printed += bytes.len() as u64;
        let kept = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let head = kept.take(bytes);
        if !head.is_empty() {
            let frame = output_frame(stream, head);
            self.write(&frame);
        }
    }

    /// Writes how it ended. Its journal is closed, and so unlocked, with this.
    pub(crate) fn finish(mut self, end: End) {
        match end {
            End::Code(code) => self.ending.code = Some(code),
            End::Signal(signal) => self.ending.signal = Some(signal),
        }
        let nothing = || Kept::new(0);
        for (stream, kept) in [
            (Stream::Out, std::mem::replace(&mut self.out, nothing())),
            (Stream::Err, std::mem::replace(&mut self.err, nothing())),
        ] {
            let (tail, omitted) = kept.finish();
            self.ending.omitted_bytes += omitted;
            if !tail.is_empty() {
                self.write(&output_frame(stream, &tail));
            }
        }
        let exited = Entry::Exited(self.ending.clone()).encode();
        self.write(&exited);
        crate::failpoint::pass("guest.exited");
    }

    /// Appends to the journal. On a full disk the end will be missing, and the call is then reported as interrupted,
    /// which is true: nobody knows its result.
    fn write(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&self.journal, bytes)) {
                Ok(length) => bytes = &bytes[length..],
                Err(_) => return,
            }
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    /// From a wait status.
    pub(crate) fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signal(libc::WTERMSIG(status))
        } else {
            Self::Code(libc::WEXITSTATUS(status))
        }
    }
}
