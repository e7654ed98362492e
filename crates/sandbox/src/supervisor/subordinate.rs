//! Ids that an ordinary user was given besides its own (`/etc/subuid`, `/etc/subgid`): with them, its sandboxes have users of
//! their own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::{Doing, Failure, RANGE};
use crate::guest::privileges;

/// The ids on the host that files of a sandbox directory belong to, beside the user's own.
///
/// All sandboxes of a directory have the same: an ordinary user's mounts can't shift owners, and layers are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Users {
    version: u32,
    first_uid: u32,
    first_gid: u32,
}

/// What an ordinary user lacks to have users for its sandboxes, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) cause: String,
    pub(crate) fix: String,
}

/// The file of a sandbox directory that says whose its files are. Without it they are the user's own, or root's.
pub(crate) const USERS: &str = "users";

/// The number of the user itself where its subordinate ids have those from 0 on.
pub(crate) const ITSELF: u32 = RANGE;

/// The program that gives a namespace its users, and that for groups; with the file that says which ids a user was given.
const MAPPERS: [(&str, &str); 2] = [("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")];

/// Whose the files of a sandbox directory are to be, from now on. Called by an ordinary user, in a process with one thread, before it
/// has made a namespace.
pub(crate) fn settle(dir: &Path) -> Result<Option<Users>, Failure> {
    let users = found(dir)?;
    if let Some(users) = users.filter(|_| !dir.join(USERS).exists()) {
        users.note(dir).doing(|| format!("noting whose the files in {} are", dir.display()))?;
    }
    Ok(users)
}

/// As [`settle`], and nothing is settled: as they are, if it has any, and subordinate ids if there are some.
pub(crate) fn found(dir: &Path) -> Result<Option<Users>, Failure> {
    if let Some(users) = Users::read(dir).doing(|| format!("reading whose the files in {} are", dir.display()))? {
        users.refuse_unless_given(dir)?;
        return Ok(Some(users));
    }
    if dir.join("sessions").exists() {
        return Ok(None);
    }
    Ok(Users::given().ok().filter(|users| users.try_out().is_ok()))
}

/// What keeps an ordinary user's sandboxes in a directory from having users of their own.
pub(crate) fn advice(dir: &Path) -> Option<Lack> {
    if matches!(Users::read(dir), Ok(Some(_))) {
        return None;
    }
    Some(Users::given().err().unwrap_or_else(|| Lack {
        cause: "the files here are from before this user could have users for them, or `newuidmap` gains no rights here".to_owned(),
        fix: "restore a backup into another data directory, by a process that may gain rights (`no_new_privs`), with `newuidmap` \
              and `newgidmap` set-user-id"
            .to_owned(),
    }))
}

/// Whether sandboxes of an ordinary user in this directory have users of their own, or will.
pub(crate) fn has_users(dir: &Path) -> bool {
    match Users::read(dir) {
        Ok(None) => !dir.join("sessions").exists() && Users::given().is_ok(),
        Ok(Some(_)) => true,
        Err(_) => false,
    }
}

