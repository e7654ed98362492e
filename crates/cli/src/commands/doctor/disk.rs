//! The file system of the data directory.

use tenure_sandbox::{Check, Outcome};

use crate::local::DataDir;

/// Magic numbers of statfs(2).
const KNOWN: &[(u64, &str, Option<&str>)] = &[
    (0xEF53, "ext4", None),
    (0x5846_5342, "xfs", None),
    (0x9123_683E, "btrfs", None),
    (0x0102_1994, "tmpfs", Some("it keeps its files in memory: a restart of the machine loses every session")),
    (0x794C_7630, "overlayfs", Some("a sandbox's files can't lie on another overlay, such as a container's root")),
    (0x6969, "NFS", Some("neither SQLite's locks nor a sandbox's files are safe on a network file system")),
    (0xFF53_4D42, "CIFS", Some("neither SQLite's locks nor a sandbox's files are safe on a network file system")),
    (0xFE53_4D42, "SMB", Some("neither SQLite's locks nor a sandbox's files are safe on a network file system")),
    (0x6573_5546, "FUSE", Some("a sandbox's files need a file system of the kernel's own")),
];

/// Whether it can carry what is to lie on it.
pub(super) fn check(dir: &DataDir) -> Check {
    let name = format!("the file system of {} can carry sandboxes", dir.path().display());
    let fix = "choose a --data-dir on ext4, xfs or btrfs; in a container, a volume".to_owned();
    let magic = match rustix::fs::statfs(dir.path()) {
        Ok(found) => u64::from(found.f_type as u32),
        Err(error) => return Check { name, outcome: Outcome::Fail, cause: error.to_string(), fix },
    };
    match KNOWN.iter().find(|(known, ..)| *known == magic) {
        Some((_, kind, None)) => Check { name, outcome: Outcome::Pass, cause: (*kind).to_owned(), fix: String::new() },
        // It works, for what is meant to be forgotten.
        Some((0x0102_1994, kind, Some(problem))) => {
            Check { name, outcome: Outcome::Absent, cause: format!("{kind}: {problem}"), fix }
        }
        Some((_, kind, Some(problem))) => {
            Check { name, outcome: Outcome::Fail, cause: format!("{kind}: {problem}"), fix }
        }
        None => Check {
            name,
            outcome: Outcome::Absent,
            cause: format!("its kind ({magic:#x}) isn't known; the next checks try it"),
            fix: String::new(),
        },
    }
}
