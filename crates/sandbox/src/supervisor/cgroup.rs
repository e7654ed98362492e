use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};

use super::{Failure, Standing, delegated, scope};
use crate::guest::events::EventFiles;
use crate::guest::executor::fork_into;
use crate::guest::privileges;
use crate::spec::{Applied, Limits};
use crate::wire::{Control, SHORT, receive, send};

/// Where this host's limits are, and our place among them.
#[derive(Debug)]
pub(crate) struct Cgroups {
    homes: Vec<Home>,
    missing: Vec<(Control, String)>,
    /// What to remove in the end: our groups, and those of our name that we found and don't use.
    ours: Vec<PathBuf>,
    /// The directory that they are for.
    dir: PathBuf,
}

/// Our group in one hierarchy, the parent of every sandbox's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) parent: PathBuf,
    controls: Vec<Control>,
    unified: bool,
}

/// A sandbox's groups, one in each hierarchy.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) applied: Applied,
    /// Where each limit is, whether version 2, whether it is set or not.
    pub(crate) places: Vec<(Control, PathBuf, bool)>,
    /// Writing `0` to each of these puts a process of one thread under the limits. They are passed to the keeper, who can't
    /// see the file system they are in.
    pub(crate) entrances: Vec<OwnedFd>,
    /// As above, to a hierarchy that is for processors alone: to be entered only while they are limited, as that takes time.
    pub(crate) cpu_entrance: Option<OwnedFd>,
    /// Where the kernel counts how often limits were reached.
    pub(crate) events: EventFiles,
    /// Whether no group counts its processes, and the kernel does by their user.
    pub(crate) counts_by_user: bool,
}

impl Cgroups {
    /// Finds the hierarchies of this host, and where in them this process may make groups; `name` becomes the name of ours in each.
    pub(crate) fn found(name: &str) -> Vec<Home> {
        let mountinfo = told("mountinfo");
        let of_processes = told("cgroup");
        let mut homes = Self::find(&mountinfo, name);
        match Standing::towards_files() {
            Standing::Root => homes.iter_mut().for_each(|home| home.move_to_scope(name, &of_processes)),
            Standing::One | Standing::Given => {
                homes.iter_mut().for_each(|home| home.move_to_delegated(&mountinfo, &of_processes));
            }
        }
        homes
    }

    /// As [`found`](Self::found), for a process that makes none in a group of its own: at the top of each hierarchy.
    pub(super) fn found_on_top(name: &str) -> Vec<Home> {
        Self::find(&told("mountinfo"), name)
    }

    /// Finds the hierarchies from the text of `/proc/self/mountinfo`; `name` becomes the name of our group in each.
    pub(crate) fn find(mountinfo: &str, name: &str) -> Vec<Home> {
        let mut homes: Vec<Home> = Vec::new();
        for (at, unified, options) in mountinfo.lines().filter_map(cgroup_mount) {
            let offered = match unified {
                true => std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default(),
                false => options.replace(',', " "),
            };
            let taken = |control: &Control| homes.iter().any(|home| home.controls.contains(control));
            let controls: Vec<Control> = Control::ALL
                .into_iter()
                .filter(|control| offered.split_whitespace().any(|word| word == control.name()) && !taken(control))
                .collect();
            if !controls.is_empty() {
                homes.push(Home { parent: at.join(name), controls, unified });
            }
        }
        homes
    }

    /// None: no limit can be enforced.
    pub(crate) fn without(found: Vec<Home>, reason: &str) -> Self {
        let missing = Control::ALL.map(|control| (control, reason.to_owned())).to_vec();
        let ours = found.into_iter().map(|home| home.parent).collect();
        Self { homes: Vec::new(), missing, ours, dir: PathBuf::new() }
    }

