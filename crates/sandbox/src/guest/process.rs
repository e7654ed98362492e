use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::pipe::{PipeFlags, pipe_with};

use super::call::{Call, End};
use super::executor::{Executor, Job};
use super::output::read_chunk;
use super::process_tree::{kill, kill_below};
use super::tool::Notice;
use crate::journal::Stream;
use crate::pipes::pipe_for_tools;

/// A call that is a process of its own: a program or an op.
#[derive(Debug)]
pub(crate) struct ToolProcess {
    pub(crate) call: Call,
    out: Option<OwnedFd>,
    err: Option<OwnedFd>,
    notices: OwnedFd,
    notice_bytes: Vec<u8>,
    /// The process at the top of its tree, and the tool itself.
    pids: Option<(i32, i32)>,
    /// Since when it is to be killed as soon as it is known, which it isn't yet.
    pub(crate) kill_wanted: Option<Instant>,
    /// The connection it came by, if it is to end with that.
    pub(crate) launched_by: Option<u64>,
}

/// A descriptor of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToolPort {
    Out,
    Err,
    Notices,
}

impl ToolProcess {
    /// Starts it; gives the call back if that fails.
    pub(crate) fn start(
        mut call: Call,
        job: Job,
        order: &OwnedFd,
        executor: &mut Executor,
    ) -> Result<Self, Box<(Call, io::Error)>> {
        if let Err(error) = call.start() {
            return Err(Box::new((call, Call::unrecorded(&error))));
        }
        match Self::fork(job, order, executor) {
            Ok((out, err, notices)) => {
                crate::failpoint::pass("guest.forked");
                Ok(Self {
                    call,
                    out: Some(out),
                    err: Some(err),
                    notices,
                    notice_bytes: Vec::new(),
                    pids: None,
                    kill_wanted: None,
                    launched_by: None,
                })
            }
            Err(error) => Err(Box::new((call, error))),
        }
    }

    /// Starts one with which a server talks through these descriptors: the order, where input comes from, where output and errors
    /// go, and where controls come from.
    pub(crate) fn launch(
        mut call: Call,
        descriptors: &[OwnedFd],
        connection: u64,
        executor: &mut Executor,
    ) -> Result<Self, Box<(Call, io::Error)>> {
        let forked = call.start().and_then(|()| {
            let (notices, notices_in) = pipe_with(PipeFlags::CLOEXEC)?;
            rustix::io::ioctl_fionbio(&notices, true)?;
            let passed: Vec<BorrowedFd<'_>> = descriptors.iter().chain([&notices_in]).map(AsFd::as_fd).collect();
            executor.give(Job::Attended, &passed)?;
            Ok(notices)
        });
        match forked {
            Ok(notices) => Ok(Self {
                call,
                out: None,
                err: None,
                notices,
                notice_bytes: Vec::new(),
                pids: None,
                kill_wanted: None,
                launched_by: Some(connection),
            }),
            Err(error) => Err(Box::new((call, error))),
        }
    }

    fn fork(job: Job, order: &OwnedFd, executor: &mut Executor) -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
        let (out, out_in) = pipe_for_tools()?;
        let (err, err_in) = pipe_for_tools()?;
        let (notices, notices_in) = pipe_with(PipeFlags::CLOEXEC)?;
        for ours in [&out, &err, &notices] {
            rustix::io::ioctl_fionbio(ours, true)?;
        }
        executor.give(job, &[order.as_fd(), out_in.as_fd(), err_in.as_fd(), notices_in.as_fd()])?;
        Ok((out, err, notices))
    }

    pub(crate) fn ports(&self) -> impl Iterator<Item = (ToolPort, BorrowedFd<'_>)> {
        let out = self.out.iter().map(|out| (ToolPort::Out, out.as_fd()));
        let err = self.err.iter().map(|err| (ToolPort::Err, err.as_fd()));
        out.chain(err).chain([(ToolPort::Notices, self.notices.as_fd())])
    }

    /// Reads what it printed once; nothing when there is nothing now.
    pub(crate) fn read(&mut self, stream: Stream) -> Option<Vec<u8>> {
        let pipe = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        let bytes = read_chunk(pipe.as_ref()?).ok()?;
        if bytes.is_empty() {
            *pipe = None;
            return None;
        }
        self.call.print(stream, &bytes);
        Some(bytes)
    }

    /// How it ended, if it did.
    pub(crate) fn notice(&mut self) -> Option<End> {
        let mut bytes = [0; 512];
        let length = rustix::io::read(&self.notices, &mut bytes).ok()?;
        if length == 0 {
            // Whoever was at the top has been killed; what it was for must not go on without it.
            self.kill_orphaned();
            return Some(End::Signal(libc::SIGKILL));
        }
        self.notice_bytes.extend_from_slice(&bytes[..length]);
        let mut end = None;
        for notice in Notice::take(&mut self.notice_bytes) {
            match notice {
                Notice::Started { top, tool } => self.pids = Some((top, tool)),
                Notice::Ended(status) => end = Some(End::from_status(status)),
                Notice::Unable(reason) => {
                    self.call.print(Stream::Err, format!("{reason}\n").as_bytes());
                    end = Some(End::Code(126));
                }
            }
        }
        if self.kill_wanted.is_some() {
            self.kill();
        }
        end
    }

    /// Kills its whole tree; its end comes as a notice.
    pub(crate) fn kill(&mut self) {
        let Some((top, tool)) = self.pids else {
            self.kill_wanted.get_or_insert_with(Instant::now);
            return;
        };
        self.kill_wanted = None;
        kill_below(&[top], &HashSet::new());
        if top == tool {
            kill(top);
        }
    }

    fn kill_orphaned(&self) {
        if let Some((_, tool)) = self.pids {
            kill_below(&[tool], &HashSet::new());
            kill(tool);
        }
    }

    /// The process at the top of its tree, if it is known yet.
    pub(crate) fn top(&self) -> Option<i32> {
        self.pids.map(|(top, _)| top)
    }

    /// The call, and the pipes that something may still write to.
    pub(crate) fn into_parts(self) -> (Call, impl Iterator<Item = OwnedFd>) {
        (self.call, self.out.into_iter().chain(self.err))
    }
}
