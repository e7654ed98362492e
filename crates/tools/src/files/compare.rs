//! What differs between the files of two sandboxes.
//!
//! Neither sees the other. Two ops talk with each other through us: one offers what its sandbox has ([`Request::Offer`]), the
//! other asks for that piece by piece and compares ([`Request::Compare`]), so that what is in the files, which may be made to
//! harm its reader, is looked at in a sandbox alone. A file that both have in common, down to its number and the time of its
//! last change, isn't read.

use serde::{Deserialize, Serialize};
use tenure_sandbox::Output;

use super::client::{Talk, check, odd};
use super::{Entry, Error, FilesClient, MOST_LINE_BYTES, Name, Request, Told};

/// The longest line that says what differs, and the longest of what is passed on.
pub(crate) const MOST_DIFFERENCE_BYTES: usize = 2 << 20;

/// The most bytes of a file that is compared line by line.
pub const MOST_TEXT_BYTES: u64 = 1 << 20;

/// The most bytes of what is shown of one file.
pub const MOST_PATCH_BYTES: usize = 256 * 1024;

/// How a line begins that is for the other op.
pub(crate) const ASKS: u8 = b'?';

/// What is to be compared, and how much of it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparing {
    /// A file or directory.
    pub at: Name,
    /// The last path of the page before.
    pub after: Option<Name>,
    /// The most differences.
    pub limit: usize,
    /// How much is said of files' contents.
    pub detail: Detail,
}

/// How much is said of what is in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Nothing.
    None,
    /// How many lines differ.
    Count,
    /// The lines that differ.
    Patch,
}

/// A page of what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences {
    /// In order of paths; what is in a directory comes right after it.
    pub found: Vec<Difference>,
    /// Whether there is more after the last.
    pub more: bool,
}

/// A path at which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In what way.
    pub change: Change,
    /// What was there.
    pub before: Option<Entry>,
    /// What is there.
    pub after: Option<Entry>,
    /// What is in it, of a file, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// In what way a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It wasn't there.
    Added,
    /// It isn't there any more.
    Removed,
    /// It has another content or leads elsewhere, and perhaps has other permissions.
    Modified,
    /// It is a thing of another kind.
    TypeChanged,
    /// It has other permissions.
    ModeChanged,
    /// The sandbox's user may not read it, so nobody knows.
    Unreadable,
}

/// What differs in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Content {
    /// It is text.
    Text {
        /// Lines that weren't there.
        added: u64,
        /// Lines that aren't there any more.
        removed: u64,
        /// The hunks of a unified diff, if they were wanted and aren't too long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patch: Option<String>,
    },
    /// It isn't text.
    Binary,
    /// It is too large to be compared line by line.
    TooLarge,
    /// The sandbox's user may not read it.
    Unreadable,
}

/// A line of what the comparing op says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Found {
    /// The page ends here; whether there is more to ask for.
    End { more: bool },
    /// One more.
    Difference(Box<Difference>),
}

/// What the comparing op asks the offering one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub(crate) enum Ask {
    /// Leave out all up to this path; not answered.
    After { path: Name },
    /// What comes next: some [`Offered`]s, a line each, and then an [`OfferEnd`].
    Next,
    /// Go into the last one that was offered, which is [fixed](Offered::fixed); not answered.
    Enter,
    /// A part of a file: [`Part`], then its bytes.
    Part { at: Name, from: u64, most: u64 },
}

/// Something that the offering side has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offered {
    /// Its path is that below what is compared.
    #[serde(flatten)]
    pub(crate) entry: Entry,
    /// Two that have the same are the same file, with the same content.
    pub(crate) tag: String,
    /// Which kind of device, pipe or socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) special: Option<(u32, u64)>,
    /// A directory that can't be read; whether it can be entered all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<bool>,
    /// A directory that isn't the session's: the host's, which nobody here can write to. What is in it comes only if it is
    /// [wanted](Ask::Enter).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fixed: bool,
}

/// The end of some [`Offered`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferEnd {
    pub(crate) more: bool,
}

/// What [`Ask::Part`] is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// How many bytes follow; `None`: it can't be read.
    pub(crate) bytes: Option<u64>,
}

impl FilesClient {
    /// What differs here from what `before` has.
    pub async fn compare(&self, before: &Self, comparing: Comparing) -> Result<Differences, Error> {
        let Comparing { at, after, limit, detail } = comparing;
        let offer = before.ask(&Request::Offer { at: at.clone() }).await?;
        let ours = self.ask(&Request::Compare { at, after, limit, detail }).await?;
        let mut between = Between { ours, offer };
        let mut found = Vec::new();
        let outcome = between.line().await?;
        match serde_json::from_slice(&outcome).map_err(|error| Error::Broken(error.to_string()))? {
            Ok(Told::Entries) => {}
            Ok(_) => return Err(odd()),
            Err(refused) => return Err(Error::Refused(refused)),
        }
        loop {
            let line = between.line().await?;
            match serde_json::from_slice(&line).map_err(|error| Error::Broken(error.to_string()))? {
                Found::Difference(difference) if found.len() < limit => {
                    difference.before.iter().chain(&difference.after).try_for_each(check)?;
                    found.push(*difference);
                }
                Found::Difference(_) => return Err(odd()),
                Found::End { more } => return Ok(Differences { found, more }),
            }
        }
    }
}

/// Two ops, and what goes between them.
struct Between {
    ours: Talk,
    offer: Talk,
}

impl Between {
    /// The next line that is for us. What one op says to the other is passed on meanwhile. One that isn't read holds up only the
    /// other, which waits for it anyway: each answer is whole before the next question.
    async fn line(&mut self) -> Result<Vec<u8>, Error> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.ours.heard[seen..].iter().position(|byte| *byte == b'\n') {
                let rest = self.ours.heard.split_off(seen + at + 1);
                let line = std::mem::replace(&mut self.ours.heard, rest);
                seen = 0;
                match line.split_first() {
                    Some((&ASKS, question)) => {
                        if question.len() > MOST_LINE_BYTES
                            || self.offer.process.input.send(question.to_vec()).await.is_err()
                        {
                            return Err(odd());
                        }
                        continue;
                    }
                    Some(_) | None => return Ok(line),
                }
            }
            seen = self.ours.heard.len();
            if seen > MOST_DIFFERENCE_BYTES {
                return Err(odd());
            }
            tokio::select! {
                biased;
                said = self.ours.process.output.recv() => match said {
                    Some(Output::Out(bytes)) => self.ours.heard.extend(bytes),
                    Some(Output::Err(_)) => {}
                    None => return Err(self.ours.why().await),
                },
                offered = self.offer.process.output.recv() => match offered {
                    Some(Output::Out(bytes)) => {
                        if self.ours.process.input.send(bytes).await.is_err() {
                            return Err(self.ours.why().await);
                        }
                    }
                    Some(Output::Err(_)) => {}
                    // Whoever still wants something of it doesn't get it.
                    None => return Err(self.offer.why().await),
                },
            }
        }
    }
}
