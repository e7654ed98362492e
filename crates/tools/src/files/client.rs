//! Talking with the op.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{Exit, Launch, Output, Process, Sandbox, Work};

use super::request::Line;
use super::{
    Body, END, Entry, Format, MOST_LINE_BYTES, MOST_PATH_BYTES, Name, OP, Outcome, Refused, Request, Slice, Span, Told,
    Why, frame,
};

/// How long one transfer may take.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long the op may take to clear up after a body that was cut short.
const CLEARING_UP: Duration = Duration::from_secs(10);

/// The files of one sandbox.
#[derive(Debug, Clone)]
pub struct FilesClient {
    sandbox: Arc<dyn Sandbox>,
}

/// Why something wasn't done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be done as things are.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// The sandbox couldn't run it.
    #[error(transparent)]
    Sandbox(#[from] tenure_sandbox::Error),
    /// What came out of the sandbox makes no sense, or it broke off.
    #[error("the sandbox broke off: {0}")]
    Broken(String),
}

/// A page of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// What is there.
    pub entries: Vec<Entry>,
    /// Whether there is more after the last.
    pub more: bool,
}

impl FilesClient {
    /// Those of this sandbox.
    pub fn new(sandbox: Arc<dyn Sandbox>) -> Self {
        Self { sandbox }
    }

    /// What is in a directory, from the entry after `after` on.
    pub async fn list(&self, at: Name, recursive: bool, after: Option<Name>, limit: usize) -> Result<Listing, Error> {
        let mut talk = self.ask(&Request::List { at, recursive, after, limit }).await?;
        let Told::Entries = talk.outcome().await? else { return Err(odd()) };
        let mut entries = Vec::new();
        loop {
            match talk.line().await? {
                Line::Entry(entry) if entries.len() < limit => entries.push(entry),
                Line::Entry(_) => return Err(odd()),
                Line::End { more } => return Ok(Listing { entries, more }),
            }
        }
    }

    /// A file, or a part of it.
    pub async fn read(&self, at: Name, span: Option<Span>) -> Result<(Slice, Body), Error> {
        let mut talk = self.ask(&Request::Read { at, span }).await?;
        let Told::File(slice) = talk.outcome().await? else { return Err(odd()) };
        let left = Some(slice.length);
        Ok((slice, Body { process: talk.process, first: talk.heard, left }))
    }

    /// Begins to write a file. Nothing of it is seen before [`finish`](Upload::finish).
    pub async fn write(&self, at: Name, parents: bool, mode: Option<u32>) -> Result<Upload, Error> {
        Ok(Upload { talk: Some(self.ask(&Request::Write { at, parents, mode }).await?) })
    }

    /// A directory as an archive.
    pub async fn pack(&self, at: Name, format: Format) -> Result<Body, Error> {
        let mut talk = self.ask(&Request::Pack { at, format }).await?;
        let Told::Done = talk.outcome().await? else { return Err(odd()) };
        Ok(Body { process: talk.process, first: talk.heard, left: None })
    }

    /// Begins to send an archive that is unpacked into a directory. Nothing of it is seen before [`finish`](Upload::finish).
    pub async fn unpack(&self, at: Name, parents: bool) -> Result<Upload, Error> {
        Ok(Upload { talk: Some(self.ask(&Request::Unpack { at, parents }).await?) })
    }

    /// Removes a file or a directory.
    pub async fn remove(&self, at: Name, recursive: bool) -> Result<(), Error> {
        self.done(&Request::Remove { at, recursive }).await
    }

    /// Gives something another name.
    pub async fn rename(&self, from: Name, to: Name, replace: bool, parents: bool) -> Result<(), Error> {
        self.done(&Request::Move { from, to, replace, parents }).await
    }

    async fn done(&self, request: &Request) -> Result<(), Error> {
        match self.ask(request).await?.outcome().await? {
            Told::Done => Ok(()),
            Told::Entries | Told::File(_) | Told::Written { .. } => Err(odd()),
        }
    }

    pub(super) async fn ask(&self, request: &Request) -> Result<Talk, Error> {
        let input = serde_json::to_vec(request).map_err(|error| Error::Broken(error.to_string()))?;
        let work = Work::Op { name: OP.to_owned(), input };
        let process = self.sandbox.launch(Launch { timeout: Some(LONGEST), ..Launch::new(work) }).await?;
        Ok(Talk { process, heard: Vec::new() })
    }
}

