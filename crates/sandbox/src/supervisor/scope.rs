//! Sandboxes of a service of systemd have a unit of their own, a scope beside it: they outlive the service's restarts, and systemd
//! starts no service again in whose group others have limits.

use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cgroup::{cgroup_mount, told};
use super::delegated::own_group;

/// How long systemd may take to make a scope.
const PATIENCE: Duration = Duration::from_secs(20);

/// The group of a scope in which the supervisor is, and what it forks: a group that passes controllers on has no processes itself.
const SUPERVISOR_GROUP: &str = "supervisor";

/// Has systemd make a scope for the supervisor of this name and moves this process into it, if a delegated service is where it was
/// started, and groups are of version 2. Then sandboxes' groups can be [in it](around); else nothing has changed.
pub(crate) fn enter(name: &str) -> io::Result<()> {
    let (mountinfo, of_processes) = (told("mountinfo"), told("cgroup"));
    let Some((at, own)) = mountinfo.lines().find_map(whole).zip(own_group("", true, &of_processes)) else {
        return Ok(());
    };
    if !is_in_delegated_service(&at, own) {
        return Ok(());
    }
    let mut made = Made::by_systemd(&format!("{name}-{}", std::process::id()))?;
    let group = made.group(&at, name)?.join(SUPERVISOR_GROUP);
    std::fs::create_dir(&group)?;
    std::fs::write(group.join("cgroup.procs"), "0")
}

/// The scope's group, given that of a supervisor of this name that has entered one.
pub(super) fn around<'p>(own: &'p Path, name: &str) -> Option<&'p Path> {
    let scope = own.parent().filter(|_| own.file_name().is_some_and(|last| last == SUPERVISOR_GROUP))?;
    is_scope_of(scope, name).then_some(scope)
}

fn is_scope_of(group: &Path, name: &str) -> bool {
    let unit = group.file_name().and_then(|unit| unit.to_str()).and_then(|unit| unit.strip_suffix(".scope"));
    unit.and_then(|unit| unit.strip_prefix(name)).is_some_and(|rest| rest.starts_with('-'))
}

/// Whether the nearest service around a group is handed over to who runs in it. Users' managers, which are such services too, have
/// units of their own.
fn is_in_delegated_service(at: &Path, own: &Path) -> bool {
    let name = |group: &Path| group.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let service = own.ancestors().find(|group| name(group).ends_with(".service"));
    service.is_some_and(|service| !name(service).starts_with("user@") && is_delegated(&at.join(relative(service))))
}

/// systemd notes that it has handed a group over in these attributes, the first of which older versions have alone.
fn is_delegated(group: &Path) -> bool {
    let mut value = [0; 2];
    ["trusted.delegate", "user.delegate"]
        .into_iter()
        .any(|name| matches!(rustix::fs::getxattr(group, name, &mut value), Ok(1) if value[0] == b'1'))
}

/// Where the whole of version 2 is mounted, if that has the controllers.
fn whole(line: &str) -> Option<PathBuf> {
    let (at, unified, _) = cgroup_mount(line)?;
    let is_whole = unified && line.split(' ').nth(3) == Some("/");
    let has_memory = |at: &Path| {
        let offered = std::fs::read_to_string(at.join("cgroup.controllers")).unwrap_or_default();
        offered.split_whitespace().any(|word| word == "memory")
    };
    (is_whole && has_memory(&at)).then_some(at)
}

fn relative(group: &Path) -> &Path {
    group.strip_prefix("/").unwrap_or(group)
}

/// A scope that is there as long as this, or until another process is in it.
struct Made {
    /// It says which group it is in, and waits for the end of its input.
    within: Child,
    said: BufReader<ChildStdout>,
}

impl Made {
    fn by_systemd(unit: &str) -> io::Result<Self> {
        let mut within = Command::new("systemd-run")
            .args(["--scope", "--quiet", "--collect", "--slice-inherit", "--property=Delegate=yes"])
            // As many as sandboxes are allowed: not systemd's default, a share of what the machine can have.
            .arg("--property=TasksMax=infinity")
            .args(["--description=Sandboxes of Tenure", &format!("--unit={unit}"), "cat", "/proc/self/cgroup", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = within.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { within, said: BufReader::new(said) })
    }

    /// The group, in the hierarchy that is mounted here.
    fn group(&mut self, at: &Path, name: &str) -> io::Result<PathBuf> {
        let waited = Timespec::try_from(PATIENCE).ok();
        if poll(&mut [PollFd::new(&self.said.get_ref().as_fd(), PollFlags::IN)], waited.as_ref())? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for line in (&mut self.said).lines() {
            let line = line?;
            let Some(group) = own_group("", true, &line) else { continue };
            if is_scope_of(group, name) {
                return Ok(at.join(relative(group)));
            }
            return Err(io::Error::other(format!("systemd-run left it in {}", group.display())));
        }
        Err(io::Error::other("systemd-run failed"))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        drop(self.within.stdin.take());
        let _ = self.within.kill();
        let _ = self.within.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::fs::{XattrFlags, setxattr};

    use super::{around, is_in_delegated_service};

    #[test]
    fn a_supervisor_in_a_scope_of_its_own_knows_it() {
        let of = |own: &'static str| around(Path::new(own), "tenure-1").and_then(Path::to_str);
        assert_eq!(of("/tenure.slice/tenure-1-77.scope/supervisor"), Some("/tenure.slice/tenure-1-77.scope"));
        for other in [
            "/tenure.slice/tenure-12-77.scope/supervisor",
            "/tenure.slice/tenure-1-77.scope",
            "/tenure.slice/tenure.service/supervisor",
            "/user.slice/session-1.scope/supervisor",
            "/supervisor",
            "/",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn only_services_that_were_handed_over_count() {
        let hierarchy = tempfile::tempdir().expect("a directory");
        let at = hierarchy.path();
        for own in ["a.slice/b.service/c", "user@0.service/app.slice"] {
            std::fs::create_dir_all(at.join(own)).expect("made");
        }
        let is_one = |own: &str| is_in_delegated_service(at, Path::new(own));
        assert!(!is_one("/a.slice/b.service/c"));
        for (group, value) in [("a.slice", "1"), ("user@0.service", "1"), ("a.slice/b.service", "0")] {
            setxattr(at.join(group), "user.delegate", value.as_bytes(), XattrFlags::empty()).expect("set");
        }
        assert!(!is_one("/a.slice/b.service/c"));
        setxattr(at.join("a.slice/b.service"), "user.delegate", b"1", XattrFlags::empty()).expect("set");
        assert!(is_one("/a.slice/b.service/c") && is_one("/a.slice/b.service"));
        assert!(!is_one("/a.slice") && !is_one("/") && !is_one("/user@0.service/app.slice"));
    }
}
