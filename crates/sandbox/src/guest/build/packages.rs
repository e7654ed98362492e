//! Installs packages with the root's own managers, from archives in a directory. Their scripts run here, and whatever else they
//! start; none of it outlives this.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tenure_core::packages::Manager;

use super::layer::Refusal;
use super::tree::{Looks, Tree};
use crate::guest::privileges;
use crate::supervisor::Standing;
use crate::wire::Step;

/// Where the archives are, in a directory for each manager: in `/run`, of which nothing gets into the layer.
pub(crate) const ARCHIVES: &str = "packages";
/// What managers need while they work. On the disk, since what they unpack may not fit into memory.
const SCRATCH: &str = "var/tmp/tenure-packages";
/// The end of a manager's output that is told when it fails.
const TOLD_BYTES: usize = 2_000;
/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// The list of what is installed, and where it is.
const DATABASE: &str = "var/lib/dpkg";

/// Installs them one manager after another.
pub(crate) fn install(
    tree: &Tree,
    steps: &[Step],
    hosts_database: Option<&OwnedFd>,
    time: Duration,
) -> Result<(), Refusal> {
    let until = Instant::now() + time;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // So that nothing that they start is out of reach.
    privileges::adopt_orphans().map_err(Refusal::Here)?;
    if let Some(database) = hosts_database {
        copy_database(database, tree).map_err(Refusal::Here)?;
    }
    let scratch = tree.place(Path::new(SCRATCH)).map_err(Refusal::Here)?;
    scratch.make_directory(Looks::root(0o700)).map_err(Refusal::Here)?;
    let installed = steps.iter().try_for_each(|step| run_step(step, until));
    end_all();
    scratch.remove().map_err(Refusal::Here)?;
    installed
}

fn run_step(step: &Step, until: Instant) -> Result<(), Refusal> {
    let Step { manager, packages } = step;
    let archives = format!("/run/{ARCHIVES}/{manager}");
    let mut command = match manager {
        Manager::Apt => command("dpkg", &["--install", "--force-confdef", "--force-confold"]),
        Manager::Gem => command("gem", &["install", "--local", "--no-document"]),
        Manager::Npm => {
            let quietly = ["--offline", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--"];
            command("npm", &[&["install", "--global"], &quietly[..]].concat())
        }
        Manager::Pip => command("python3", &["-m", "pip", "install", "--no-index", "--find-links", &archives, "--"]),
    };
    // Names of files are those in the directory of the archives.
    command.args(packages).current_dir(&archives);
    let failed = |why: String| Refusal::Layer(format!("{manager}: {why}"));
    let (ended, printed) = match run(command, until) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let program = program(*manager);
            return Err(failed(format!(
                "the root file system has no `{program}` to install packages with; choose one that has it"
            )));
        }
        ran => ran.map_err(Refusal::Here)?,
    };
    let printed = tail(&printed);
    match ended {
        Some(status) if status.success() => {}
        Some(status) => {
            let packages = packages.join(", ");
            let remedy = remedy(*manager, &printed);
            return Err(failed(format!("installing {packages} failed ({status}): {printed}{remedy}")));
        }
        None => return Err(failed(format!("installing {} took too long: {printed}", packages.join(", ")))),
    }
    if *manager == Manager::Apt {
        // What a trigger of the host's packages would do. Where there is no such program, nobody needs it.
        let _ = run(self::command("ldconfig", &[]), until);
    }
    Ok(())
}

/// What may help where there is but one user: files of packages, and what their scripts make, may be others'. This is what the kernel
/// calls an owner that nobody can be.
fn remedy(manager: Manager, printed: &str) -> &'static str {
    match manager {
        Manager::Apt if !Standing::ours().has_own_users() && printed.contains("Invalid argument") => {
            "\n(A package that has files of several users, or makes users, can't be installed where Tenure is run by an ordinary user with \
             one id: it takes subordinate ids, see `tenure doctor`.)"
        }
        Manager::Apt | Manager::Gem | Manager::Npm | Manager::Pip => "",
    }
}

/// What has to be in the root for a manager to work.
fn program(manager: Manager) -> &'static str {
    match manager {
        Manager::Apt => "dpkg",
        Manager::Gem => "gem",
        Manager::Npm => "npm",
        Manager::Pip => "python3",
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let scratch = format!("/{SCRATCH}");
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .envs([("LANG", "C.UTF-8"), ("DEBIAN_FRONTEND", "noninteractive")])
        // What they remember for the next time has no next time.
        .envs([("HOME", &scratch), ("TMPDIR", &scratch), ("npm_config_cache", &scratch)])
        .envs(["PIP_NO_CACHE_DIR", "PIP_NO_INPUT", "PIP_DISABLE_PIP_VERSION_CHECK"].map(|name| (name, "1")))
        // The sandbox's Python is nobody else's.
        .envs([("PIP_BREAK_SYSTEM_PACKAGES", "1"), ("PIP_ROOT_USER_ACTION", "ignore"), ("PIP_PROGRESS_BAR", "off")]);
    command
}

