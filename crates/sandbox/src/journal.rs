//! The record of one call: a host file that says whether it started, what it printed and how it ended.
//!
//! The server creates and locks it (`flock`), passes the descriptor along with the order, and closes its own. So the
//! lock is held for as long as anyone could still write, orders in flight included. The keeper writes `Started` before
//! anything is forked, then the output, then `Exited`.
//!
//! Format: eight bytes of magic, then frames of kind (1), length (4, little-endian), payload, checksum (4). A frame that
//! is cut short or garbled ends the record; a kind that is not known is skipped.
//!
//! Every state of the file has one verdict ([`judge`]). A call is run only if it has certainly not started: its record is
//! missing, empty or whole, is of this boot of the machine, and was not put back to an earlier time by a restore.

use serde::{Deserialize, Serialize};

use crate::{CallEnd, Exit, Reached};

/// The first bytes of every journal; the digit is the format's version.
pub const MAGIC: &[u8; 8] = b"TENUREJ1";

/// What an entry takes beside what it says.
pub(crate) const FRAME_OVERHEAD: usize = 9;

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reached: Vec<Reached>,
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
    /// What is wrong with the file, if anything is. What was read before that is right.
    pub flaw: Option<Flaw>,
}

/// What can be wrong with a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It doesn't begin as a journal does.
    Foreign,
    /// It was begun by a later version of this program.
    Later,
    /// It ends in a frame that is cut short or garbled.
    Torn,
}