    /// Makes our group in each hierarchy that allows it, and notes where it doesn't. Each says on itself which directory
    /// it is for.
    pub(crate) fn prepare(found: Vec<Home>, dir: &Path) -> Self {
        let parents = found.iter().map(|home| home.parent.clone()).collect();
        let mut ours = Self { homes: Vec::new(), missing: Vec::new(), ours: parents, dir: dir.to_owned() };
        for home in found {
            match home.prepare(dir) {
                Ok(()) => ours.homes.push(home),
                Err(error) => {
                    let cause = format!("{} can't be made: {error}", home.parent.display());
                    ours.missing.extend(home.controls.iter().map(|control| (*control, cause.clone())));
                }
            }
        }
        for control in Control::ALL {
            let known = ours
                .homes
                .iter()
                .flat_map(|home| &home.controls)
                .chain(ours.missing.iter().map(|(control, _)| control));
            if !known.into_iter().any(|seen| *seen == control) {
                ours.missing.push((control, "no cgroup hierarchy with this controller is mounted".to_owned()));
            }
        }
        ours
    }

    /// Makes a sandbox's groups with their limits: all that are set, and the defaults that can be had.
    pub(crate) fn create(&self, name: &str, limits: Limits) -> Result<Group, Failure> {
        let wanted = [
            (Control::Memory, limits.memory_bytes, Some(Limits::DEFAULT_MEMORY_BYTES)),
            (Control::Cpu, limits.cpu_millis.map(u64::from), None),
            (Control::Pids, limits.pids.map(u64::from), Some(u64::from(Limits::DEFAULT_PIDS))),
        ];
        let mut group = Group::default();
        let made = wanted.into_iter().try_for_each(|(control, set, default)| match (set.or(default), set.is_some()) {
            (None, _) => {
                // It may be limited later, and wouldn't be missed.
                let _ = self.place(&mut group, name, control);
                Ok(())
            }
            (Some(value), mandatory) => match self.limit(&mut group, name, control, value) {
                Ok(()) => {
                    group.note(control, value);
                    Ok(())
                }
                // What a user namespace counts by itself needs no group.
                Err(_) if control == Control::Pids && Standing::ours().counted_beside_tools().is_some() => {
                    group.counts_by_user = true;
                    group.note(control, value);
                    Ok(())
                }
                Err(cause) if mandatory => Err(Failure::Unenforceable { what: control, cause }),
                Err(cause) => {
                    group.applied.missing.push(format!("{}: {cause}", control.name()));
                    Ok(())
                }
            },
        });
        match made.and_then(|()| group.open_doors()) {
            Ok(()) => Ok(group),
            Err(failure) => {
                group.remove();
                Err(failure)
            }
        }
    }

    fn limit(&self, group: &mut Group, name: &str, control: Control, value: u64) -> Result<(), String> {
        let (path, unified) = self.place(group, name, control)?;
        write_limit(&path, unified, control, value).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Makes the group that a limit belongs to.
    fn place(&self, group: &mut Group, name: &str, control: Control) -> Result<(PathBuf, bool), String> {
        if let Some((_, cause)) = self.missing.iter().find(|(missing, _)| *missing == control) {
            return Err(cause.clone());
        }
        let home = self.homes.iter().find(|home| home.controls.contains(&control)).ok_or("no hierarchy has it")?;
        let path = home.parent.join(name);
        if !group.paths.contains(&path) {
            let made = match make(&path) {
                // A service manager removes what is empty when a service stops.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    home.prepare(&self.dir).and_then(|()| make(&path))
                }
                made => made,
            };
            made.map_err(|error| format!("{}: {error}", path.display()))?;
            group.paths.push(path.clone());
        }
        group.places.push((control, path.clone(), home.unified));
        Ok((path, home.unified))
    }

