//! The server's side of a process with which somebody talks.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use tenure_core::id::ItemId;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot, watch};

use super::journal_file::{boot_id, longest, read_locked, write_sheet};
use super::sandbox::{Shared, millis};
use crate::journal::{Entry, MAGIC};
use crate::order::Sheet;
use crate::pipes::pipe_for_tools;
use crate::process::ProcessSide;
use crate::wire::{KeeperAsk, encode};
use crate::{Control, Error, Exit, Launch, Output, Process};

/// How much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// How much of what is left in a pipe is read after a process has ended: the most that a pipe can hold. What others go on
/// writing to it isn't its output.
const MOST_LEFT_BYTES: usize = 1 << 20;

/// As much as a keeper keeps of why a process could not be started.
const COMPLAINT_BYTES: usize = 4096;

/// The first version whose keepers launch processes.
const LAUNCHES_SINCE: u16 = 3;

impl Shared {
    /// Has a process started, and looks after it until it has ended.
    pub(super) async fn launch(self: Arc<Self>, launch: Launch) -> Result<Process, Error> {
        if self.version < LAUNCHES_SINCE {
            let older =
                "the sandbox was started by an earlier version of this program and can't do that; stop it first";
            return Err(Error::Invalid(older.to_owned()));
        }
        let failed = |error| Error::failed("starting a process")(error);
        let Launch { work, terminal, timeout } = launch;
        let (mut sheet, payload) = work.into_sheet();
        match (&mut sheet, terminal) {
            (Sheet::Exec { terminal: wanted, .. }, _) if payload.is_empty() => *wanted = terminal,
            (Sheet::Op { .. }, None) => {}
            (Sheet::Exec { .. } | Sheet::Op { .. } | Sheet::Shell { .. }, _) => {
                return Err(Error::Invalid("that can't be launched".to_owned()));
            }
        }
        let call = fresh_id().map_err(failed)?;
        let order = write_sheet(&sheet, &payload).map_err(failed)?;
        let (ends, passed) = make().map_err(failed)?;
        let (process, side) = Process::pair();
        let (ended, end) = oneshot::channel();
        self.launched.lock().expect("no holder panics").insert(call, ended);
        let ask = encode(&KeeperAsk::Launch { call, timeout_ms: timeout.map(millis) });
        let [input, out, err, control] = &passed.streams;
        let descriptors = [&passed.record, &order, input, out, err, control].map(AsFd::as_fd);
        if self.channel.send(&ask, &descriptors).await.is_err() {
            self.launched.lock().expect("no holder panics").remove(&call);
            return Err(Error::Lost);
        }
        drop((passed, order));
        tokio::spawn(self.look_after(call, ends, side, end));
        Ok(process)
    }

    /// The life of what looks after a process that was launched.
    async fn look_after(self: Arc<Self>, call: ItemId, ends: Ends, side: ProcessSide, mut end: oneshot::Receiver<()>) {
        let (input, [out, err], control, mut record) = ends.apart();
        let ProcessSide { input: given, output, control: mut controls, end: tell } = side;
        let (over, is_over) = watch::channel(false);
        let feeding = tokio::spawn(feed(input, given));
        tokio::spawn(drain(out, Output::Out, output.clone(), is_over.clone()));
        tokio::spawn(drain(err, Output::Err, output.clone(), is_over));
        let mut lost = self.lost.subscribe();
        let mut lost = std::pin::pin!(async move { drop(lost.wait_for(Option::is_some).await) });
        let mut wanted = true;
        loop {
            tokio::select! {
                biased;
                _ = &mut end => break,
                () = &mut lost => break,
                next = controls.recv(), if wanted => match next {
                    Some(next) => pass_on(&control, next),
                    None => {
                        wanted = false;
                        // If it isn't heard, the keeper is gone, and so is the process.
                        let _ = self.channel.send(&encode(&KeeperAsk::Cancel { call }), &[]).await;
                    }
                },
            }
        }
        self.launched.lock().expect("no holder panics").remove(&call);
        feeding.abort();
        let exit = record.exit();
        if let Some(complaint) = exit.as_ref().map(|exit| exit.stderr.clone()).filter(|complaint| !complaint.is_empty())
        {
            let _ = output.send(Output::Err(complaint)).await;
        }
        over.send_replace(true);
        let _ = tell.send(exit.map(|exit| Exit { stderr: Vec::new(), ..exit }).ok_or(Error::Lost));
    }
}

