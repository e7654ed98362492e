//! What there is of the things that limits limit: none can be more than that.

use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use tenure_core::amount::exact_bytes;

use crate::spec::Limits;
use crate::supervisor::{Home, whereabouts};

/// The most that limits may be on this machine, for sandboxes of this directory; `None` where that can't be told. A control group
/// around those of sandboxes counts as the machine.
pub(crate) fn most(dir: &Path) -> Limits {
    let groups = above(&whereabouts::of(dir));
    let least = |own: Option<u64>, of: fn(&Path) -> Option<u64>| {
        own.into_iter().chain(groups.iter().filter_map(|group| of(group))).min()
    };
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let room = existing(dir).and_then(|dir| rustix::fs::statvfs(dir).ok());
    let room = room.as_ref();
    let kernel = |name: &str| number(Path::new("/proc/sys"), name);
    let tasks = [kernel("kernel/pid_max"), kernel("kernel/threads-max")].into_iter().flatten().min();
    let files = [getrlimit(Resource::Nofile).maximum, kernel("fs/nr_open")].into_iter().flatten().min();
    Limits {
        memory_bytes: least(memory(), memory_of),
        cpu_millis: least(processors().map(|count| count * 1_000), processors_of).map(small),
        pids: least(tasks, |group| number(group, "pids.max")).map(small),
        disk_bytes: room.map(|room| room.f_blocks.saturating_mul(room.f_frsize)),
        // btrfs makes them as they are needed, and says 0.
        inodes: room.map(|room| room.f_files).filter(|files| *files > 0),
        open_files: files.map(small),
    }
}

impl Limits {
    /// The name of the first limit that is more than there is on a machine, and what is wrong with it.
    pub fn beyond(self, most: Self) -> Option<(&'static str, String)> {
        let small = |number: Option<u32>| number.map(u64::from);
        let compared = [
            ("memory_bytes", self.memory_bytes, most.memory_bytes, "the memory that this machine has for sandboxes"),
            (
                "cpu_millis",
                small(self.cpu_millis),
                small(most.cpu_millis),
                "the processors that this machine has for sandboxes",
            ),
            ("pids", small(self.pids), small(most.pids), "the processes that this machine can have"),
            ("disk_bytes", self.disk_bytes, most.disk_bytes, "the size of the file system that sandboxes are on"),
            ("inodes", self.inodes, most.inodes, "the files that the file system of sandboxes can have"),
            (
                "open_files",
                small(self.open_files),
                small(most.open_files),
                "the files that a process can have open on this machine",
            ),
        ];
        compared.into_iter().find_map(|(field, wanted, most, what)| {
            let (wanted, most) = (wanted?, most?);
            let said = |number: u64| match field.ends_with("_bytes") {
                true => exact_bytes(number),
                false => number.to_string(),
            };
            (wanted > most).then(|| (field, format!("expected at most {}, {what}, got {}", said(most), said(wanted))))
        })
    }
}

/// The groups around our own, those of whole hierarchies too.
fn above(homes: &[Home]) -> Vec<PathBuf> {
    let around = |home: &Home| -> Vec<PathBuf> {
        let ancestors = home.parent.ancestors().skip(1);
        ancestors.take_while(|group| group.join("cgroup.procs").exists()).map(Path::to_path_buf).collect()
    };
    homes.iter().flat_map(around).collect()
}

fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB")?.trim().parse().ok());
    total.map(|kibibytes: u64| kibibytes * 1024)
}

fn memory_of(group: &Path) -> Option<u64> {
    number(group, "memory.max").or_else(|| number(group, "memory.limit_in_bytes"))
}

/// Those that this process, and so a sandbox, may run on.
fn processors() -> Option<u64> {
    rustix::thread::sched_getaffinity(None).ok().map(|set| u64::from(set.count()))
}

fn processors_of(group: &Path) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let (quota, period) = match read("cpu.max") {
        Some(text) => {
            let mut words = text.split_whitespace().map(str::parse::<u64>);
            (words.next()?.ok()?, words.next()?.ok()?)
        }
        // Unlimited is -1, which is no such number.
        None => (number(group, "cpu.cfs_quota_us")?, number(group, "cpu.cfs_period_us")?),
    };
    quota.checked_mul(1_000)?.checked_div(period)
}

fn number(dir: &Path, name: &str) -> Option<u64> {
    std::fs::read_to_string(dir.join(name)).ok()?.trim().parse().ok()
}

