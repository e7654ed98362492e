//! What a host must offer, asked before anything is made on it: where sandboxes can't be had, the cause is named, and
//! nothing is left behind.

use std::io;
use std::path::{Path, PathBuf};

use super::head::Head;
use super::layers::{Slot, Sources};
use super::reach::Reach;
use super::skeleton::Skeleton;
use super::{Doing, Failure, idmap, subdirectories};
use crate::dispatch::SUPERVISOR;
use crate::guest::privileges;

/// Something that is in the way, and what the operator can do about it.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    cause: String,
    fix: String,
}

/// Where this process may make sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it is.
    Here,
    /// In namespaces of its own, which it has to make first.
    ToBeMade,
}

/// Whether this process may make sandboxes; the refusal names all that is in the way, so that one round of fixes does.
pub(crate) fn check_process() -> Result<Place, Failure> {
    if !is_root_of_the_host() {
        return Ok(Place::ToBeMade);
    }
    let mut obstacles: Vec<Obstacle> = no_administration().into_iter().chain(not_initial()).collect();
    if let Err(error) = idmap::try_user_namespace() {
        obstacles.push(no_user_namespace(&error)?);
    }
    if obstacles.is_empty() {
        return Ok(Place::Here);
    }
    let join = |part: fn(&Obstacle) -> &str| obstacles.iter().map(part).collect::<Vec<_>>().join("; ");
    Err(Failure::Refused { cause: join(|obstacle| &obstacle.cause), fix: join(|obstacle| &obstacle.fix) })
}

/// Whether a directory can carry layers: by mounting one, since a file system's name doesn't tell.
pub(crate) fn check_directory(dir: &Path, reach: &Reach) -> Result<(), Failure> {
    let trial = Trial(dir.join(format!("trial-{}", std::process::id())));
    let sources = Sources {
        skeleton: Skeleton { path: trial.0.join("skeleton"), host_dirs: Vec::new() },
        layers: trial.0.join("layers"),
        sessions: trial.0.join("sessions"),
        reach: reach.clone(),
    };
    let mounted = [&sources.skeleton.path, &sources.layers, &sources.sessions]
        .into_iter()
        .try_for_each(std::fs::create_dir_all)
        .doing(|| format!("making {}", trial.0.display()))
        .and_then(|()| Slot::new(0, &sources))
        .and_then(|slot| slot.mount(&trial.0, &Head::default(), &sources));
    match mounted {
        Ok(_) => Ok(()),
        Err(Failure::Failed { doing, cause }) => Err(cannot_carry(dir, &format!("{doing}: {cause}"))),
        Err(refused) => Err(refused),
    }
}

/// Trials of supervisors that were killed in the middle of them.
pub(crate) fn cut_short(dir: &Path) -> Vec<PathBuf> {
    let mut trials = subdirectories(dir);
    trials.retain(|trial| {
        let pid = trial.file_name().and_then(|name| name.to_str()?.strip_prefix("trial-")?.parse::<u32>().ok());
        pid.is_some_and(|pid| !is_supervisor(pid))
    });
    trials
}

/// Whether a supervisor has this number: not one that is dead and not yet waited for, which has no arguments any more.
fn is_supervisor(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(SUPERVISOR.as_bytes()))
}

/// A directory that goes when it is no longer needed.
struct Trial(PathBuf);

impl Drop for Trial {
    fn drop(&mut self) {
        // One that stays does no harm, and goes with the next start.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn no_administration() -> Option<Obstacle> {
    let lacks = privileges::capabilities().is_ok_and(|ours| !ours.can_administrate());
    lacks.then(|| Obstacle {
        cause: "the capability CAP_SYS_ADMIN is missing".to_owned(),
        fix: "give it: in a unit by CapabilityBoundingSet=, in a container by `--cap-add SYS_ADMIN` and a seccomp profile that \
              allows `mount` and `clone`"
            .to_owned(),
    })
}

/// Whether this is the host's root, if by another number: it must not become a user of sandboxes.
fn is_root_of_the_host() -> bool {
    let own = rustix::process::geteuid().as_raw();
    // Where there is no `/proc`, nothing works, and others say so.
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    outside_number(&map, own).unwrap_or(own) == 0
}

/// What a user of a namespace with this map is outside of it.
fn outside_number(uid_map: &str, inside: u32) -> Option<u32> {
    uid_map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u32>().ok());
        let (first, base, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let offset = inside.checked_sub(first).filter(|offset| *offset < count)?;
        base.checked_add(offset)
    })
}

/// The number that the kernel has given the initial user namespace since there are such numbers (`PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

