//! Giving another op what it needs to compare its files with these.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::place::{path_of, resolve};
use super::tree::Tree;
use crate::files::{Ask, MOST_LINE_BYTES, Name, OfferEnd, Part};
use crate::guest::open_regular;

/// How many are offered at once.
const BATCH: usize = 1_000;

/// Answers until nobody asks any more.
pub(super) fn offer(workspace: &Path, at: &Name, asks: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let Ok(root) = resolve(workspace, at) else {
        // The other side says so.
        return io::copy(asks, &mut io::sink()).map(drop);
    };
    let mut tree = Tree::new(workspace, root);
    let mut asks = BufReader::new(asks);
    loop {
        let mut line = Vec::new();
        if (&mut asks).take(MOST_LINE_BYTES as u64).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        match serde_json::from_slice(&line)? {
            Ask::After { path } => tree.go_on_after(&path_of(&path)),
            Ask::Enter => tree.enter(),
            Ask::Next => {
                let mut more = true;
                for _ in 0..BATCH {
                    let Some(offered) = tree.next() else {
                        more = false;
                        break;
                    };
                    write_line(out, &offered)?;
                    if offered.fixed {
                        break;
                    }
                }
                write_line(out, &OfferEnd { more })?;
            }
            Ask::Part { at, from, most } => {
                let opened = open_regular(&tree.at(&path_of(&at)));
                match opened.ok().and_then(|(mut file, _)| part(&mut file, from, most).ok()) {
                    Some(bytes) => {
                        write_line(out, &Part { bytes: Some(bytes.len() as u64) })?;
                        out.write_all(&bytes)?;
                    }
                    None => write_line(out, &Part { bytes: None })?,
                }
            }
        }
        out.flush()?;
    }
}

pub(super) fn part(file: &mut File, from: u64, most: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn write_line(out: &mut dyn Write, line: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(line)?;
    line.push(b'\n');
    out.write_all(&line)
}
