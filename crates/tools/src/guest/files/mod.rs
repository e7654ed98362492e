//! The op that works on a session's files for people and programs: see [`crate::files`].
//!
//! It runs as the sandbox's user in a process of its own, so it can do no more than what runs there could do by itself, and
//! whoever swaps files and links under it only misleads it to another place of the same sandbox.

mod change;
mod compare;
mod list;
mod offer;
mod pack;
mod patch;
mod place;
mod read;
mod tree;
mod unpack;
mod write;

pub use unpack::unpack_here;

use std::io::{self, Read, Write};
use std::path::Path;

use crate::files::{BodyReader, Outcome, Refused, Request, Why};

/// Does what `input` asks for, with `workspace` in the place of [`WORKSPACE`](super::WORKSPACE); gives the exit code, 0 if all
/// was said that was to be said.
///
/// `body` is what comes while it runs.
pub fn perform_files(workspace: &Path, input: &[u8], body: &mut dyn Read, out: &mut dyn Write) -> i32 {
    let Ok(request) = serde_json::from_slice::<Request>(input) else { return 70 };
    let done = match request {
        Request::Offer { at } => offer::offer(workspace, &at, body, out),
        Request::Compare { at, after, limit, detail } => {
            compare::compare(workspace, &at, after.as_ref(), limit, detail, body, out)
        }
        Request::List { at, recursive, after, limit } => {
            list::list(workspace, &at, recursive, after.as_ref(), limit, out)
        }
        Request::Read { at, span } => read::read(workspace, &at, span, out),
        Request::Write { at, parents, mode } => {
            say(out, write::write(workspace, &at, parents, mode, BodyReader::new(body)))
        }
        Request::Pack { at, format } => pack::pack(workspace, &at, format, out),
        Request::Unpack { at, parents } => say(out, unpack::unpack(workspace, &at, parents, BodyReader::new(body))),
        Request::Remove { at, recursive } => say(out, change::remove(workspace, &at, recursive)),
        Request::Move { from, to, replace, parents } => {
            say(out, change::rename(workspace, &from, &to, replace, parents))
        }
    };
    match done.and_then(|()| out.flush()) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Says how it went.
fn say(out: &mut dyn Write, outcome: Outcome) -> io::Result<()> {
    let mut line = serde_json::to_vec(&outcome)?;
    line.push(b'\n');
    out.write_all(&line)
}

/// A failure in words, with the path it is about.
fn refused(path: &Path, error: &io::Error) -> Refused {
    let why = match error.kind() {
        io::ErrorKind::NotFound => Why::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Why::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Why::NoSpace,
        io::ErrorKind::AlreadyExists
        | io::ErrorKind::DirectoryNotEmpty
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::CrossesDevices
        | io::ErrorKind::ResourceBusy => Why::Conflict,
        _ => Why::Invalid,
    };
    Refused { why, message: format!("{}: {}", path.display(), super::reason(error)) }
}

/// The same for what can't be made. The file system of `/proc` takes nothing new, and says so as if the directory weren't there.
fn not_made(path: &Path, error: &io::Error) -> Refused {
    let nearest = path.ancestors().skip(1).find(|above| above.exists());
    match nearest.and_then(|above| Some((above, rustix::fs::statfs(above).ok()?))) {
        Some((above, kind)) if kind.f_type == rustix::fs::PROC_SUPER_MAGIC => {
            let message =
                format!("{}: no file can be made in {}, which is the kernel's", path.display(), above.display());
            Refused { why: Why::Denied, message }
        }
        Some(_) | None => refused(path, error),
    }
}

/// The same for a message of our own.
fn wrong(why: Why, message: impl Into<String>) -> Refused {
    Refused { why, message: message.into() }
}
