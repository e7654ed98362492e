//! Where an ordinary user may make cgroups: in those that were handed over to it, if it was started in one.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The groups in which this process may make others, the nearest first, of a hierarchy that is mounted at a place from this path of
/// its own on. `of_processes` is the text of `/proc/self/cgroup`.
pub(super) fn places(at: &Path, mounted: &str, controllers: &str, unified: bool, of_processes: &str) -> Vec<PathBuf> {
    let Some(own) = own_group(controllers, unified, of_processes) else { return Vec::new() };
    let Ok(below) = own.strip_prefix(mounted) else { return Vec::new() };
    let groups = below.ancestors().map(|group| at.join(group));
    // Never the whole hierarchy, whose groups are the host's.
    groups.filter(|group| group != at).take_while(|group| is_handed_over(group)).collect()
}

/// The path of this process's group in a hierarchy.
pub(super) fn own_group<'a>(controllers: &str, unified: bool, of_processes: &'a str) -> Option<&'a Path> {
    of_processes.lines().find_map(|line| {
        let (number, rest) = line.split_once(':')?;
        let (names, path) = rest.split_once(':')?;
        let is_it = match unified {
            true => number == "0" && names.is_empty(),
            false => !names.is_empty() && names.split(',').all(|name| controllers.split(',').any(|word| word == name)),
        };
        // One outside of what this process may see begins with `/..`.
        (is_it && !path.starts_with("/..")).then(|| Path::new(path))
    })
}

/// Both its directory and the file by which processes enter have to be.
fn is_handed_over(group: &Path) -> bool {
    let may = |path: &Path| access(path, Access::WRITE_OK).is_ok();
    may(group) && may(&group.join("cgroup.procs"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{own_group, places};

    const OF_PROCESSES: &str =
        "12:cpu,cpuacct:/user.slice\n9:name=systemd:/user.slice\n4:memory:/a/b\n3:pids:/../x\n0::/a/unified\n";

    #[test]
    fn a_process_is_in_one_group_of_each_hierarchy() {
        let own = |controllers, unified| own_group(controllers, unified, OF_PROCESSES);
        assert_eq!(own("rw,memory", false), Some(Path::new("/a/b")));
        assert_eq!(own("rw,cpu,cpuacct", false), Some(Path::new("/user.slice")));
        assert_eq!(own("rw", true), Some(Path::new("/a/unified")));
        assert_eq!((own("rw,pids", false), own("rw,cpuset", false)), (None, None));
    }

    #[test]
    fn groups_that_were_handed_over_are_found_from_the_nearest_on() {
        let root = tempfile::tempdir().expect("a directory");
        for group in ["", "a", "a/unified"] {
            let group = root.path().join(group);
            std::fs::create_dir_all(&group).expect("made");
            std::fs::write(group.join("cgroup.procs"), "").expect("made");
        }
        let found = places(root.path(), "/", "rw", true, OF_PROCESSES);
        assert_eq!(found, [root.path().join("a/unified"), root.path().join("a")]);
        assert_eq!(places(root.path(), "/a", "rw", true, OF_PROCESSES), [] as [std::path::PathBuf; 0]);
        std::fs::remove_file(root.path().join("a/cgroup.procs")).expect("removed");
        assert_eq!(places(root.path(), "/", "rw", true, OF_PROCESSES), [root.path().join("a/unified")]);
    }
}
