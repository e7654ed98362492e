use std::path::{Path, PathBuf};

use tenure_core::id::SessionId;

use super::cgroup_name;
use crate::dispatch::SUPERVISOR;
use crate::supervisor::pool::SPARE;
use crate::supervisor::{WORKER, abandoned, cut_short, needless_layers, subdirectories, whereabouts};
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
    let strangers = directories.into_iter().filter(|path| !is_known(path));
    found.extend(strangers.chain(trash).chain(cut_short(dir)).map(Leftover::Directory));

    // What is mounted is needed as well, and where no supervisor runs, the next one collects.
    if supervisor.is_some() && alive.is_empty() {
        found.extend(needless_layers(dir).into_iter().map(Leftover::Directory));
    }

    let mountinfo =
        std::fs::read_to_string("/proc/self/mountinfo").map_err(Error::failed("reading the list of mounts"))?;
    let homes = whereabouts::of(dir);
    found.extend(abandoned::find(&homes).into_iter().map(Leftover::Cgroup));
    for home in homes {
        // Where no supervisor runs, no session has a sandbox, and so no group.
        let is_spare = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SPARE));
        // Those of sandboxes made ahead have the name of no session, also later.
        let is_right = |path: &Path| is_known(path) || is_spare(path);
        let groups = subdirectories(&home.parent).into_iter().filter(|path| supervisor.is_none() || !is_right(path));
        let ours = (supervisor.is_none() && home.parent.exists()).then(|| home.parent.clone());
        found.extend(groups.chain(ours).map(Leftover::Cgroup));
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
        let role = arguments.next()?;
        let role = [SUPERVISOR, WORKER].into_iter().find(|known| role == known.as_bytes())?;
        (arguments.next()? == cgroup_name(dir).as_bytes()).then(|| Self { pid, role: role.to_owned() })
    }
}
