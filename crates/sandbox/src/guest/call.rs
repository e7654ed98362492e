use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use tenure_core::id::ItemId;

use super::output::Kept;
use super::recorder::Recorder;
use crate::journal::{Ending, Entry, Stream, output_frame};

/// A call under way: its journal, what is kept of its output, and why it may have to die.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: ItemId,
    recorder: Recorder,
    /// How much of its output is in the record.
    recorded: u64,
    out: Kept,
    err: Kept,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    pub(crate) ending: Ending,
    /// Whether it is being killed for what was found of it, and not for its time or by request.
    pub(crate) doomed: bool,
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
        let (recorder, recorded, deadline, printed) = (Recorder::new(journal), 0, None, 0);
        Self {
            id,
            recorder,
            recorded,
            out: kept(),
            err: kept(),
            timeout,
            deadline,
            ending,
            doomed: false,
            watched,
            printed,
        }
    }

    /// Says that it may have effects from here on. If that can't be recorded, it must not run.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        self.recorder.start()?;
        self.deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        crate::failpoint::pass("guest.started");
        Ok(())
    }

    /// Why a call isn't run.
    pub(crate) fn unrecorded(error: &io::Error) -> io::Error {
        io::Error::other(format!("its start can't be recorded ({error}); it was not run"))
    }

    /// When it has to be killed.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Once it is known why it dies, there is no other reason.
        self.deadline.filter(|_| !self.is_doomed())
    }

    /// Whether it is being killed.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed || self.ending.timed_out || self.ending.cancelled
    }

    /// Takes what it printed.
    pub(crate) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        self.printed += bytes.len() as u64;
        let kept = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let head = kept.take(bytes);
        self.record(stream, head);
    }

    /// Output that the disk has no room for is left out.
    fn record(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.recorder.append(&output_frame(stream, bytes)) {
            Ok(()) => self.recorded += bytes.len() as u64,
            Err(_) => self.ending.omitted_bytes += bytes.len() as u64,
        }
    }

    /// Writes how it ended. Its journal is closed, and so unlocked, with this.
    ///
    /// On a full disk its output makes room for its end. If even that can't be written, the server is told that it has
    /// ended, and finds no end in its record.
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
            self.record(stream, &tail);
        }
        if self.recorder.append(&Entry::Exited(self.ending.clone()).encode()).is_err() {
            self.recorder.drop_output();
            self.ending.omitted_bytes += self.recorded;
            let _ = self.recorder.append(&Entry::Exited(self.ending.clone()).encode());
        }
        crate::failpoint::pass("guest.exited");
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
