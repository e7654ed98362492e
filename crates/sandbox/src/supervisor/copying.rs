//! A worker that copies the files of a live sandbox: it has everything stand still, copies, lets everything go on, and tells. The
//! supervisor never waits for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::copy::{NotCopied, can_share, copy, weigh};
use super::freezer::Frozen;
use crate::guest::{privileges, signals};
use crate::removal::remove_all;

/// What is to be copied.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) keeper: i32,
    /// The sandbox's control groups.
    pub(crate) groups: Vec<PathBuf>,
    pub(crate) from: PathBuf,
    /// Doesn't exist yet, in a directory that does.
    pub(crate) to: PathBuf,
    pub(crate) most: Option<u64>,
}

/// What came of it. Where it is not copied, nothing is left.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Copied { bytes: u64 },
    TooMuch { bytes: u64 },
    Failed { cause: String },
}

/// A worker at work.
#[derive(Debug)]
pub(crate) struct Copying {
    pub(crate) job: Job,
    /// Held by a descriptor: by the time that it is given up it may have been waited for, and its number be another's.
    worker: OwnedFd,
    answer: OwnedFd,
}

impl Copying {
    pub(crate) fn start(job: Job) -> io::Result<Self> {
        let (answer, say) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&answer, true)?;
        // SAFETY: this process has one thread, so its copy finds every lock open; the child never returns.
        let worker = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&job, &say)));
                // SAFETY: ends the child.
                unsafe { libc::_exit(if worked.is_ok() { 0 } else { 101 }) }
            }
            worker => worker,
        };
        let worker = pidfd_open(Pid::from_raw(worker).ok_or(io::ErrorKind::InvalidInput)?, PidfdFlags::empty())?;
        Ok(Self { job, worker, answer })
    }

    /// Can be read when it is done.
    pub(crate) fn answer(&self) -> BorrowedFd<'_> {
        self.answer.as_fd()
    }

    /// What came of it, once it is done. The process itself is reaped with the others.
    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        let mut said = Vec::new();
        let mut answer = File::from(self.answer.try_clone().ok()?);
        match answer.read_to_end(&mut said) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && said.is_empty() => None,
            Ok(_) | Err(_) => {
                let died = || Outcome::Failed { cause: "whoever did it died".to_owned() };
                Some(serde_json::from_slice(&said).unwrap_or_else(|_| died()))
            }
        }
    }

    /// Ends it wherever it is, lets everything go on, and leaves nothing.
    pub(crate) fn give_up(self, keeper: i32, groups: &[PathBuf]) {
        // One that has ended needs no signal.
        let _ = pidfd_send_signal(&self.worker, Signal::KILL);
        Frozen::thaw_all(keeper, groups);
        let _ = remove_all(&self.job.to);
        let _ = remove_all(&self.job.to.with_extension("links"));
    }
}

fn work(job: &Job, say: &OwnedFd) {
    signals::close_all_but(&[say.as_raw_fd()]);
    if privileges::die_with_parent().is_err() {
        return;
    }
    let outcome = match attempt(job) {
        Ok(bytes) => Outcome::Copied { bytes },
        Err(not_copied) => {
            let _ = remove_all(&job.to);
            match not_copied {
                NotCopied::TooMuch(bytes) => Outcome::TooMuch { bytes },
                NotCopied::Failed(error) => Outcome::Failed { cause: error.to_string() },
            }
        }
    };
    let _ = rustix::io::write(say, &serde_json::to_vec(&outcome).unwrap_or_default());
}

fn attempt(job: &Job) -> Result<u64, NotCopied> {
    let shares = job.to.parent().is_some_and(can_share);
    // Nobody has to stand still to hear that it is too much.
    weigh(&job.from, job.most, shares)?;
    let frozen = Frozen::freeze(job.keeper, &job.groups)?;
    crate::failpoint::pass("copy.frozen");
    let copied = copy(&job.from, &job.to, job.most, shares);
    let held = frozen.holds();
    frozen.thaw();
    match copied {
        Ok(_) if !held => Err(NotCopied::Failed(io::Error::other("its processes did not stand still"))),
        copied => copied,
    }
}
