//! A file, or a part of it.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::place::{entry, resolve, tag};
use super::{refused, say, wrong};
use crate::files::{Entry, Name, Refused, Slice, Span, Told, Why};
use crate::guest::{Unopened, open_regular};

/// The most that is read of a file that doesn't say how long it is, as those of `/proc` don't.
const UNSIZED_BYTES: u64 = 16 << 20;

/// What is read of a file.
trait Source: Read + Seek {}

impl<T: Read + Seek> Source for T {}

pub(super) fn read(workspace: &Path, at: &Name, span: Option<Span>, out: &mut dyn Write) -> io::Result<()> {
    let (file, slice) = match open(workspace, at, span) {
        Ok(opened) => opened,
        Err(refused) => return say(out, Err(refused)),
    };
    let length = slice.length;
    say(out, Ok(Told::File(slice)))?;
    // One that becomes shorter meanwhile ends early, which is seen, since its length was said.
    let copied = io::copy(&mut file.take(length), out)?;
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn open(workspace: &Path, at: &Name, span: Option<Span>) -> Result<(Box<dyn Source>, Slice), Refused> {
    let path = resolve(workspace, at)?;
    let conflict = |reason: &str| wrong(Why::Conflict, format!("{}: {reason}", path.display()));
    let (file, metadata) = open_regular(&path).map_err(|unopened| match unopened {
        Unopened::Failed(error) => refused(&path, &error),
        Unopened::Irregular(what) => conflict(what),
    })?;
    let (mut file, size): (Box<dyn Source>, u64) = match metadata.len() {
        0 => {
            let mut bytes = Vec::new();
            file.take(UNSIZED_BYTES + 1).read_to_end(&mut bytes).map_err(|error| match refused(&path, &error) {
                Refused { why: Why::Invalid, message } => wrong(Why::Conflict, message),
                refused => refused,
            })?;
            let size = bytes.len() as u64;
            if size > UNSIZED_BYTES {
                return Err(conflict("it doesn't say how long it is, and is longer than 16 MiB"));
            }
            (Box::new(Cursor::new(bytes)), size)
        }
        size => (Box::new(file), size),
    };
    let (start, end) = match span {
        None => (0, size),
        Some(Span::From(start, last)) => (start, last.map_or(size, |last| last.saturating_add(1).min(size))),
        Some(Span::Last(bytes)) => (size.saturating_sub(bytes), size),
    };
    if span.is_some() && start >= end {
        return Err(wrong(Why::NoSuchPart, format!("{}: it has {size} bytes", path.display())));
    }
    file.seek(SeekFrom::Start(start)).map_err(|error| refused(&path, &error))?;
    let entry = Entry { size, ..entry(&path, &metadata) };
    let slice = Slice { entry, tag: tag(&metadata), start, length: end - start };
    Ok((file, slice))
}
