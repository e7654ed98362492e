//! Groups of other directories that nobody will remove: no supervisor has them, and the directory they are for is gone, or
//! they don't say which it is. A group whose directory is still there is removed by the next supervisor of that.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::cgroup::{Home, recorded_dir, remove, subdirectories};
use crate::dispatch::SUPERVISOR;

/// Those beside ours.
pub(crate) fn find(ours: &[Home]) -> Vec<PathBuf> {
    let around: HashSet<&Path> = ours.iter().filter_map(|home| home.parent.parent()).collect();
    let mut groups: Vec<PathBuf> = around.into_iter().flat_map(subdirectories).collect();
    groups.retain(|group| {
        is_group_name(group.file_name().unwrap_or_default()) && ours.iter().all(|home| home.parent != *group)
    });
    // Whose they are is known of an ordinary user's own alone; others it couldn't remove either.
    if !rustix::process::geteuid().is_root() {
        let own = rustix::process::geteuid().as_raw();
        groups.retain(|group| std::fs::metadata(group).is_ok_and(|found| found.uid() == own));
    }
    if groups.is_empty() {
        return groups;
    }
    // In this order: a supervisor is there before its groups are.
    keep_abandoned(groups, &running())
}

/// Removes those in which nothing lives; nothing is killed, since whose it is isn't known.
pub(crate) fn sweep(ours: &[Home]) {
    for group in find(ours) {
        subdirectories(&group).iter().for_each(|child| {
            remove(child);
        });
        remove(&group);
    }
}

fn keep_abandoned(mut groups: Vec<PathBuf>, running: &HashSet<OsString>) -> Vec<PathBuf> {
    groups.retain(|group| {
        let is_running = group.file_name().is_some_and(|name| running.contains(name));
        !is_running && recorded_dir(group).is_none_or(|dir| !dir.exists())
    });
    groups
}

fn is_group_name(name: &OsStr) -> bool {
    let hash = name.to_str().and_then(|name| name.strip_prefix("tenure-")).unwrap_or_default();
    hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The names of the groups of every supervisor that runs on this host, whatever its directory.
fn running() -> HashSet<OsString> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let names = commands.filter_map(|command| {
        let mut arguments = command.split(|byte| *byte == 0);
        let is_ours = arguments.next()? == SUPERVISOR.as_bytes();
        arguments.next().filter(|_| is_ours).map(|name| OsString::from_vec(name.to_owned()))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ffi::OsString;
    use std::path::Path;

    use super::{find, keep_abandoned, sweep};
    use crate::supervisor::{Cgroups, cgroup::recorded_dir};

    #[test]
    fn groups_of_vanished_directories_are_found_and_go_when_empty() {
        let hierarchy = tempfile::tempdir().expect("a directory");
        std::fs::write(hierarchy.path().join("cgroup.controllers"), "cpu memory pids").expect("as the kernel would");
        let mountinfo = format!("31 30 0:26 / {} rw - cgroup2 cgroup2 rw", hierarchy.path().display());
        let make = |name: &str, dir: &Path| {
            drop(Cgroups::prepare(Cgroups::find(&mountinfo, name), dir));
            let group = hierarchy.path().join(name);
            // Such a file isn't in the way of removing a real group.
            std::fs::remove_file(group.join("cgroup.subtree_control")).expect("it was written");
            group
        };
        let gone = make("tenure-0000000000000001", Path::new("/no/such/directory"));
        if recorded_dir(&gone).is_none() {
            // Only root may set such an attribute.
            return;
        }
        let kept = make("tenure-0000000000000002", hierarchy.path());
        let ours = make("tenure-0000000000000003", hierarchy.path());
        let nameless = hierarchy.path().join("tenure-0000000000000004");
        std::fs::create_dir_all(nameless.join("session")).expect("a directory");
        let other = hierarchy.path().join("tenure-of-another-kind");
        std::fs::create_dir(&other).expect("a directory");
        let homes = Cgroups::find(&mountinfo, "tenure-0000000000000003");
        let mut found = find(&homes);
        found.sort();
        assert_eq!(found, [gone.clone(), nameless.clone()]);
        let running = HashSet::from([OsString::from("tenure-0000000000000001")]);
        assert_eq!(keep_abandoned(found, &running), std::slice::from_ref(&nameless));
        sweep(&homes);
        assert_eq!([gone, nameless, kept, ours, other].map(|path| path.exists()), [false, false, true, true, true]);
    }
}