impl Users {
    /// What a directory says.
    pub(crate) fn read(dir: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read(dir.join(USERS)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let users: Self = serde_json::from_slice(&text)?;
        match users.version {
            1 => Ok(Some(users)),
            other => Err(io::Error::other(format!("version {other} of the file `{USERS}` is a later Tenure's"))),
        }
    }

    /// Those of the namespace that this process is in, which was made for them.
    pub(crate) fn of_namespace() -> Option<Self> {
        let first = |of: &str| {
            let map = std::fs::read_to_string(format!("/proc/self/{of}_map")).ok()?;
            map.split_whitespace().nth(1)?.parse().ok()
        };
        Some(Self { version: 1, first_uid: first("uid")?, first_gid: first("gid")? })
    }

    /// Has a directory say so, whole or not at all.
    pub(crate) fn note(self, dir: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let new = dir.join(format!("{USERS}.{}.new", std::process::id()));
        std::fs::write(&new, serde_json::to_vec(&self)?)?;
        std::fs::rename(new, dir.join(USERS))
    }

    /// The first range that this user was given which is large enough.
    fn given() -> Result<Self, Lack> {
        for (program, _) in MAPPERS {
            if installed(program).is_none() {
                return Err(Lack {
                    cause: format!("the program {program} isn't there"),
                    fix: "install it (the package `uidmap`, elsewhere `shadow-utils`)".to_owned(),
                });
            }
        }
        let [(_, subuid), (_, subgid)] = MAPPERS;
        Ok(Self { version: 1, first_uid: first_of(subuid)?, first_gid: first_of(subgid)? })
    }

    fn refuse_unless_given(self, dir: &Path) -> Result<(), Failure> {
        for ((_, file), first) in MAPPERS.into_iter().zip([self.first_uid, self.first_gid]) {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let holds = |(start, count): (u32, u32)| start <= first && first - start <= count.saturating_sub(RANGE);
            if !ranges(&text, &names()).any(|range| range.1 >= RANGE && holds(range)) {
                let last = first + (RANGE - 1);
                let option = if file.ends_with("subuid") { "--add-subuids" } else { "--add-subgids" };
                return Err(Failure::Refused {
                    cause: format!(
                        "the sandboxes' files in {} belong to the ids {first} to {last}, which {file} doesn't give \
                         this user",
                        dir.display()
                    ),
                    fix: format!("as root: `usermod {option} {first}-{last} {}`", names()[0]),
                });
            }
        }
        Ok(())
    }

    /// Maps the users of a namespace that a process of this user has made.
    fn map(self, pid: u32) -> io::Result<()> {
        let own = [rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()];
        for (((program, _), first), own) in MAPPERS.into_iter().zip([self.first_uid, self.first_gid]).zip(own) {
            let numbers = [pid, 0, first, RANGE, ITSELF, own, 1];
            let program = installed(program).ok_or_else(|| io::Error::other(format!("{program} isn't there")))?;
            let mut mapping = Command::new(&program);
            mapping.args(numbers.map(|number| number.to_string())).stdin(Stdio::null());
            let mapped = mapping
                .output()
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", program.display())))?;
            if !mapped.status.success() {
                return Err(io::Error::other(String::from_utf8_lossy(&mapped.stderr).trim().to_owned()));
            }
        }
        Ok(())
    }

    /// Whether that is possible: the programs may lack the right, or this process may have given up to gain any.
    fn try_out(self) -> io::Result<()> {
        let (made, say_made) = pipe_with(PipeFlags::CLOEXEC)?;
        // SAFETY: this process has one thread. The child makes calls that are safe in a copy, and waits to be killed.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => unsafe {
                let _ = privileges::die_with_parent();
                if libc::unshare(libc::CLONE_NEWUSER) == 0 {
                    let _ = rustix::io::write(&say_made, b"1");
                }
                drop(say_made);
                loop {
                    libc::pause();
                }
            },
            pid => pid,
        };
        drop(say_made);
        let is_made = rustix::io::read(&made, &mut [0; 1]).is_ok_and(|length| length == 1);
        let mapped = if is_made { self.map(pid as u32) } else { Err(io::Error::other("no user namespace")) };
        // SAFETY: the child is ours and not yet waited for.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        mapped
    }

    /// Starts who is to map the users of this process once it has made a namespace, in which it can't start programs of the
    /// host with rights any more.
    pub(super) fn prepare(self) -> io::Result<Mapper> {
        let (begin, say_begin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (outcome, say_outcome) = pipe_with(PipeFlags::CLOEXEC)?;
        let parent = std::process::id();
        // SAFETY: this process has one thread; the child never returns.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                drop(say_begin);
                let mut said = "ok".to_owned();
                if rustix::io::read(&begin, &mut [0; 1]).is_ok_and(|length| length == 1)
                    && let Err(error) = self.map(parent)
                {
                    said = error.to_string();
                }
                let _ = rustix::io::write(&say_outcome, said.as_bytes());
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            pid => pid,
        };
        Ok(Mapper { pid, begin: say_begin, outcome })
    }
}

/// A process that maps its parent's users when told to.
#[derive(Debug)]
pub(super) struct Mapper {
    pid: i32,
    begin: std::os::fd::OwnedFd,
    outcome: std::os::fd::OwnedFd,
}

impl Mapper {
    pub(super) fn map(self) -> io::Result<()> {
        rustix::io::write(&self.begin, b"1")?;
        let mut said = String::new();
        io::Read::read_to_string(&mut std::fs::File::from(self.outcome), &mut said)?;
        // SAFETY: the child is ours and not yet waited for.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
        match said.as_str() {
            "ok" => Ok(()),
            said => Err(io::Error::other(said.to_owned())),
        }
    }
}

/// Where a program is. An errand has no search path.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/local/bin"].map(PathBuf::from);
    let dirs: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).chain(usual).collect();
    dirs.into_iter().map(|dir| dir.join(program)).find(|at| at.is_file())
}

fn first_of(file: &str) -> Result<u32, Lack> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let names = names();
    let large = ranges(&text, &names).find(|(_, count)| *count >= RANGE).map(|(first, _)| first);
    large.ok_or_else(|| Lack {
        cause: format!("{file} gives this user no {RANGE} ids in a row"),
        fix: format!(
            "as root: `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}` (with ids that nobody has), and use a \
             new data directory",
            names[0]
        ),
    })
}

/// What this user is called where ids are given: its name, if it has one, and its number.
fn names() -> Vec<String> {
    let uid = rustix::process::getuid().as_raw().to_string();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut named = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = named.find(|fields| fields.get(2) == Some(&uid.as_str())).map(|fields| fields[0].to_owned());
    name.into_iter().chain([uid]).collect()
}

/// The ranges, each by its first id and how many they are, that lines like `name:100000:65536` give to one of these.
fn ranges<'a>(text: &'a str, names: &'a [String]) -> impl Iterator<Item = (u32, u32)> + 'a {
    text.lines().filter_map(move |line| {
        let (name, numbers) = line.split_once(':')?;
        let (first, count) = numbers.split_once(':')?;
        let range: (u32, u32) = (first.trim().parse().ok()?, count.trim().parse().ok()?);
        // Id 0 is never lent, nor one past the last.
        let is_sound = range.0 > 0 && range.0.checked_add(range.1).is_some();
        (is_sound && names.iter().any(|known| known == name)).then_some(range)
    })
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn lines_give_ids_to_names_and_numbers() {
        let text = "alice:100000:65536\nbob:165536:65536\n1001:300000:10\nalice:0:65536\nalice:4294967290:65536\nalice:x:1\n\n";
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            ranges(text, &names).collect::<Vec<_>>()
        };
        assert_eq!(of(&["alice", "1001"]), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(of(&["carol"]), []);
    }
}