/// Runs it; gives how it ended, unless the time was up, and the end of what it printed.
fn run(mut command: Command, until: Instant) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let (out, into) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&out, true)?;
    command.stdin(Stdio::null()).stdout(into.try_clone()?).stderr(into);
    let mut child = command.spawn()?;
    // Its ends of the pipe.
    drop(command);
    let ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let (mut printed, mut is_open) = (Vec::new(), true);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut sources = vec![PollFd::new(&ended, PollFlags::IN)];
        if is_open {
            sources.push(PollFd::from_borrowed_fd(out.as_fd(), PollFlags::IN));
        }
        let timeout = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 });
        match poll(&mut sources, Some(&timeout)) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        let has_ended = !sources[0].revents().is_empty();
        is_open = is_open && take(&out, &mut printed)?;
        if has_ended {
            return Ok((Some(child.wait()?), printed));
        }
        if left.is_zero() {
            let _ = child.kill();
            return Ok((None, printed));
        }
    }
}

/// Takes what there is to read, and keeps the last of it; says whether more may come.
fn take(out: &OwnedFd, printed: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; CHUNK_BYTES];
    // Who prints without end must not keep us from looking at the clock.
    for _ in 0..64 {
        match rustix::io::read(out, &mut chunk) {
            Ok(0) => return Ok(false),
            Ok(read) => {
                printed.extend_from_slice(&chunk[..read]);
                printed.drain(..printed.len().saturating_sub(TOLD_BYTES));
            }
            Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// A stranger's words, without what a terminal would obey.
fn tail(printed: &[u8]) -> String {
    let text = String::from_utf8_lossy(printed);
    let plain: String = text.chars().filter(|letter| *letter == '\n' || !letter.is_control()).collect();
    match plain.trim() {
        "" => "it printed nothing".to_owned(),
        text => text.to_owned(),
    }
}

/// Ends whatever was left running. All of it came from here, and is waited for.
fn end_all() {
    loop {
        // SAFETY: both take numbers, and no pointer that matters. The signal is for all but this process and the first one.
        unsafe {
            libc::kill(-1, libc::SIGKILL);
            if libc::waitpid(-1, std::ptr::null_mut(), 0) < 0 && *libc::__errno_location() == libc::ECHILD {
                return;
            }
        }
    }
}

/// Tells the host's root which of the host's packages it has: without that nothing would be there to depend on. What everybody
/// may read of it, and only the lists; what else is kept there speaks of users and directories that the sandbox lacks.
fn copy_database(hosts: &OwnedFd, tree: &Tree) -> io::Result<()> {
    copy(hosts, "status", tree)?;
    copy(hosts, "diversions", tree)?;
    let lists = openat(hosts, "info", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&lists)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name == "format" || name.ends_with(".list") {
            copy(hosts, &format!("info/{name}"), tree)?;
        }
    }
    tree.place(Path::new(DATABASE).join("updates").as_path())?.make_directory(Looks::root(0o755))?;
    Ok(())
}

fn copy(hosts: &OwnedFd, name: &str, tree: &Tree) -> io::Result<()> {
    match openat(hosts, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => {
            let place = tree.place(&Path::new(DATABASE).join(name))?;
            place.make_file(&mut File::from(file), Looks::root(0o644))
        }
        // A system without it, or one that keeps it from others.
        Err(Errno::NOENT | Errno::ACCESS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{command, run, tail};

    fn shell(text: &str, time: Duration) -> (Option<i32>, String) {
        let (ended, printed) = run(command("sh", &["-c", text]), Instant::now() + time).expect("it ran");
        (ended.and_then(|status| status.code()), tail(&printed))
    }

    #[test]
    fn the_end_of_what_is_printed_is_told() {
        let long = Duration::from_secs(60);
        assert_eq!(
            shell("echo a; printf '\\033[1mb\\033[0m\\n' >&2; exit 3", long),
            (Some(3), "a\n[1mb[0m".to_owned())
        );
        assert_eq!(shell(":", long), (Some(0), "it printed nothing".to_owned()));
        let (code, printed) = shell("seq 100000", long);
        assert!(code == Some(0) && printed.ends_with("\n99999\n100000") && printed.len() < 2_001, "{printed}");
        // What goes on in the background is not waited for.
        let (code, printed) = shell("sleep 1000 & echo $!", long);
        assert_eq!(code, Some(0));
        // SAFETY: takes numbers only; the process was started here.
        unsafe { libc::kill(printed.parse().expect("its id"), libc::SIGKILL) };
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        assert_eq!(shell("yes", Duration::from_millis(10)).0, None);
        assert_eq!(shell("exec sleep 1000", Duration::ZERO).0, None);
    }
}