/// A file on its way into the sandbox.
#[derive(Debug)]
pub struct Upload {
    talk: Option<Talk>,
}

impl Upload {
    /// Sends a piece; waits while the sandbox doesn't take it. Says whether there is any use in going on: if not,
    /// [`finish`](Self::finish) says why.
    pub async fn send(&mut self, piece: &[u8]) -> bool {
        let Some(talk) = &self.talk else { return false };
        for framed in frame(piece) {
            if talk.process.input.send(framed).await.is_err() {
                return false;
            }
        }
        true
    }

    /// All of it is sent: gives what is there then, and whether it is new.
    pub async fn finish(mut self) -> Result<(bool, Entry), Error> {
        let Some(mut talk) = self.talk.take() else { return Err(odd()) };
        let _ = talk.process.input.send(END.to_vec()).await;
        match talk.outcome().await? {
            Told::Written { created, entry } => Ok((created, entry)),
            Told::Entries | Told::File(_) | Told::Done => Err(odd()),
        }
    }
}

impl Drop for Upload {
    /// One that was cut short clears up after itself.
    fn drop(&mut self) {
        let Some(Talk { process, .. }) = self.talk.take() else { return };
        let Process { input, output, control, end } = process;
        drop((input, output));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(CLEARING_UP, end).await;
                drop(control);
            });
        }
    }
}

/// A conversation with the op.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) process: Process,
    pub(super) heard: Vec<u8>,
}

impl Talk {
    /// What it says first.
    async fn outcome(&mut self) -> Result<Told, Error> {
        let line = self.raw_line().await?;
        let outcome: Outcome = serde_json::from_slice(&line).map_err(|error| Error::Broken(error.to_string()))?;
        if let Ok(Told::File(Slice { entry, .. }) | Told::Written { entry, .. }) = &outcome {
            check(entry)?;
        }
        outcome.map_err(Error::Refused)
    }

    async fn line(&mut self) -> Result<Line, Error> {
        let line = self.raw_line().await?;
        let line = serde_json::from_slice(&line).map_err(|error| Error::Broken(error.to_string()))?;
        if let Line::Entry(entry) = &line {
            check(entry)?;
        }
        Ok(line)
    }

    async fn raw_line(&mut self) -> Result<Vec<u8>, Error> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.heard[seen..].iter().position(|byte| *byte == b'\n') {
                let rest = self.heard.split_off(seen + at + 1);
                return Ok(std::mem::replace(&mut self.heard, rest));
            }
            seen = self.heard.len();
            if seen > MOST_LINE_BYTES {
                return Err(odd());
            }
            match self.process.output.recv().await {
                Some(Output::Out(bytes)) => self.heard.extend(bytes),
                Some(Output::Err(_)) => {}
                None => return Err(self.why().await),
            }
        }
    }

    /// Why it ended without a word.
    pub(super) async fn why(&mut self) -> Error {
        match (&mut self.process.end).await {
            Ok(Ok(Exit { timed_out: true, .. })) => Error::Broken("it took too long".to_owned()),
            Ok(Ok(Exit { out_of_memory: true, .. })) => {
                let message = "the sandbox is out of memory".to_owned();
                Error::Refused(Refused { why: Why::NoSpace, message })
            }
            Ok(Ok(exit)) => Error::Broken(format!("it ended with {:?}, signal {:?}", exit.code, exit.signal)),
            Ok(Err(error)) => Error::Sandbox(error),
            Err(_) => Error::Sandbox(tenure_sandbox::Error::Lost),
        }
    }
}

pub(super) fn odd() -> Error {
    Error::Broken("it said what makes no sense".to_owned())
}

/// What the sandbox says of a file is bounded like a file's own names.
pub(super) fn check(entry: &Entry) -> Result<(), Error> {
    let fits = |name: &Name| name.bytes().is_some_and(|bytes| bytes.len() <= MOST_PATH_BYTES && !bytes.contains(&0));
    match fits(&entry.name) && entry.target.as_ref().is_none_or(fits) && entry.mode <= 0o7777 {
        true => Ok(()),
        false => Err(odd()),
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