impl Record {
    /// Reads a journal up to its end or the first torn frame.
    pub fn read(file: &[u8]) -> Self {
        let mut record = Self::default();
        let Some(mut rest) = file.strip_prefix(MAGIC) else {
            let family = &MAGIC[..MAGIC.len() - 1];
            record.flaw = match file {
                [] => None,
                _ if file.len() < MAGIC.len() && MAGIC.starts_with(file) => Some(Flaw::Torn),
                _ if file.starts_with(family) => Some(Flaw::Later),
                _ => Some(Flaw::Foreign),
            };
            return record;
        };
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
        record.flaw = (!rest.is_empty()).then_some(Flaw::Torn);
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
            reached: ending.reached,
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

/// From when a call may be, by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It was asked for on this boot of the machine, and since the last restore of a backup.
    Present,
    /// It may have been asked for on an earlier boot, whose crash can have lost its journal.
    BeforeBoot,
    /// It was asked for before the log and the files were put back to an earlier time: it may have gone on after that.
    BeforeRestore,
}

/// Judges a call whose journal nobody can write any more. `boot` is the machine's present boot.
pub fn judge(record: Record, boot: &str, age: Age) -> Verdict {
    let interrupted = |reason: &str| Verdict::Ended(CallEnd::Interrupted { reason: reason.to_owned() });
    let Record { boot: ordered_on, started, ending, flaw, .. } = &record;
    match (ending.is_some(), *started, *flaw, age, ordered_on.as_deref()) {
        (true, ..) => Verdict::Ended(CallEnd::Exited(record.into_exit().unwrap_or_default())),
        (false, true, ..) => interrupted("the sandbox ended while the call was running"),
        (false, false, Some(Flaw::Later), ..) => interrupted("its record was written by a later version of Tenure"),
        (false, false, Some(Flaw::Foreign | Flaw::Torn), ..) => interrupted("its record is damaged"),
        (false, false, None, Age::BeforeRestore, _) => {
            interrupted("a backup was restored after the call was asked for")
        }
        // The boot's name is surer than the clock.
        (false, false, None, Age::Present | Age::BeforeBoot, Some(on)) if on == boot => Verdict::Run,
        (false, false, None, Age::Present | Age::BeforeBoot, Some(_)) | (false, false, None, Age::BeforeBoot, None) => {
            interrupted("the machine restarted after the call was asked for")
        }
        (false, false, None, Age::Present, None) => Verdict::Run,
    }
}

#[cfg(test)]
mod tests {
    use super::{Age, Ending, Entry, Flaw, MAGIC, Record, Stream, Verdict, frame, judge};
    use crate::{CallEnd, Limit, Reached};

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
            let is_whole = cut == 0 || ends.contains(&cut);
            let expected =
                Record { flaw: (!is_whole).then_some(Flaw::Torn), ..Record::read(&file(&entries[..complete])) };
            assert_eq!(Record::read(&bytes[..cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn zeros_of_a_crashed_file_system_end_the_record() {
        let mut bytes = file(&whole()[..2]);
        bytes.extend([0; 64]);
        let before = Record::read(&file(&whole()[..2]));
        assert_eq!(Record::read(&bytes), Record { flaw: Some(Flaw::Torn), ..before });
    }

    #[test]
    fn an_unknown_kind_is_skipped() {
        let mut bytes = file(&whole()[..2]);
        bytes.extend(frame(b'?', &[b"later"]));
        bytes.extend(Entry::Exited(Ending::default()).encode());
        assert!(Record::read(&bytes).ending.is_some());
    }

    #[test]
    fn every_state_of_a_journal_has_one_verdict() {
        let entries = whole();
        let (now, boot, restore) = (Age::Present, Age::BeforeBoot, Age::BeforeRestore);
        let table = [
            (0, "b1", now, "run"),
            (0, "b1", boot, "interrupted"),
            (0, "b1", restore, "interrupted"),
            (1, "b1", now, "run"),
            (1, "b1", boot, "run"),
            (1, "b1", restore, "interrupted"),
            (1, "b2", now, "interrupted"),
            (2, "b1", now, "interrupted"),
            (5, "b1", now, "interrupted"),
            (6, "b1", now, "result"),
            (6, "b2", boot, "result"),
            (6, "b2", restore, "result"),
        ];
        for (count, boot, age, expected) in table {
            assert_eq!(verdict(&file(&entries[..count]), boot, age), expected, "{count} entries, boot {boot}, {age:?}");
        }
        assert_eq!(verdict(b"", "b1", now), "run");
        assert_eq!(verdict(b"", "b1", boot), "interrupted");
        assert_eq!(verdict(b"", "b1", restore), "interrupted");
    }

    fn verdict(bytes: &[u8], boot: &str, age: Age) -> &'static str {
        match judge(Record::read(bytes), boot, age) {
            Verdict::Run => "run",
            Verdict::Ended(CallEnd::Exited(_)) => "result",
            Verdict::Ended(CallEnd::Interrupted { .. }) => "interrupted",
        }
    }

    /// Wherever it was cut, and whichever of its bytes changed, a call that has begun to be written isn't run again, unless
    /// what is left is the whole record of one that hasn't started.
    #[test]
    fn a_damaged_journal_never_lets_a_call_run_again() {
        let bytes = file(&whole());
        let clean: Vec<usize> = vec![0, MAGIC.len(), file(&whole()[..1]).len()];
        for cut in 0..bytes.len() {
            let expected = if clean.contains(&cut) { "run" } else { "interrupted" };
            assert_eq!(verdict(&bytes[..cut], "b1", Age::Present), expected, "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            assert_eq!(verdict(&bytes, "b1", Age::Present), "interrupted", "byte {at} changed");
        }
        for garbage in [&b"\0\0\0\0\0\0\0\0\0\0"[..], b"TENUREJ2", b"hello\n", &[0xff; 4_096]] {
            assert_eq!(verdict(garbage, "b1", Age::Present), "interrupted", "{garbage:?}");
        }
    }

    #[test]
    fn limits_that_were_reached_are_read_whoever_wrote_them() {
        let reached = vec![
            Reached { limit: Limit::Disk, most: 1 << 30, ended: true, refused: 0 },
            Reached { limit: Limit::Pids, most: 512, ended: false, refused: 37 },
        ];
        let ending = Ending { signal: Some(9), reached: reached.clone(), ..Ending::default() };
        let record = Record::read(&file(&[Entry::Started, Entry::Exited(ending)]));
        assert_eq!(record.into_exit().map(|exit| exit.reached), Some(reached));
        let of_others: [(&str, Vec<Reached>); 2] = [
            (r#"{"signal":9,"out_of_memory":true}"#, Vec::new()),
            (
                r#"{"signal":9,"reached":[{"limit":"patience","most":3}]}"#,
                vec![Reached { limit: Limit::Other, most: 3, ended: false, refused: 0 }],
            ),
        ];
        for (written, expected) in of_others {
            let exited = frame(b'X', &[written.as_bytes()]);
            let record = Record::read(&[file(&[Entry::Started]), exited].concat());
            let exit = record.into_exit().expect("an end");
            assert_eq!((exit.signal, exit.reached), (Some(9), expected), "{written}");
        }
    }
}
