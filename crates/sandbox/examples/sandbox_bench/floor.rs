//! What the kernel alone takes for what a sandbox is made of: the same namespaces and as many mounts, by nothing but system calls.

use std::ffi::{CStr, CString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::Times;

/// The file systems and files of a bare sandbox, and how long making it took.
pub(crate) struct Floor {
    dir: PathBuf,
    steps: Vec<Step>,
    root: CString,
    pub(crate) times: Times,
}

/// One thing that is made, or a setting that is written.
enum Step {
    Mount { source: CString, at: CString, kind: CString, flags: libc::c_ulong, options: CString },
    Directory(CString),
    File(CString),
    Setting(CString),
}

/// What is hidden of `/proc`, and the devices: as many as in a sandbox.
const HIDDEN: &[&str] = &[
    "config.gz",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "pagetypeinfo",
    "sched_debug",
    "slabinfo",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];
const HIDDEN_DIRECTORIES: &[&str] = &["acpi", "asound", "bus", "driver", "dynamic_debug", "fs", "irq", "scsi"];
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];
/// The namespaces of which no more may be made.
const NAMESPACES: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

impl Floor {
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let dir = dir.join("floor");
        for name in ["lower/usr", "lower/proc", "lower/dev", "lower/run", "lower/tmp", "upper", "root"] {
            std::fs::create_dir_all(dir.join(name))?;
        }
        let root = dir.join("root");
        let at = |name: &str| text(&root.join(name));
        let options =
            ["lower", "upper", "work"].map(|name| format!("{name}dir={}", dir.join(name).display())).join(",");
        let none = || CString::default();
        let mount = |source: &str, at: CString, kind: &str, flags: libc::c_ulong, options: &str| Step::Mount {
            source: text(Path::new(source)),
            at,
            kind: text(Path::new(kind)),
            flags,
            options: text(Path::new(options)),
        };
        let bind = |source: &Path, at: CString| Step::Mount {
            source: text(source),
            at,
            kind: none(),
            flags: libc::MS_BIND,
            options: none(),
        };
        let read_only = |at: CString| {
            mount("", at, "", libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV, "")
        };
        let plain = libc::MS_NOSUID | libc::MS_NODEV;
        let mut steps = vec![
            mount("", text(Path::new("/")), "", libc::MS_REC | libc::MS_PRIVATE, ""),
            mount("overlay", text(&root), "overlay", plain, &options),
            bind(Path::new("/usr"), at("usr")),
            read_only(at("usr")),
            mount("tmpfs", at("run"), "tmpfs", plain, ""),
            mount("tmpfs", at("tmp"), "tmpfs", plain, ""),
            mount("tmpfs", at("dev"), "tmpfs", plain, ""),
            Step::Directory(at("dev/shm")),
            Step::Directory(at("dev/pts")),
            mount("tmpfs", at("dev/shm"), "tmpfs", plain, ""),
            mount("devpts", at("dev/pts"), "devpts", libc::MS_NOSUID, "newinstance,ptmxmode=0666"),
            mount("proc", at("proc"), "proc", plain, ""),
        ];
        for device in DEVICES {
            steps.push(Step::File(at(&format!("dev/{device}"))));
            steps.push(bind(&Path::new("/dev").join(device), at(&format!("dev/{device}"))));
        }
        let there = |name: &&&str| Path::new("/proc").join(name).exists();
        steps.extend(HIDDEN.iter().filter(there).map(|name| bind(Path::new("/dev/null"), at(&format!("proc/{name}")))));
        let hidden = HIDDEN_DIRECTORIES.iter().filter(there);
        steps.extend(hidden.map(|name| bind(&root.join("run"), at(&format!("proc/{name}")))));
        steps.extend(NAMESPACES.iter().map(|kind| Step::Setting(at(&format!("proc/sys/user/max_{kind}_namespaces")))));
        steps.extend([bind(&root.join("proc/sys"), at("proc/sys")), read_only(at("proc/sys"))]);
        Ok(Self { steps, root: text(&root), dir, times: Times::default() })
    }

    /// Makes one, and ends it.
    pub(crate) fn make(&mut self) -> io::Result<()> {
        // An overlay wants its own each time.
        let work = self.dir.join("work");
        let _ = std::fs::remove_dir_all(&work);
        std::fs::create_dir(&work)?;
        let ((mapped, say_mapped), (ready, say_ready)) = (io::pipe()?, io::pipe()?);
        let began = Instant::now();
        let flags = libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWIPC
            | libc::SIGCHLD;
        // SAFETY: the child makes nothing but system calls, with what was made ready before, and ends.
        let child = match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                let made = io::Read::read_exact(&mut &mapped, &mut [0]).and_then(|()| self.live());
                let said = made.and_then(|()| io::Write::write_all(&mut &say_ready, b"1"));
                // SAFETY: ends the child.
                unsafe {
                    if said.is_ok() {
                        libc::pause();
                    }
                    libc::_exit(1)
                }
            }
            child => child as i32,
        };
        drop((mapped, say_ready));
        let map = |name: &str| std::fs::write(format!("/proc/{child}/{name}"), "0 0 65536");
        let made = map("uid_map")
            .and_then(|()| map("gid_map"))
            .and_then(|()| io::Write::write_all(&mut &say_mapped, b"1"))
            .and_then(|()| io::Read::read_exact(&mut &ready, &mut [0]));
        let took = began.elapsed();
        // SAFETY: the child is ours and not yet waited for.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        made.map(|()| self.times.0.push(took))
    }

    /// What its first process does.
    fn live(&self) -> io::Result<()> {
        self.steps.iter().try_for_each(Step::take)?;
        let (name, this) = (c"sandbox", c".");
        // SAFETY: all that is passed lives across the calls, which change this process alone.
        unsafe {
            check(libc::chdir(self.root.as_ptr()).into())?;
            check(libc::syscall(libc::SYS_pivot_root, this.as_ptr(), this.as_ptr()))?;
            check(libc::umount2(this.as_ptr(), libc::MNT_DETACH).into())?;
            check(libc::sethostname(name.as_ptr(), name.count_bytes()).into())
        }
    }
}

impl Step {
    fn take(&self) -> io::Result<()> {
        // SAFETY: the texts live across the calls, which change this process's namespaces alone.
        unsafe {
            match self {
                Self::Mount { source, at, kind, flags, options } => {
                    let options = options.as_ptr().cast();
                    check(libc::mount(source.as_ptr(), at.as_ptr(), kind.as_ptr(), *flags, options).into())
                }
                Self::Directory(at) => check(libc::mkdir(at.as_ptr(), 0o755).into()),
                Self::File(at) => write(at, libc::O_CREAT, b""),
                Self::Setting(at) => write(at, 0, b"0"),
            }
        }
    }
}

fn write(at: &CStr, flags: libc::c_int, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the text and the bytes live across the calls, and the descriptor is new.
    unsafe {
        let file = libc::open(at.as_ptr(), flags | libc::O_WRONLY | libc::O_CLOEXEC, 0o666);
        check(file.into())?;
        let wrote =
            if bytes.is_empty() { Ok(()) } else { check(libc::write(file, bytes.as_ptr().cast(), bytes.len()) as _) };
        libc::close(file);
        wrote
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn text(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).expect("it has no zero byte")
}