/// A name that no call has.
fn fresh_id() -> io::Result<ItemId> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    Ok(ItemId::from_bits(u128::from_ne_bytes(bits)))
}

/// Our ends of the pipes of a process, and the file in which the keeper records its end.
#[derive(Debug)]
struct Ends {
    input: pipe::Sender,
    out: pipe::Receiver,
    err: pipe::Receiver,
    control: pipe::Sender,
    record: File,
}

/// The keeper's ends, in the order in which it takes them: the record first; the order comes second.
#[derive(Debug)]
struct Passed {
    record: OwnedFd,
    streams: [OwnedFd; 4],
}

/// Makes all of them.
fn make() -> io::Result<(Ends, Passed)> {
    let ((input, input_ours), (out, out_theirs)) = (pipe_for_tools()?, pipe_for_tools()?);
    let ((err, err_theirs), (control, control_ours)) = (pipe_for_tools()?, pipe_with(PipeFlags::CLOEXEC)?);
    for ours in [&input_ours, &out, &err, &control_ours] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    let mut record = File::from(memfd_create("record", MemfdFlags::CLOEXEC)?);
    record.write_all(MAGIC)?;
    record.write_all(&Entry::Ordered { boot: boot_id().to_owned() }.encode())?;
    let passed = Passed { record: record.try_clone()?.into(), streams: [input, out_theirs, err_theirs, control] };
    let ends = Ends {
        input: pipe::Sender::from_owned_fd(input_ours)?,
        out: pipe::Receiver::from_owned_fd(out)?,
        err: pipe::Receiver::from_owned_fd(err)?,
        control: pipe::Sender::from_owned_fd(control_ours)?,
        record,
    };
    Ok((ends, passed))
}

impl Ends {
    /// Takes it apart into what passes bytes, what passes controls, and the record.
    fn apart(self) -> (pipe::Sender, [pipe::Receiver; 2], pipe::Sender, Record) {
        (self.input, [self.out, self.err], self.control, Record(self.record))
    }
}

/// Where the keeper says how a process ended.
#[derive(Debug)]
struct Record(File);

impl Record {
    /// How it ended, if that is there.
    fn exit(&mut self) -> Option<Exit> {
        read_locked(&mut self.0, longest(COMPLAINT_BYTES)).ok()?.into_exit()
    }
}

/// Passes input on, until there is no more, or nobody reads it.
async fn feed(mut pipe: pipe::Sender, mut input: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = input.recv().await {
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Passes output on, until there is no more, or nobody takes it.
async fn drain(
    pipe: pipe::Receiver,
    kind: fn(Vec<u8>) -> Output,
    output: mpsc::Sender<Output>,
    mut ended: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let over = tokio::select! {
            biased;
            // One that nobody takes output of any more must not be held up by it.
            () = output.closed() => return,
            _ = pipe.readable() => false,
            _ = ended.wait_for(|ended| *ended) => true,
        };
        if over {
            break;
        }
        match pipe.try_read(&mut bytes) {
            Ok(0) => return,
            Ok(length) => {
                if output.send(kind(bytes[..length].to_vec())).await.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    let mut left = MOST_LEFT_BYTES;
    while left > 0
        && let Ok(length @ 1..) = rustix::io::retry_on_intr(|| rustix::io::read(pipe.as_fd(), &mut bytes[..]))
    {
        left = left.saturating_sub(length);
        if output.send(kind(bytes[..length].to_vec())).await.is_err() {
            return;
        }
    }
}

/// Passes a control on. One that finds no room is dropped: whoever should read it doesn't.
fn pass_on(pipe: &pipe::Sender, control: Control) {
    let _ = pipe.try_write(&control.encode());
}
