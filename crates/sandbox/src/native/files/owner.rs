//! Whose files are, and what overlays note of them, in archives: as root's sandboxes have it, whoever saved them. So what one
//! user has saved, another can restore, and so can root.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use crate::supervisor::snapshots::{HEAD, SNAPSHOTS};
use crate::supervisor::subordinate::ITSELF;
use crate::supervisor::{AGENT, CANONICAL_BASE, RANGE, SHELL_MARK, Standing};

/// Of overlays that root mounts.
const OF_ROOT: &str = "trusted.overlay.";
/// Of overlays that are mounted in a user namespace.
const OF_USERS: &str = "user.overlay.";

fn is_root() -> bool {
    Standing::towards_files() == Standing::Root
}

/// The owner of a file on disk as archives have it. With one id, an ordinary user's sandboxes know no other user than the tools'.
pub(super) fn in_archives(path: &Path, owner: u32) -> u32 {
    let is_of_the_session = || [HEAD, "calls", SHELL_MARK, SNAPSHOTS].iter().any(|part| path.starts_with(part));
    match Standing::towards_files() {
        Standing::Root => owner,
        Standing::One | Standing::Given if is_of_the_session() => 0,
        // The rest is in layers.
        Standing::One => CANONICAL_BASE + AGENT,
        Standing::Given if owner < RANGE => CANONICAL_BASE + owner,
        // Who mounts layers marks in them what was removed.
        Standing::Given => CANONICAL_BASE,
    }
}

/// The owner on disk of a file that archives say is this one's; none if whoever makes it is right.
pub(super) fn on_disk(owner: u32) -> Option<u32> {
    match Standing::towards_files() {
        Standing::Root => Some(owner),
        Standing::One => None,
        Standing::Given => owner.checked_sub(CANONICAL_BASE).filter(|inner| *inner < RANGE),
    }
}

/// Whose files layers may have on disk, as this process sees them.
pub(super) fn of_layers() -> std::ops::Range<u32> {
    match Standing::towards_files() {
        Standing::Root => CANONICAL_BASE..CANONICAL_BASE + RANGE,
        Standing::One => {
            let own = rustix::process::geteuid().as_raw();
            own..own + 1
        }
        Standing::Given => 0..ITSELF + 1,
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
