//! A file, or a part of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::place::{entry, resolve, tag};
use super::{refused, say, wrong};
use crate::files::{Name, Refused, Slice, Span, Told, Why};
use crate::guest::open_regular;

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

fn open(workspace: &Path, at: &Name, span: Option<Span>) -> Result<(File, Slice), Refused> {
    let path = resolve(workspace, at)?;
    if let Err(error) = std::fs::metadata(&path) {
        return Err(refused(&path, &error));
    }
    let (mut file, metadata) =
        open_regular(&path).map_err(|reason| wrong(Why::Conflict, format!("{}: {reason}", path.display())))?;
    let size = metadata.len();
    let (start, end) = match span {
        None => (0, size),
        Some(Span::From(start, last)) => (start, last.map_or(size, |last| last.saturating_add(1).min(size))),
        Some(Span::Last(bytes)) => (size.saturating_sub(bytes), size),
    };
    if span.is_some() && start >= end {
        return Err(wrong(Why::NoSuchPart, format!("{}: it has {size} bytes", path.display())));
    }
    file.seek(SeekFrom::Start(start)).map_err(|error| refused(&path, &error))?;
    let slice = Slice { entry: entry(&path, &metadata), tag: tag(&metadata), start, length: end - start };
    Ok((file, slice))
}
