use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{fgetxattr, flistxattr};
use rustix::io::Errno;

use crate::supervisor::Standing;

/// The extended attributes by which an overlay notes what it knows of a layer's directories. Only those of its own kind mean
/// anything to it: those of the other are whatever somebody inside has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// Of overlays that root mounts.
    Trusted,
    /// Of overlays with `userxattr`, which anyone can mount in a user namespace.
    User,
}

/// What a directory says of the layers below its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// They show through, in a directory of the same name.
    Nothing,
    /// None of them shows through.
    Opaque,
    /// They show through in the directory of this name beside it, or at this path from the root if it begins with a slash.
    Redirect(Vec<u8>),
}

/// The longest path that a redirect may have.
const LONGEST: usize = 4_096;

impl Marks {
    /// The marks that overlays mounted by this process leave.
    pub(crate) fn of_this_process() -> Self {
        match Standing::ours() {
            Standing::Root => Self::Trusted,
            Standing::One | Standing::Given => Self::User,
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }

    pub(super) fn opaque(self) -> String {
        format!("{}opaque", self.prefix())
    }

    pub(super) fn redirect(self) -> String {
        format!("{}redirect", self.prefix())
    }

    /// That something was copied into a layer from one below. Empty, it doesn't say from where.
    pub(super) fn origin(self) -> String {
        format!("{}origin", self.prefix())
    }

    /// Reads what a directory of a layer says.
    pub(super) fn read(self, dir: &OwnedFd) -> io::Result<Said> {
        match value(dir, &self.opaque())?.as_deref() {
            None => {}
            Some(b"y") => return Ok(Said::Opaque),
            // Such whiteouts are made for overlays on overlays, of which we have none.
            Some(b"x") => return Err(io::Error::other("a directory has whiteouts of another kind than device nodes")),
            Some(_) => {}
        }
        match value(dir, &self.redirect())? {
            None => Ok(Said::Nothing),
            Some(redirect) if is_sound(&redirect) => Ok(Said::Redirect(redirect)),
            Some(_) => Err(io::Error::other("a directory's redirect is malformed")),
        }
    }

    /// The attributes of a directory that aren't marks.
    pub(super) fn others(self, dir: &OwnedFd) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut names = Vec::with_capacity(65_536);
        match flistxattr(dir, spare_capacity(&mut names)) {
            Ok(_) => {}
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let mut others = Vec::new();
        for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let name =
                String::from_utf8(name.to_vec()).map_err(|_| io::Error::other("an attribute's name isn't text"))?;
            if let Some(value) = value(dir, &name)?.filter(|_| !self.is_mark(&name)) {
                others.push((name, value));
            }
        }
        Ok(others)
    }

    /// An attribute of an overlay's own names that somebody inside has set is kept under a longer one.
    fn is_mark(self, name: &str) -> bool {
        name.strip_prefix(self.prefix()).is_some_and(|rest| !rest.starts_with("overlay.") && rest != "protattr")
    }
}

fn value(dir: &OwnedFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(65_536);
    match fgetxattr(dir, name, spare_capacity(&mut value)) {
        Ok(_) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As the kernel has it: an absolute path without empty parts, or a single name.
fn is_sound(redirect: &[u8]) -> bool {
    let is_name = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
    let parts = match redirect.strip_prefix(b"/") {
        Some(path) => path,
        None if redirect.contains(&b'/') => return false,
        None => redirect,
    };
    redirect.len() <= LONGEST && parts.split(|byte| *byte == b'/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::{Marks, is_sound};

    #[test]
    fn only_redirects_that_the_kernel_would_follow_are_sound() {
        for sound in ["a", "a b", "/a", "/a/b", "...", "/a/..."] {
            assert!(is_sound(sound.as_bytes()), "{sound}");
        }
        for unsound in ["", "/", "a/b", "//a", "/a/", "/a//b", ".", "..", "/a/../b", "/./a", "a\0"] {
            assert!(!is_sound(unsound.as_bytes()), "{unsound:?}");
        }
        assert!(!is_sound("a/".repeat(3_000).as_bytes()));
    }

    #[test]
    fn a_mark_is_of_one_kind_and_not_what_somebody_inside_has_set() {
        assert!(Marks::Trusted.is_mark("trusted.overlay.origin"));
        assert!(Marks::User.is_mark("user.overlay.opaque"));
        for other in ["user.overlay.opaque", "trusted.overlay.overlay.opaque", "trusted.overlay.protattr", "user.note"]
        {
            assert!(!Marks::Trusted.is_mark(other), "{other}");
        }
        assert!(!Marks::User.is_mark("user.overlay.overlay.opaque"));
    }
}