    /// Kills and removes whatever an earlier supervisor left; gives what the kernel does not let go of yet.
    pub(crate) fn sweep(found: &[Home]) -> Vec<PathBuf> {
        let children: Vec<PathBuf> = found.iter().flat_map(|home| subdirectories(&home.parent)).collect();
        for path in &children {
            for pid in std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        children.into_iter().filter(|path| !remove(path)).collect()
    }

    /// Removes our own groups; the sandboxes' must be gone.
    pub(crate) fn leave(&self) {
        self.ours.iter().for_each(|path| {
            remove(path);
        });
    }
}

impl Home {
    /// Removes an empty group of ours, if there is one.
    pub(crate) fn remove(&self) {
        remove(&self.parent);
    }

    fn prepare(&self, dir: &Path) -> io::Result<()> {
        make(&self.parent)?;
        record_dir(&self.parent, dir);
        self.enable().inspect_err(|_| {
            remove(&self.parent);
        })
    }

    /// Lies where an ordinary user may make groups: in the nearest one that was handed over to it and takes what is wanted. If there is
    /// none it stays where it can't be made, which then says why.
    fn move_to_delegated(&mut self, mountinfo: &str, of_processes: &str) {
        let (Some(at), Some(name)) = (self.parent.parent(), self.parent.file_name()) else { return };
        let line = mountinfo.lines().find(|line| cgroup_mount(line).is_some_and(|(mounted, ..)| mounted == at));
        let Some((_, unified, options)) = line.and_then(cgroup_mount) else { return };
        let mounted = line.and_then(|line| line.split(' ').nth(3)).unwrap_or("/");
        let places = delegated::places(at, mounted, options, unified, of_processes);
        // Version 2 limits nothing in a group that has processes itself.
        let is_apt = |place: &&PathBuf| {
            let is_empty = || std::fs::read_to_string(place.join("cgroup.procs")).is_ok_and(|text| text.is_empty());
            !unified || is_empty()
        };
        if let Some(place) = places.iter().find(is_apt) {
            self.parent = place.join(name);
        }
    }

    /// Lies in the scope that systemd has made for this process, if it has.
    fn move_to_scope(&mut self, name: &str, of_processes: &str) {
        let Some(at) = self.parent.parent().filter(|_| self.unified) else { return };
        let own = delegated::own_group("", true, of_processes);
        if let Some(scope) = own.and_then(|own| scope::around(own, name)) {
            self.parent = at.join(scope.strip_prefix("/").unwrap_or(scope)).join(name);
        }
    }

    fn enable(&self) -> io::Result<()> {
        if self.unified {
            let enable: Vec<String> = self.controls.iter().map(|control| format!("+{}", control.name())).collect();
            for level in [self.parent.parent().unwrap_or(&self.parent), &self.parent] {
                std::fs::write(level.join("cgroup.subtree_control"), enable.join(" "))?;
            }
        }
        Ok(())
    }
}

impl Group {
    pub(crate) fn note(&mut self, control: Control, value: u64) {
        match control {
            Control::Memory => self.applied.memory_bytes = Some(value),
            Control::Cpu => self.applied.cpu_millis = u32::try_from(value).ok(),
            Control::Pids => self.applied.pids = u32::try_from(value).ok(),
        }
    }

    fn open_doors(&mut self) -> Result<(), Failure> {
        let failed =
            |error: io::Error| Failure::Failed { doing: "opening a cgroup".to_owned(), cause: error.to_string() };
        for path in &self.paths {
            let is_of = |(_, place, _): &&(Control, PathBuf, bool)| place == path;
            let unified = self.places.iter().find(is_of).is_some_and(|(.., unified)| *unified);
            let entrance = open_entrance(&path.join(entrance(unified)), unified).map_err(failed)?;
            // One with given ids can't move what runs into it later.
            let is_entered_later = Standing::ours() != Standing::Given;
            match !is_entered_later || self.places.iter().filter(is_of).any(|(control, ..)| *control != Control::Cpu) {
                true => self.entrances.push(entrance.into()),
                false => self.cpu_entrance = Some(entrance.into()),
            }
            let open = |name: &str| File::open(path.join(name)).ok().map(OwnedFd::from);
            let memory = || open("memory.events").or_else(|| open("memory.oom_control"));
            self.events.memory = self.events.memory.take().or_else(memory);
            self.events.pids = self.events.pids.take().or_else(|| open("pids.events"));
        }
        Ok(())
    }

