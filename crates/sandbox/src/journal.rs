//! The record of one call: a host file that says whether it started, what it printed and how it ended.
//!
//! The server creates and locks it (`flock`), passes the descriptor along with the order, and closes its own. So the
//! lock is held for as long as anyone could still write, orders in flight included. The keeper writes `Started` before
//! anything is forked, then the output, then `Exited`.
//!
//! Format: eight bytes of magic, then frames of kind (1), length (4, little-endian), payload, checksum (4). A frame that
//! is cut short or garbled ends the record; a kind that is not known is skipped.

use serde::{Deserialize, Serialize};

use crate::{CallEnd, Exit};

/// The first bytes of every journal; the digit is the format's version.
pub const MAGIC: &[u8; 8] = b"TENUREJ1";

const FRAME_OVERHEAD: usize = 9;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The server ordered the call, on this boot of the machine.
    Ordered {
        /// The machine's boot id.
        boot: String,
    },
    /// From here on it may have had effects.
    Started,
    /// Output, as it came.
    Output {
        /// Which stream.
        stream: Stream,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// It ended.
    Exited(Ending),
}

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// All of an [`Exit`] but the output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ending {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) omitted_bytes: u64,
    pub(crate) timed_out: bool,
    pub(crate) cancelled: bool,
    pub(crate) shell_lost: bool,
    pub(crate) out_of_memory: bool,
}

impl Entry {
    /// The entry as a frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ordered { boot } => frame(b'O', &[boot.as_bytes()]),
            Self::Started => frame(b'S', &[]),
            Self::Output { stream, bytes } => output_frame(*stream, bytes),
            Self::Exited(ending) => frame(b'X', &[&serde_json::to_vec(ending).expect("an ending is plain data")]),
        }
    }

    fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        match kind {
            b'O' => Some(Self::Ordered { boot: String::from_utf8_lossy(payload).into_owned() }),
            b'S' => Some(Self::Started),
            b'1' => Some(Self::Output { stream: Stream::Out, bytes: payload.to_vec() }),
            b'2' => Some(Self::Output { stream: Stream::Err, bytes: payload.to_vec() }),
            b'X' => serde_json::from_slice(payload).ok().map(Self::Exited),
            _ => None,
        }
    }
}

/// A frame of output, without copying the bytes into an [`Entry`] first.
pub(crate) fn output_frame(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let kind = match stream {
        Stream::Out => b'1',
        Stream::Err => b'2',
    };
    frame(kind, &[bytes])
}

fn frame(kind: u8, payload: &[&[u8]]) -> Vec<u8> {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(FRAME_OVERHEAD + length);
    bytes.push(kind);
    bytes.extend_from_slice(&u32::try_from(length).expect("a frame is far below 4 GiB").to_le_bytes());
    payload.iter().for_each(|part| bytes.extend_from_slice(part));
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// FNV-1a: it need only tell a frame that was written whole from a torn one.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// What a journal tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The boot on which it was ordered, if that was written.
    pub boot: Option<String>,
    /// Whether it started.
    pub started: bool,
    /// How it ended, if it did.
    pub ending: Option<Ending>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it printed as errors.
    pub stderr: Vec<u8>,
}

impl Record {
    /// Reads a journal up to its end or the first torn frame.
    pub fn read(file: &[u8]) -> Self {
        let mut record = Self::default();
        let mut rest = file.strip_prefix(MAGIC).unwrap_or_default();
        while let Some((kind, payload, after)) = next_frame(rest) {
            rest = after;
            match Entry::decode(kind, payload) {
                Some(Entry::Ordered { boot }) => record.boot = Some(boot),
                Some(Entry::Started) => record.started = true,
                Some(Entry::Output { stream: Stream::Out, bytes }) => record.stdout.extend_from_slice(&bytes),
                Some(Entry::Output { stream: Stream::Err, bytes }) => record.stderr.extend_from_slice(&bytes),
                Some(Entry::Exited(ending)) => record.ending = Some(ending),
                None => {}
            }
        }
        record
    }

    /// What a journal has of the output, of both streams, as it came.
    pub(crate) fn printed(file: &[u8]) -> Vec<u8> {
        let mut printed = Vec::new();
        let mut rest = file.strip_prefix(MAGIC).unwrap_or_default();
        while let Some((kind, payload, after)) = next_frame(rest) {
            rest = after;
            if let Some(Entry::Output { bytes, .. }) = Entry::decode(kind, payload) {
                printed.extend(bytes);
            }
        }
        printed
    }

    /// The call's result, if it ended.
    pub fn into_exit(self) -> Option<Exit> {
        self.ending.map(|ending| Exit {
            code: ending.code,
            signal: ending.signal,
            stdout: self.stdout,
            stderr: self.stderr,
            truncated: ending.omitted_bytes > 0,
            omitted_bytes: ending.omitted_bytes,
            timed_out: ending.timed_out,
            cancelled: ending.cancelled,
            shell_lost: ending.shell_lost,
            out_of_memory: ending.out_of_memory,
        })
    }
}

