use std::path::Path;
use std::sync::OnceLock;

use super::skeleton::AGENT;
use super::subordinate::ITSELF;
use super::{CANONICAL_BASE, Failure, RANGE};

/// As whom a supervisor works. It decides whom the files of sandboxes belong to on disk, and how they can be mounted.
///
/// Like its user, this is a property of a process and of all that it forks, so nobody passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Root of the host. Each sandbox has its own range of uids; on disk there is one, and mounts shift between the two.
    Root,
    /// An ordinary user, in a user namespace of its own in which it is called what tools are, and nobody else is there.
    /// Everything is that user's: keepers, tools and files.
    One,
    /// An ordinary user, in a user namespace of its own that has the ids it was given besides its own. They are the users of
    /// all its sandboxes, and files belong to them on disk as they do inside.
    Given,
}

impl Standing {
    /// That of this process.
    pub(crate) fn ours() -> Self {
        static OURS: OnceLock<Standing> = OnceLock::new();
        *OURS.get_or_init(|| Self::of(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()))
    }

    /// That of a process that only looks at files of sandboxes, and may be outside of any namespace.
    pub(crate) fn towards_files() -> Self {
        match Self::ours() {
            Self::Given => Self::Given,
            Self::Root if rustix::process::geteuid().is_root() => Self::Root,
            Self::Root | Self::One => Self::One,
        }
    }

    /// From the text of `/proc/self/uid_map`: see [`own_namespace`](super::own_namespace), which makes the others.
    fn of(uid_map: &str) -> Self {
        let numbers: Vec<u32> = uid_map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [AGENT, _, 1] => Self::One,
            [0, _, RANGE, ITSELF, _, 1] => Self::Given,
            _ => Self::Root,
        }
    }

    /// Whose a file on disk is, as this process sees it, that is this user's or group's inside.
    pub(crate) fn on_disk(self, inner: u32) -> u32 {
        match self {
            Self::Root => CANONICAL_BASE + inner,
            Self::One => AGENT,
            Self::Given => inner,
        }
    }

    /// As whom overlays are mounted, who has to reach the layers.
    pub(crate) fn mounts_as(self) -> u32 {
        match self {
            Self::Root => CANONICAL_BASE,
            Self::One => AGENT,
            Self::Given => ITSELF,
        }
    }

    /// What a sandbox's namespace maps, of users and groups alike; only root's sandboxes have ranges of their own.
    pub(crate) fn map(self, first_uid: u32) -> String {
        match self {
            Self::Root => format!("0 {first_uid} {RANGE}"),
            Self::One => format!("{AGENT} {AGENT} 1"),
            Self::Given => format!("0 0 {RANGE}"),
        }
    }

    /// The same for a builder, which is root of its namespace everywhere: with one id that is the same user, by another number.
    pub(crate) fn builders_map(self, first_uid: u32) -> String {
        match self {
            Self::Root | Self::Given => self.map(first_uid),
            Self::One => format!("0 {AGENT} 1"),
        }
    }

    /// Who a keeper is inside. With one id there is no other than the tools'.
    pub(crate) fn keeper(self) -> u32 {
        match self {
            Self::Root | Self::Given => 0,
            Self::One => AGENT,
        }
    }

    /// Whether mounts can shift owners, which takes rights over the file system below them.
    pub(crate) fn shifts_owners(self) -> bool {
        match self {
            Self::Root => true,
            Self::One | Self::Given => false,
        }
    }

    /// Whether sandboxes have several users, none of them their maker, and can let go of groups that it is in.
    pub(crate) fn has_own_users(self) -> bool {
        match self {
            Self::Root | Self::Given => true,
            Self::One => false,
        }
    }

    /// How many processes of the tools' user aren't tools, where the kernel counts those of each sandbox by itself.
    pub(crate) fn counted_beside_tools(self) -> Option<u64> {
        match self {
            Self::Root => None,
            // The keeper is one of them.
            Self::One => Some(1),
            Self::Given => Some(0),
        }
    }

    /// What is particular to overlays mounted from here. In a user namespace an overlay can't have its notes in attributes
    /// that are root's alone, and then the kernel follows no renamed directories either.
    pub(crate) fn overlay_option(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Root => ("redirect_dir", Some("on")),
            Self::One | Self::Given => ("userxattr", None),
        }
    }

    /// Refuses a directory whose files were made from another standing: their owners would be strangers.
    pub(crate) fn check_owner(self, dir: &Path) -> Result<(), Failure> {
        use std::os::unix::fs::MetadataExt;
        // Where there is none yet, it will be ours.
        let Ok(found) = std::fs::metadata(dir.join("sessions")) else { return Ok(()) };
        let ours = match self {
            Self::Root => 0,
            Self::One => AGENT,
            Self::Given => ITSELF,
        };
        if found.uid() == ours {
            return Ok(());
        }
        let owner = match self {
            Self::Root => format!("user {}", found.uid()),
            Self::One | Self::Given => "another user".to_owned(),
        };
        Err(Failure::Refused {
            cause: format!("the sandboxes' files in {} belong to {owner}, and so do their layers", dir.display()),
            fix: "run Tenure as that user, or restore a backup of theirs into a directory of your own".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Standing;

    #[test]
    fn a_standing_shows_in_the_map_of_users() {
        assert_eq!(Standing::of("         0          0 4294967295\n"), Standing::Root);
        assert_eq!(Standing::of("      1000       1234          1\n"), Standing::One);
    }

    #[test]
    fn ids_that_were_given_keep_their_numbers() {
        let map = "         0     100000      65536\n     65536       1234          1\n";
        assert_eq!(Standing::of(map), Standing::Given);
        // As in containers that an ordinary user runs.
        let container = "         0       1234          1\n         1     100000      65536\n";
        assert_eq!(Standing::of(container), Standing::Root);
        assert_eq!((Standing::Given.map(7), Standing::Given.on_disk(1000)), ("0 0 65536".to_owned(), 1000));
    }

    #[test]
    fn a_sandbox_maps_its_agent_to_who_owns_its_files() {
        assert_eq!((Standing::One.map(7), Standing::One.on_disk(0)), ("1000 1000 1".to_owned(), 1000));
        assert_eq!((Standing::Root.map(7), Standing::Root.on_disk(1000)), ("0 7 65536".to_owned(), 101_000));
    }

    #[test]
    fn a_builder_is_root_whoever_that_is() {
        assert_eq!(Standing::One.builders_map(7), "0 1000 1");
        assert_eq!(
            (Standing::Root.builders_map(7), Standing::Given.builders_map(7)),
            (Standing::Root.map(7), Standing::Given.map(7))
        );
    }
}
