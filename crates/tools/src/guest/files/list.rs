//! Pages of directories. The order is that of names, a directory's entries right after it, so that a page can begin where the
//! last one ended, whatever has changed since.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::place::{entry, resolve};
use super::{refused, say, wrong};
use crate::files::{Entry, Name, Told, Why};

/// The most names of one directory.
const MOST_NAMES: usize = 1_000_000;
/// How deep a page goes.
const DEEPEST: usize = 128;
/// The most bytes of a page.
const MOST_PAGE_BYTES: usize = 4 << 20;

pub(super) fn list(
    workspace: &Path,
    at: &Name,
    recursive: bool,
    after: Option<&Name>,
    limit: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let root = match resolve(workspace, at) {
        Ok(root) => root,
        Err(refused) => return say(out, Err(refused)),
    };
    let after: Vec<OsString> = match after.map(Name::bytes) {
        None => Vec::new(),
        Some(None) => {
            return say(out, Err(wrong(Why::Invalid, "the place to go on from isn't escaped as it should be")));
        }
        Some(Some(after)) => {
            let after = PathBuf::from(OsStr::from_bytes(&after));
            let within = after.strip_prefix(&root).unwrap_or(&after);
            within.iter().map(OsStr::to_owned).collect()
        }
    };
    let names = match names(&root) {
        Ok(names) => names,
        Err(error) => return say(out, Err(refused(&root, &error))),
    };
    say(out, Ok(Told::Entries))?;
    let mut page = Page { out, left: limit, bytes_left: MOST_PAGE_BYTES, more: false };
    page.show(&root, names, recursive, &after, 0)?;
    let more = page.more;
    out.write_all(format!("{{\"more\":{more}}}\n").as_bytes())
}

struct Page<'o> {
    out: &'o mut dyn Write,
    left: usize,
    bytes_left: usize,
    more: bool,
}

impl Page<'_> {
    /// Shows the names of a directory that come after the first of `after`; says whether there is room for more.
    fn show(
        &mut self,
        directory: &Path,
        names: Vec<OsString>,
        recursive: bool,
        after: &[OsString],
        depth: usize,
    ) -> io::Result<bool> {
        let first = after.first();
        for name in names {
            let seen = first.map(|first| name.as_bytes().cmp(first.as_bytes()));
            if seen.is_some_and(std::cmp::Ordering::is_lt) {
                continue;
            }
            let path = directory.join(&name);
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let is_last_shown = seen.is_some_and(std::cmp::Ordering::is_eq);
            if !is_last_shown && !self.entry(&entry(&path, &metadata))? {
                return Ok(false);
            }
            if recursive && metadata.is_dir() && depth < DEEPEST {
                let below = if is_last_shown { after.get(1..).unwrap_or_default() } else { &[] };
                // One that can't be read is shown as such a directory would be if it were empty.
                let names = self::names(&path).unwrap_or_default();
                if !self.show(&path, names, recursive, below, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn entry(&mut self, entry: &Entry) -> io::Result<bool> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if self.left == 0 || self.bytes_left < line.len() {
            self.more = true;
            return Ok(false);
        }
        self.left -= 1;
        self.bytes_left -= line.len();
        self.out.write_all(&line)?;
        Ok(true)
    }
}

pub(super) fn names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name());
        if names.len() > MOST_NAMES {
            return Err(io::Error::other(format!("there are more than {MOST_NAMES} names in it")));
        }
    }
    names.sort_unstable();
    Ok(names)
}
