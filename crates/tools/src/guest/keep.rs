//! Keeping an output that is too long for a model, in a file of the sandbox.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::answer::Answer;
use super::workspace::reason;

/// The name of the op.
pub(crate) const KEEP_OUTPUT: &str = "keep_output";

/// Where outputs are kept, below the workspace. It hides itself from version control and from searches.
pub(crate) const OUTPUTS: &str = ".tenure/outputs";

/// Writes what follows the first line of `input` to the file of that name. No symbolic link is followed on the way: whatever stands
/// there was put there by what runs in the sandbox.
pub(super) fn keep(workspace: &Path, input: &[u8]) -> Answer {
    let split = input.iter().position(|&byte| byte == b'\n');
    let named = split.and_then(|at| Some((std::str::from_utf8(&input[..at]).ok()?, &input[at + 1..])));
    let Some((name, bytes)) =
        named.filter(|(name, _)| !name.is_empty() && !name.contains('/') && !name.starts_with('.'))
    else {
        return Answer::Broken("the order names no file".to_owned());
    };
    match write(workspace, name, bytes) {
        Ok(()) => Answer::Done(String::new().into()),
        Err(error) => Answer::Refused(format!("{OUTPUTS}/{name}: {}", reason(&error))),
    }
}

fn write(workspace: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let directory = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let new = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    let readable = Mode::from_raw_mode(0o644);
    let mut place = open(workspace, directory, Mode::empty())?;
    for (depth, part) in OUTPUTS.split('/').enumerate() {
        match mkdirat(&place, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        place = openat(&place, part, directory, Mode::empty())?;
        let hides: &[&str] = if depth == 0 { &[".gitignore", ".ignore"] } else { &[] };
        for hidden in hides.iter().filter_map(|name| openat(&place, *name, new, readable).ok()) {
            let _ = File::from(hidden).write_all(b"*\n");
        }
    }
    let unfinished = format!(".{name}.new");
    // One that an earlier try left.
    let _ = unlinkat(&place, &unfinished, AtFlags::empty());
    let written = openat(&place, &unfinished, new, readable)
        .map_err(io::Error::from)
        .and_then(|file| File::from(file).write_all(bytes))
        .and_then(|()| Ok(renameat(&place, &unfinished, &place, name)?));
    if written.is_err() {
        let _ = unlinkat(&place, &unfinished, AtFlags::empty());
    }
    written
}
