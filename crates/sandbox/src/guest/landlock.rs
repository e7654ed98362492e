//! The second fence: Landlock, with which a process gives up rights for good, whatever else goes wrong.
//!
//! Tools may read and run everything in their root, and write what is mounted to be written, but for `/proc`. Nobody may
//! mount. Neither the keeper nor the host's processes can be looked into or, where the kernel has that, signalled or reached
//! by sockets with abstract names. A kernel that lacks some of it gives the rest, and `tenure doctor` says which it is.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatVfsMountFlags, StatxFlags, openat, statx};

use crate::fences::Fence;

/// The latest versions whose rights are known here.
const FILES: ABI = ABI::V5;
const SCOPES: ABI = ABI::V6;

/// Directories of the root in which nothing may be written, whatever their mounts say.
const NEVER_WRITTEN: &[&str] = &["proc", "sys"];
/// Where the devices are.
const DEVICES: &str = "dev";

/// Which root a domain was made for: its rules know directories, not paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root(u64, u64);

impl Root {
    /// The present one.
    pub(crate) fn now() -> io::Result<Self> {
        let found = statx(CWD, "/", AtFlags::empty(), StatxFlags::INO | StatxFlags::MNT_ID)?;
        Ok(Self(found.stx_mnt_id, found.stx_ino))
    }
}

/// The version of the kernel's Landlock; 0 where it has none.
pub(crate) fn version() -> i32 {
    const VERSION: libc::c_ulong = 1;
    // SAFETY: asks for a number, with nothing to read or write.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, VERSION) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// From here on, this process and what comes from it write only what is mounted to be written, and keep signals and
/// connections to sockets with abstract names to themselves.
///
/// All of it is one set of rules: one that says nothing about files forbids every renaming and linking from one directory to
/// another, as did the first version.
pub(crate) fn confine() -> io::Result<()> {
    if version() < ABI::V2 as i32 {
        return Ok(());
    }
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let rules = match Fence::Scope.is_up() {
        true => rules.scope(Scope::from_all(SCOPES)).map_err(because)?,
        false => rules,
    };
    match Fence::Landlock.is_up() {
        true => about_files(rules)?.restrict_self().map(drop).map_err(because),
        false if Fence::Scope.is_up() => {
            rules.create().and_then(|rules| rules.restrict_self()).map(drop).map_err(because)
        }
        false => Ok(()),
    }
}

fn about_files(rules: Ruleset) -> io::Result<RulesetCreated> {
    let root = PathFd::new("/").map_err(io::Error::other)?;
    let mut rules = rules
        .handle_access(AccessFs::from_all(FILES))
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rule(PathBeneath::new(&root, AccessFs::from_read(FILES))))
        .map_err(because)?;
    for entry in std::fs::read_dir("/")? {
        let name = entry?.file_name();
        if let Some(access) = name.to_str().map(writing_in) {
            let Some(dir) = writable_directory(&name)? else { continue };
            rules = rules.add_rule(PathBeneath::new(dir, access)).map_err(because)?;
        }
    }
    Ok(rules)
}

/// What may be done in a directory of the root besides reading. Device nodes are made nowhere.
fn writing_in(name: &str) -> BitFlags<AccessFs> {
    let all = AccessFs::from_write(FILES) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    match name {
        DEVICES => all | AccessFs::IoctlDev,
        _ if NEVER_WRITTEN.contains(&name) => BitFlags::EMPTY,
        _ => all,
    }
}

/// A directory of the root, if it is one, and is mounted to be written.
fn writable_directory(name: &std::ffi::OsStr) -> io::Result<Option<std::os::fd::OwnedFd>> {
    if NEVER_WRITTEN.iter().any(|never| name == *never) {
        return Ok(None);
    }
    let path = std::path::Path::new("/").join(name);
    let dir = match openat(CWD, &path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(dir) => dir,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let is_directory = FileType::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode) == FileType::Directory;
    let is_read_only = rustix::fs::fstatvfs(&dir)?.f_flag.contains(StatVfsMountFlags::RDONLY);
    Ok((is_directory && !is_read_only).then_some(dir))
}

fn because(error: RulesetError) -> io::Error {
    io::Error::other(error)
}