fn not_initial() -> Option<Obstacle> {
    use std::os::unix::fs::MetadataExt;
    // Where there is no `/proc`, nothing works, and others say so.
    let namespace = std::fs::metadata("/proc/self/ns/user").ok()?.ino();
    (namespace != INITIAL_USER_NAMESPACE).then(|| Obstacle {
        cause: "this is root of a user namespace only, which is not the host's initial user namespace: layers can't be mounted \
                with shifted owners from here"
            .to_owned(),
        fix: "run Tenure as root of the host, or as an ordinary user; in a container, one without a user namespace of its own"
            .to_owned(),
    })
}

/// Names the cause where the kernel only says "no".
pub(crate) fn refuse_user_namespace(error: io::Error) -> Failure {
    match no_user_namespace(&error) {
        Ok(Obstacle { cause, fix }) => Failure::Refused { cause, fix },
        Err(failure) => failure,
    }
}

fn no_user_namespace(error: &io::Error) -> Result<Obstacle, Failure> {
    let obstacle = |cause: &str, fix: &str| {
        Ok(Obstacle { cause: format!("user namespaces can't be made: {cause}"), fix: fix.to_owned() })
    };
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EUSERS) => match reads("/proc/sys/user/max_user_namespaces", "0") {
            true => obstacle(
                "/proc/sys/user/max_user_namespaces is 0",
                "raise it: `sysctl -w user.max_user_namespaces=15000`",
            ),
            false => obstacle(
                "as many exist as user.max_user_namespaces allows, or 32 within each other",
                "raise it: `sysctl -w user.max_user_namespaces=15000`",
            ),
        },
        Some(libc::EPERM | libc::EACCES) if reads("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => {
            obstacle(
                "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)",
                "allow them: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or install the profile that Tenure brings along (packaging/apparmor/tenure)",
            )
        }
        Some(libc::EACCES) => obstacle(
            &format!("the security module refuses{}", confinement()),
            "see what it noted (`dmesg`); for AppArmor, let the profile have the line `userns,`, or install the one that Tenure brings along (packaging/apparmor/tenure)",
        ),
        Some(libc::EPERM) if reads("/proc/sys/kernel/unprivileged_userns_clone", "0") => obstacle(
            "kernel.unprivileged_userns_clone is 0",
            "allow them: `sysctl -w kernel.unprivileged_userns_clone=1`",
        ),
        Some(libc::EPERM) => obstacle(
            "the kernel refuses (a chroot, a seccomp profile or a missing capability)",
            "start Tenure outside of a chroot; in a container, run it with CAP_SYS_ADMIN, or a seccomp profile that allows `clone` and `unshare`",
        ),
        Some(libc::EINVAL | libc::ENOSYS) => {
            obstacle("this kernel is built without them", "use a kernel with CONFIG_USER_NS")
        }
        _ => Err(Failure::Failed { doing: "making a user namespace".to_owned(), cause: error.to_string() }),
    }
}

/// The AppArmor profile that this process is under, to be named.
fn confinement() -> String {
    let name = std::fs::read_to_string("/proc/self/attr/apparmor/current").unwrap_or_default();
    if name.is_empty() { String::new() } else { format!(" (AppArmor profile: {})", name.trim()) }
}

fn reads(path: &str, value: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value)
}

/// The refusal of a directory that can't carry layers.
pub(crate) fn cannot_carry(path: &Path, why: &str) -> Failure {
    let kind = file_system(path).map(|kind| format!(" ({kind})")).unwrap_or_default();
    Failure::Refused {
        cause: format!("the file system of {}{kind} can't carry layers: {why}", path.display()),
        fix: "put the data directory on ext4, xfs or btrfs, on Linux 5.19 or newer; in a container, on a volume"
            .to_owned(),
    }
}

/// What kind of file system a path is on: that of the last mount on the longest way to it.
fn file_system(path: &Path) -> Option<String> {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let at = Path::new(left.split(' ').nth(4)?);
        path.starts_with(at).then(|| (at.as_os_str().len(), right.split(' ').next().unwrap_or_default().to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::{no_user_namespace, outside_number};

    #[test]
    fn users_have_other_numbers_outside_of_a_namespace() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(
            [0, 1, 65_536, 65_537].map(|uid| outside_number(map, uid)),
            [Some(1000), Some(100_000), Some(165_535), None]
        );
    }

    #[test]
    fn every_answer_of_the_kernel_has_a_remedy() {
        for code in [libc::ENOSPC, libc::EUSERS, libc::EPERM, libc::EACCES, libc::EINVAL, libc::ENOSYS] {
            let obstacle = no_user_namespace(&std::io::Error::from_raw_os_error(code)).expect("a refusal");
            assert!(obstacle.cause.starts_with("user namespaces can't be made: ") && !obstacle.fix.is_empty());
        }
    }
}