/// The directory, or the first above it that is there.
fn existing(dir: &Path) -> Option<&Path> {
    dir.ancestors().find(|dir| dir.exists())
}

#[cfg(test)]
mod tests {
    use super::{above, memory_of, most, processors_of};
    use crate::Limits;
    use crate::supervisor::Cgroups;

    #[test]
    fn a_machine_has_some_of_everything() {
        let dir = tempfile::tempdir().expect("a directory");
        let found = most(&dir.path().join("not/made/yet"));
        let Limits { memory_bytes, cpu_millis, pids, disk_bytes, inodes: _, open_files } = found;
        assert!(memory_bytes > Some(1 << 20) && cpu_millis >= Some(10), "{found:?}");
        assert!(pids > Some(8) && disk_bytes > Some(1 << 20) && open_files > Some(8), "{found:?}");
        assert_eq!(found.beyond(found), None);
        assert_eq!(Limits::default().beyond(found), None);
        assert_eq!(Limits { memory_bytes: Some(u64::MAX), ..found }.beyond(Limits::default()), None, "unknown");
    }

    #[test]
    fn each_limit_is_compared_with_its_own() {
        let most = Limits {
            memory_bytes: Some(1),
            cpu_millis: Some(2),
            pids: Some(3),
            disk_bytes: Some(4),
            inodes: Some(5),
            open_files: Some(6),
        };
        let beyond = [
            Limits { memory_bytes: Some(2), ..most },
            Limits { cpu_millis: Some(3), ..most },
            Limits { pids: Some(4), ..most },
            Limits { disk_bytes: Some(5), ..most },
            Limits { inodes: Some(6), ..most },
            Limits { open_files: Some(7), ..most },
        ];
        let told: Vec<String> = beyond
            .into_iter()
            .map(|limits| limits.beyond(most).map(|(field, why)| format!("{field}: {why}")).unwrap_or_default())
            .collect();
        let units = [" bytes", "", "", " bytes", "", ""];
        for (at, (told, field)) in
            told.iter().zip(["memory_bytes", "cpu_millis", "pids", "disk_bytes", "inodes", "open_files"]).enumerate()
        {
            assert!(told.starts_with(&format!("{field}: expected at most {}{}, the ", at + 1, units[at])), "{told}");
            assert!(told.ends_with(&format!(", got {}{}", at + 2, units[at])), "{told}");
        }
        let huge =
            Limits { memory_bytes: Some(2 << 30), ..most }.beyond(Limits { memory_bytes: Some(1 << 30), ..most });
        let told = huge.map(|(_, why)| why).unwrap_or_default();
        assert!(
            told.ends_with(", got 2147483648 bytes (2 GiB)") && told.contains("1073741824 bytes (1 GiB)"),
            "{told}"
        );
    }

    #[test]
    fn groups_around_those_of_sandboxes_count() {
        let root = tempfile::tempdir().expect("a directory");
        let at = root.path().join("outer/inner");
        std::fs::create_dir_all(&at).expect("made");
        let write = |name: &str, text: &str| std::fs::write(root.path().join(name), text).expect("written");
        for (name, text) in [
            ("outer/cgroup.procs", ""),
            ("outer/inner/cgroup.procs", ""),
            ("outer/inner/cgroup.controllers", "cpu memory pids"),
            ("outer/memory.max", "1048576\n"),
            ("outer/inner/memory.max", "max\n"),
            ("outer/cpu.max", "150000 100000\n"),
            ("outer/inner/cpu.max", "max 100000\n"),
        ] {
            write(name, text);
        }
        let mountinfo = format!("31 30 0:26 / {} rw - cgroup2 cgroup2 rw", at.display());
        let groups = above(&Cgroups::find(&mountinfo, "tenure-x"));
        assert_eq!(groups, [at.clone(), root.path().join("outer")]);
        assert_eq!((memory_of(&groups[0]), memory_of(&groups[1])), (None, Some(1 << 20)));
        assert_eq!((processors_of(&groups[0]), processors_of(&groups[1])), (None, Some(1_500)));
        for (name, text) in [("cpu.cfs_quota_us", "-1\n"), ("cpu.cfs_period_us", "100000\n")] {
            write(name, text);
        }
        assert_eq!(processors_of(root.path()), None);
        write("cpu.cfs_quota_us", "50000\n");
        assert_eq!(processors_of(root.path()), Some(500));
    }
}
