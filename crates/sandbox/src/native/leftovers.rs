use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use tenure_core::id::SessionId;

use super::cgroup_name;
use crate::dispatch::SUPERVISOR;
use crate::supervisor::{Cgroups, recorded_dir, subdirectories};
use crate::{Error, Leftover};

/// What is on the host, is ours, and belongs neither to a known session nor to the running supervisor.
pub(crate) fn find(
    dir: &Path,
    supervisor: Option<u32>,
    alive: &[SessionId],
    known: &[SessionId],
) -> Result<Vec<Leftover>, Error> {
    let mut found = Vec::new();
    let is_known = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        known.iter().any(|session| session.to_string() == name)
    };
    let directories = subdirectories(&dir.join("sessions"));
    let trash = subdirectories(&dir.join("trash"));
    found.extend(directories.into_iter().filter(|path| !is_known(path)).chain(trash).map(Leftover::Directory));

    let mountinfo =
        std::fs::read_to_string("/proc/self/mountinfo").map_err(Error::failed("reading the list of mounts"))?;
    let running = running_groups();
    for home in Cgroups::find(&mountinfo, &cgroup_name(dir)) {
        // Where no supervisor runs, no session has a sandbox, and so no group.
        let groups = subdirectories(&home.parent).into_iter().filter(|path| supervisor.is_none() || !is_known(path));
        let ours = (supervisor.is_none() && home.parent.exists()).then(|| home.parent.clone());
        found.extend(groups.chain(ours).chain(abandoned(&home.parent, &running)).map(Leftover::Cgroup));
    }
    found.extend(mounts_under(&mountinfo, dir).map(Leftover::Mount));

    let unknown_alive = alive.iter().any(|session| !known.contains(session));
    for process in Family::scan(dir) {
        let is_supervisor = supervisor.is_some_and(|pid| i64::from(process.pid) == i64::from(pid));
        let is_below = supervisor.is_some() && !unknown_alive;
        if !is_supervisor && !is_below {
            found.push(Leftover::Process { pid: process.pid, command: process.role });
        }
    }
    Ok(found)
}

/// The groups beside ours that nobody will remove: no supervisor has them, and the directory they are for is gone, or they
/// don't say which it is. Others are removed by the next supervisor of their directory.
fn abandoned(ours: &Path, running: &HashSet<OsString>) -> Vec<PathBuf> {
    let Some(hierarchy) = ours.parent() else { return Vec::new() };
    let mut groups = subdirectories(hierarchy);
    groups.retain(|group| {
        let name = group.file_name().unwrap_or_default();
        is_group_name(name)
            && group != ours
            && !running.contains(name)
            && recorded_dir(group).is_none_or(|dir| !dir.exists())
    });
    groups
}

fn is_group_name(name: &OsStr) -> bool {
    let hash = name.to_str().and_then(|name| name.strip_prefix("tenure-")).unwrap_or_default();
    hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The names of the groups of every supervisor that runs on this host, whatever its directory.
fn running_groups() -> HashSet<OsString> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let commands = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    commands
        .filter_map(|command| {
            let mut arguments = command.split(|byte| *byte == 0);
            let is_ours = arguments.next()? == SUPERVISOR.as_bytes();
            is_ours.then(|| arguments.next().map(|name| OsString::from_vec(name.to_owned())))?
        })
        .collect()
}

fn mounts_under<'m>(mountinfo: &'m str, dir: &'m Path) -> impl Iterator<Item = PathBuf> + 'm {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(move |at| at.starts_with(dir) && at != dir)
}

/// A supervisor, keeper or executor: all are copies of one process, and so have its command line.
struct Family {
    pid: i32,
    role: String,
}

impl Family {
    fn scan(dir: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| Self::read(entry.file_name().to_str()?.parse().ok()?, dir)).collect()
    }

    fn read(pid: i32, dir: &Path) -> Option<Self> {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut arguments = command.split(|byte| *byte == 0);
        let is_ours = arguments.next()? == SUPERVISOR.as_bytes() && arguments.next()? == cgroup_name(dir).as_bytes();
        is_ours.then(|| Self { pid, role: SUPERVISOR.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ffi::OsString;

    use super::abandoned;
    use crate::supervisor::{Cgroups, recorded_dir};

    #[test]
    fn groups_of_vanished_directories_are_abandoned() {
        let hierarchy = tempfile::tempdir().expect("a directory");
        std::fs::write(hierarchy.path().join("cgroup.controllers"), "cpu memory pids").expect("as the kernel would");
        let mountinfo = format!("31 30 0:26 / {} rw - cgroup2 cgroup2 rw", hierarchy.path().display());
        let make = |name: &str, dir: &std::path::Path| {
            drop(Cgroups::prepare(Cgroups::find(&mountinfo, name), dir));
            hierarchy.path().join(name)
        };
        let gone = make("tenure-0000000000000001", std::path::Path::new("/no/such/directory"));
        if recorded_dir(&gone).is_none() {
            // Only root may set such an attribute.
            return;
        }
        make("tenure-0000000000000002", hierarchy.path());
        make("tenure-0000000000000003", std::path::Path::new("/no/such/directory"));
        let ours = make("tenure-0000000000000004", hierarchy.path());
        let nameless = hierarchy.path().join("tenure-0000000000000005");
        std::fs::create_dir(&nameless).expect("a directory");
        std::fs::create_dir(hierarchy.path().join("tenure-of-another-kind")).expect("a directory");
        let running = HashSet::from([OsString::from("tenure-0000000000000003")]);
        let mut found = abandoned(&ours, &running);
        found.sort();
        assert_eq!(found, [gone, nameless]);
    }
}