fn next_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(5)?;
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let (payload, rest) = rest.split_at_checked(length)?;
    let (sum, rest) = rest.split_at_checked(4)?;
    let whole = &bytes[..5 + length];
    (checksum(whole).to_le_bytes() == sum).then_some((head[0], payload, rest))
}

/// What to do about a call of which this is the record and whose writers are all gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It came to this end.
    Ended(CallEnd),
    /// It has certainly not started: run it.
    Run,
}

/// Judges a call whose journal nobody can write any more.
///
/// `boot` is the machine's present boot; `may_be_older` says that the call may have been ordered on an earlier one.
pub fn judge(record: Record, boot: &str, may_be_older: bool) -> Verdict {
    let Record { boot: ordered_on, started, .. } = &record;
    let interrupted = |reason: &str| Verdict::Ended(CallEnd::Interrupted { reason: reason.to_owned() });
    match (record.ending.is_some(), *started, ordered_on.as_deref()) {
        (true, _, _) => Verdict::Ended(CallEnd::Exited(record.into_exit().unwrap_or_default())),
        (false, true, _) => interrupted("the sandbox ended while the call was running"),
        (false, false, Some(on)) if on == boot => Verdict::Run,
        (false, false, Some(_)) => interrupted("the machine restarted after the call was ordered"),
        (false, false, None) if may_be_older => interrupted("the machine restarted after the call was ordered"),
        (false, false, None) => Verdict::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::{Ending, Entry, MAGIC, Record, Stream, Verdict, judge};
    use crate::CallEnd;

    fn file(entries: &[Entry]) -> Vec<u8> {
        entries.iter().fold(MAGIC.to_vec(), |mut file, entry| {
            file.extend(entry.encode());
            file
        })
    }

    fn whole() -> Vec<Entry> {
        let output = |stream, text: &str| Entry::Output { stream, bytes: text.as_bytes().to_vec() };
        vec![
            Entry::Ordered { boot: "b1".to_owned() },
            Entry::Started,
            output(Stream::Out, "one "),
            output(Stream::Err, "oops"),
            output(Stream::Out, "two"),
            Entry::Exited(Ending { code: Some(3), omitted_bytes: 7, ..Ending::default() }),
        ]
    }

    #[test]
    fn reads_back_what_was_written() {
        let exit = Record::read(&file(&whole())).into_exit().expect("it ended");
        assert_eq!((exit.code, exit.truncated, exit.omitted_bytes), (Some(3), true, 7));
        assert_eq!((exit.stdout.as_slice(), exit.stderr.as_slice()), (&b"one two"[..], &b"oops"[..]));
    }

    #[test]
    fn a_torn_tail_is_as_if_it_had_not_been_written() {
        let entries = whole();
        let bytes = file(&entries);
        let ends: Vec<usize> = (0..=entries.len()).map(|n| file(&entries[..n]).len()).collect();
        for cut in 0..bytes.len() {
            let complete = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            assert_eq!(Record::read(&bytes[..cut]), Record::read(&file(&entries[..complete])), "cut at {cut}");
        }
    }

    #[test]
    fn zeros_of_a_crashed_file_system_end_the_record() {
        let mut bytes = file(&whole()[..2]);
        bytes.extend([0; 64]);
        assert_eq!(Record::read(&bytes), Record::read(&file(&whole()[..2])));
    }

    #[test]
    fn an_unknown_kind_is_skipped() {
        let mut bytes = file(&whole()[..2]);
        bytes.extend(super::frame(b'?', &[b"later"]));
        bytes.extend(Entry::Exited(Ending::default()).encode());
        assert!(Record::read(&bytes).ending.is_some());
    }

    #[test]
    fn every_state_of_a_journal_has_one_verdict() {
        let entries = whole();
        let shown =
            |count: usize, boot: &str, older: bool| match judge(Record::read(&file(&entries[..count])), boot, older) {
                Verdict::Run => "run".to_owned(),
                Verdict::Ended(CallEnd::Exited(_)) => "result".to_owned(),
                Verdict::Ended(CallEnd::Interrupted { .. }) => "interrupted".to_owned(),
            };
        let table = [
            (0, "b1", false, "run"),
            (0, "b1", true, "interrupted"),
            (1, "b1", false, "run"),
            (1, "b1", true, "run"),
            (1, "b2", false, "interrupted"),
            (2, "b1", false, "interrupted"),
            (5, "b1", false, "interrupted"),
            (6, "b1", false, "result"),
            (6, "b2", true, "result"),
        ];
        for (count, boot, older, expected) in table {
            assert_eq!(shown(count, boot, older), expected, "{count} entries, boot {boot}, older {older}");
        }
    }
}