    /// Removes the groups, whose processes must be dead; gives those that the kernel does not let go of yet.
    ///
    /// Behind its directory, the kernel keeps a group as long as pages of files are charged to it: until memory is needed, or the
    /// files are removed. Having it let go of them at once (`memory.force_empty`, `memory.reclaim`) isn't worth it: that took 10 to 45 ms
    /// for 20 MiB in a file, more than 100 ms for 2,000 small files, in the one thread that makes all sandboxes. It would write
    /// to the disk what may be removed next, take from the cache what the session's next sandbox reads, and can't let go of
    /// what others have mapped as well. What stays is small: some KiB for each.
    pub(crate) fn remove(self) -> Vec<PathBuf> {
        self.paths.into_iter().filter(|path| !remove(path)).collect()
    }
}

/// The file of a group that a process of one thread enters it by. Version 1 has one for threads, through which a thread that
/// moves itself doesn't wait until all processors have noticed, as whole processes do: some milliseconds, more on a busy host.
fn entrance(unified: bool) -> &'static str {
    if unified { "cgroup.procs" } else { "tasks" }
}

/// On version 1, a process is put under limits by who is of its user, which counts from when the file was opened: a keeper, and who
/// comes from it, is the sandbox's root at that time. Where that is another user than this, a child becomes it.
fn open_entrance(at: &Path, unified: bool) -> io::Result<File> {
    let open = || File::options().write(true).open(at);
    if unified || Standing::ours() != Standing::Given {
        return open();
    }
    let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let child = fork_into(|| {
        let opened = privileges::act_as(Standing::Given.on_disk(0)).and_then(|()| open());
        let said = opened.and_then(|file| send(&its, b"ok", &[file.as_fd()], SendFlags::empty()));
        i32::from(said.is_err())
    })?;
    drop(its);
    let opened = receive(&ours, SHORT, RecvFlags::empty());
    // SAFETY: the child is ours and not yet waited for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    let opened = opened?.and_then(|mut packet| packet.descriptors.pop());
    opened.map(File::from).ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

/// The attribute in which our group names the directory it is for: its own name has only a hash of that.
const DIR_ATTRIBUTE: &str = "trusted.tenure.dir";

/// Where attributes can't be had, it stays unknown what the group is for.
fn record_dir(group: &Path, dir: &Path) {
    let value = dir.as_os_str().as_encoded_bytes();
    let _ = rustix::fs::setxattr(group, DIR_ATTRIBUTE, value, rustix::fs::XattrFlags::empty());
}

/// The directory that a group of ours is for, if it says so.
pub(crate) fn recorded_dir(group: &Path) -> Option<PathBuf> {
    let mut value = vec![0; libc::PATH_MAX as usize];
    let length = rustix::fs::getxattr(group, DIR_ATTRIBUTE, &mut value).ok()?;
    value.truncate(length);
    Some(PathBuf::from(std::ffi::OsString::from_vec(value)))
}

/// Makes a group, unless it is there.
fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Removes a group; says whether it is gone.
pub(crate) fn remove(path: &Path) -> bool {
    match std::fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// The directories in a directory, as a group's children are.
pub(crate) fn subdirectories(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// What the kernel tells this process of itself.
pub(super) fn told(of: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{of}")).unwrap_or_default()
}

/// Mount point, whether it is version 2, and super-block options, of a line that is a whole cgroup hierarchy.
pub(super) fn cgroup_mount(line: &str) -> Option<(PathBuf, bool, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let at = left.split(' ').nth(4)?;
    let mut right = right.split(' ');
    let unified = match right.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    Some((PathBuf::from(at), unified, right.nth(1)?))
}

const CPU_PERIOD_US: u64 = 100_000;

pub(super) fn write_limit(path: &Path, unified: bool, control: Control, value: u64) -> io::Result<()> {
    let write = |file: &str, text: String| std::fs::write(path.join(file), text);
    let quota = || (value * CPU_PERIOD_US / 1_000).max(1_000);
    match (unified, control) {
        (true, Control::Memory) => {
            write("memory.max", value.to_string())?;
            optional(write("memory.swap.max", "0".to_owned()))
        }
        (true, Control::Cpu) => write("cpu.max", format!("{} {CPU_PERIOD_US}", quota())),
        (_, Control::Pids) => write("pids.max", value.to_string()),
        (false, Control::Memory) => {
            write("memory.limit_in_bytes", value.to_string())?;
            optional(write("memory.memsw.limit_in_bytes", value.to_string()))
        }
        (false, Control::Cpu) => {
            write("cpu.cfs_period_us", CPU_PERIOD_US.to_string())?;
            write("cpu.cfs_quota_us", quota().to_string())
        }
    }
}

/// Swap isn't accounted for on every kernel; the file is then absent.
fn optional(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EACCES) || error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::{CPU_PERIOD_US, Cgroups, Group};
    use crate::wire::Control;

    #[test]
    fn version_1_hierarchies_are_found_by_their_controllers() {
        let mountinfo = "\
25 20 0:22 / /sys rw shared:7 - sysfs sysfs rw
31 30 0:26 / /nowhere/unified rw - cgroup2 cgroup2 rw
32 30 0:27 / /nowhere/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct
33 30 0:28 / /nowhere/memory rw - cgroup cgroup rw,memory
34 30 0:29 / /nowhere/systemd rw - cgroup cgroup rw,name=systemd
35 30 0:30 / /nowhere/pids rw - cgroup cgroup rw,pids";
        let found = Cgroups::find(mountinfo, "tenure-x");
        let shown: Vec<_> =
            found.iter().map(|home| (home.parent.to_string_lossy().into_owned(), home.controls.clone())).collect();
        let expected = [
            ("/nowhere/cpu,cpuacct/tenure-x".to_owned(), vec![Control::Cpu]),
            ("/nowhere/memory/tenure-x".to_owned(), vec![Control::Memory]),
            ("/nowhere/pids/tenure-x".to_owned(), vec![Control::Pids]),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_unified_hierarchy_offers_what_its_file_says() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("cgroup.controllers"), "cpuset cpu io memory pids\n").expect("a file");
        let mountinfo = format!("31 30 0:26 / {} rw - cgroup2 cgroup2 rw", root.path().display());
        let cgroups = Cgroups::prepare(Cgroups::find(&mountinfo, "tenure-x"), root.path());
        assert!(cgroups.missing.is_empty(), "{:?}", cgroups.missing);
        let session = tenure_core::id::SessionId::from_bits(7);
        let limits = crate::Limits { cpu_millis: Some(1_500), ..Default::default() };
        std::fs::create_dir(root.path().join("tenure-x").join(session.to_string())).expect("as the kernel would");
        std::fs::write(root.path().join("tenure-x").join(session.to_string()).join("cgroup.procs"), "")
            .expect("as the kernel would");
        let group = cgroups.create(&session.to_string(), limits).expect("limits");
        let read = |name: &str| std::fs::read_to_string(group.paths[0].join(name)).expect(name);
        assert_eq!(read("cpu.max"), format!("150000 {CPU_PERIOD_US}"));
        assert_eq!((read("memory.max"), read("pids.max")), ((2u64 << 30).to_string(), "512".to_owned()));
        std::fs::remove_dir_all(root.path().join("tenure-x")).expect("as systemd does");
        let (place, _) = cgroups.place(&mut Group::default(), "again", Control::Memory).expect("a place");
        assert_eq!(place, root.path().join("tenure-x/again"));
        assert!(place.is_dir() && root.path().join("tenure-x/cgroup.subtree_control").exists());
    }
}
