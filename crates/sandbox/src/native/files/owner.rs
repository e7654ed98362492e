//! Whose files are, and what overlays note of them, in archives: as root's sandboxes have it, whoever saved them. So what one
//! user has saved, another can restore, and so can root.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::supervisor::snapshots::{HEAD, SNAPSHOTS};
use crate::supervisor::{AGENT, CANONICAL_BASE, SHELL_MARK};

/// Of overlays that root mounts.
const OF_ROOT: &str = "trusted.overlay.";
/// Of overlays that are mounted in a user namespace.
const OF_USERS: &str = "user.overlay.";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The owner of a file on disk as archives have it. An ordinary user's sandboxes know no other user than the tools'.
pub(super) fn in_archives(path: &Path, owner: u32) -> u32 {
    let is_of_the_session = || [HEAD, "calls", SHELL_MARK, SNAPSHOTS].iter().any(|part| path.starts_with(part));
    match is_root() {
        true => owner,
        false if is_of_the_session() => 0,
        // The rest is in layers.
        false => CANONICAL_BASE + AGENT,
    }
}

/// The name of an attribute on disk as archives have it.
pub(super) fn mark_in_archives(name: String) -> String {
    match name.strip_prefix(OF_USERS) {
        Some(mark) if !is_root() => format!("{OF_ROOT}{mark}"),
        Some(_) | None => name,
    }
}

/// The name on disk of an attribute in an archive; none if it means nothing here.
pub(super) fn mark_on_disk(name: &str, is_link: bool) -> io::Result<Option<Cow<'_, str>>> {
    if is_root() {
        return Ok(Some(Cow::Borrowed(name)));
    }
    match name.strip_prefix(OF_ROOT) {
        Some("redirect") => Err(io::Error::other(
            "a directory was renamed over what lies below it, which only root's sandboxes can show: restore it as root",
        )),
        // It only says where something was copied from; links can have none from ordinary users.
        Some("origin") => Ok(None),
        Some(_) if is_link => Ok(None),
        Some(mark) => Ok(Some(Cow::Owned(format!("{OF_USERS}{mark}")))),
        // To root's overlays it said nothing; to others it would.
        None if name.starts_with(OF_USERS) => Ok(None),
        None => Ok(Some(Cow::Borrowed(name))),
    }
}
