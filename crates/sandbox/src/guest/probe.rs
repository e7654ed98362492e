//! The part of `probe` that runs inside a sandbox and tries to get out.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::landlock;
use crate::supervisor::{AGENT, RANGE, SANDBOX_BASE, Standing};

/// What the op is called.
pub(crate) const NAME: &str = "tenure.probe";

/// What the op is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Input {
    /// A file of the host, made for the purpose.
    pub(crate) host_file: String,
}

/// What it found, one for each attempt.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) holds: bool,
    pub(crate) seen: String,
    /// What to do about something that holds but is weaker than it could be; nothing otherwise.
    #[serde(default)]
    pub(crate) stronger_by: String,
}

/// `Ok` says what was seen where isolation holds, `Err` where it doesn't.
type Seen = Result<String, String>;

type Attempt = fn(&Input) -> Seen;

/// Every attempt, with the sentence that holds if it fails as it should.
const ATTEMPTS: &[(&str, Attempt)] = &[
    ("the workspace can be written (control)", workspace_is_writable),
    ("the loopback device works (control)", loopback_works),
    ("files of the host can't be seen", host_file_is_absent),
    ("tools have their own users and no capabilities", users_are_own),
    ("system calls are filtered", calls_are_filtered),
    ("mounting is refused", |_| refused("mount", mount_tmpfs())),
    ("new namespaces are refused", namespaces_are_refused),
    ("namespaces of others can't be entered", |_| refused("setns", call(libc::SYS_setns, [0, 0, 0]))),
    ("there is no way out by network", network_ends_here),
    ("there is no way to the machine's hypervisor or raw devices", sockets_are_few),
    ("kernel settings can't be written", settings_are_read_only),
    ("kernel memory and logs can't be read", kernel_is_hidden),
    ("the kernel's privileged interfaces are refused", interfaces_are_refused),
    ("the keeper can't be looked into", keeper_is_closed),
    ("no descriptor of the host came along", descriptors_are_few),
    ("set-user-id files and device files have no effect", mounts_are_plain),
];

/// Makes every attempt and writes what came of them.
pub(crate) fn run(input: &[u8], out: &mut dyn Write) -> i32 {
    let Ok(input) = serde_json::from_slice::<Input>(input) else { return 2 };
    let attempts = ATTEMPTS.iter().map(|(name, attempt)| Finding::new(name, attempt(&input)));
    let findings: Vec<Finding> = attempts.chain([strangers_to_the_host(), second_fence()]).collect();
    match serde_json::to_writer(out, &findings) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Makes those attempts that change nothing when they succeed.
pub(crate) fn run_harmless(out: &mut dyn Write) {
    let harmless = [
        users_are_own,
        calls_are_filtered,
        kernel_is_hidden,
        settings_are_read_only,
        sockets_are_few,
        mounts_are_plain,
    ];
    let input = Input { host_file: String::new() };
    for attempt in harmless {
        let finding = Finding::new("", attempt(&input));
        let _ = serde_json::to_writer(&mut *out, &finding).map(|()| out.write_all(b"\n"));
    }
}

impl Finding {
    fn new(name: &str, seen: Seen) -> Self {
        let holds = seen.is_ok();
        let seen = seen.unwrap_or_else(|seen| seen);
        Self { name: name.to_owned(), holds, seen, stronger_by: String::new() }
    }
}

/// What is weaker for an ordinary user.
pub(crate) const STRANGERS: &str = "to the host, tools are users that own nothing else";

/// Whether there is more than the other fences between tools and the files of who runs them.
fn strangers_to_the_host() -> Finding {
    let name = STRANGERS;
    match Standing::ours() {
        Standing::Root => Finding::new(name, Ok("each sandbox has a range of its own".to_owned())),
        Standing::Given => {
            Finding::new(name, Ok("they are ids that were given to this user, the same in all sandboxes".to_owned()))
        }
        Standing::One => Finding {
            stronger_by: "run Tenure as root, where that is an option".to_owned(),
            ..Finding::new(
                name,
                Ok("they are the user that runs Tenure, and in its groups, and own all files of an image; the other fences stand".to_owned()),
            )
        },
    }
}

/// What a kernel may have or lack, by its version.
fn second_fence() -> Finding {
    let name = "files and processes have a second fence, Landlock";
    let version = landlock::version();
    let has = match version {
        0 | 1 => {
            let seen = format!("this kernel has version {version}, and 2 is needed; the other fences stand");
            let fix = "use a kernel with CONFIG_SECURITY_LANDLOCK, and name `landlock` in `lsm=` on its command line";
            return Finding { stronger_by: fix.to_owned(), ..Finding::new(name, Ok(seen)) };
        }
        2..=4 => "files (devices from version 5 on, signals and abstract sockets from version 6 on)",
        5 => "files and devices (signals and abstract sockets from version 6 on)",
        _ => "files, devices, signals and abstract sockets",
    };
    // Its user may write this file, and Landlock forbids it.
    match File::options().write(true).open("/proc/self/comm") {
        Ok(_) => Finding::new(name, Err(format!("version {version}, but /proc/self/comm can be opened for writing"))),
        Err(_) => Finding::new(name, Ok(format!("version {version}: {has}"))),
    }
}

fn workspace_is_writable(_: &Input) -> Seen {
    let path = "/workspace/.tenure-probe";
    std::fs::write(path, b"1").and_then(|()| std::fs::remove_file(path)).map_err(|error| error.to_string())?;
    Ok("written".to_owned())
}

fn loopback_works(_: &Input) -> Seen {
    let connected = || -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        TcpStream::connect(listener.local_addr()?).map(drop)
    };
    connected().map(|()| "connected".to_owned()).map_err(|error| error.to_string())
}

fn host_file_is_absent(input: &Input) -> Seen {
    for path in [
        input.host_file.clone(),
        format!("/proc/1/root{}", input.host_file),
        format!("/proc/1/cwd/..{}", input.host_file),
    ] {
        if File::open(&path).is_ok() {
            return Err(format!("{path} could be opened"));
        }
    }
    for path in ["/etc/shadow", "/root/.ssh", "/etc/ssh"] {
        if std::fs::metadata(path).is_ok() {
            return Err(format!("{path} is there"));
        }
    }
    Ok("not there".to_owned())
}

fn users_are_own(_: &Input) -> Seen {
    let status = read("/proc/self/status")?;
    let field = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t")).unwrap_or("?").to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        if !field(set).trim_matches('0').is_empty() {
            return Err(format!("{set} is {}", field(set)));
        }
    }
    if field("NoNewPrivs") != "1" || field("Uid") != format!("{AGENT}\t{AGENT}\t{AGENT}\t{AGENT}") {
        return Err(format!("NoNewPrivs is {}, Uid {}", field("NoNewPrivs"), field("Uid")));
    }
    let map = read("/proc/self/uid_map")?;
    let numbers: Vec<u32> = map.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match (Standing::ours(), numbers.as_slice()) {
        (Standing::Root, [0, base, RANGE]) if *base >= SANDBOX_BASE => Ok(format!("inner 0 is {base} on the host")),
        (Standing::One, [AGENT, AGENT, 1]) => Ok(format!("there is no user but {AGENT}")),
        (Standing::Given, [0, 0, RANGE]) => Ok("none of them is who runs Tenure".to_owned()),
        (Standing::Root | Standing::One | Standing::Given, _) => Err(format!("uid map is {}", map.trim())),
    }
}

fn calls_are_filtered(_: &Input) -> Seen {
    let status = read("/proc/self/status")?;
    match status.lines().any(|line| line == "Seccomp:\t2") {
        true => Ok("seccomp mode 2".to_owned()),
        false => Err("no seccomp filter".to_owned()),
    }
}

fn mount_tmpfs() -> io::Result<()> {
    Ok(rustix::mount::mount("tmpfs", "/tmp", "tmpfs", rustix::mount::MountFlags::empty(), None)?)
}

fn namespaces_are_refused(_: &Input) -> Seen {
    let flags = [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET, libc::CLONE_NEWPID];
    for flag in flags {
        refused("unshare", call(libc::SYS_unshare, [flag as usize, 0, 0]))?;
    }
    refused("clone", call(libc::SYS_clone, [(libc::CLONE_NEWUSER | libc::SIGCHLD) as usize, 0, 0]))?;
    refused("clone3", call(libc::SYS_clone3, [0, 0, 0]))?;
    match read("/proc/sys/user/max_user_namespaces")?.trim() {
        "0" => Ok("refused, and their number is limited to 0".to_owned()),
        other => Err(format!("max_user_namespaces is {other}")),
    }
}

fn network_ends_here(_: &Input) -> Seen {
    let devices = read("/proc/net/dev")?;
    let names: Vec<&str> = devices.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim).collect();
    if names != ["lo"] {
        return Err(format!("devices: {}", names.join(" ")));
    }
    // An address for documentation; without a route nothing is sent.
    let reached = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.connect("192.0.2.1:53"));
    if reached.is_ok() {
        return Err("there is a route to 192.0.2.1".to_owned());
    }
    let address = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
    match TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
        Err(error) => Ok(format!("only lo; {error}")),
        Ok(_) => Err("192.0.2.1 answered".to_owned()),
    }
}

fn sockets_are_few(_: &Input) -> Seen {
    const NETLINK_XFRM: i32 = 6;
    let wanted = [
        ("AF_VSOCK", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
        ("AF_PACKET", libc::AF_PACKET, libc::SOCK_RAW, 0),
        ("AF_ALG", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
        ("AF_XDP", libc::AF_XDP, libc::SOCK_RAW, 0),
        ("raw IP", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        ("NETLINK_XFRM", libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_XFRM),
    ];
    for (name, family, kind, protocol) in wanted {
        refused(name, call(libc::SYS_socket, [family as usize, kind as usize, protocol as usize]))?;
    }
    Ok("refused".to_owned())
}

fn settings_are_read_only(_: &Input) -> Seen {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sysrq-trigger",
        "/proc/sys/vm/overcommit_memory",
    ] {
        // `sysrq-trigger` is hidden behind the null device, which may be opened and does nothing.
        let opened = File::options().write(true).open(path);
        if opened.is_ok_and(|file| !is_null_device(&file)) {
            return Err(format!("{path} can be opened for writing"));
        }
    }
    for path in ["/sys/kernel", "/sys/fs/cgroup"] {
        if std::fs::metadata(path).is_ok() {
            return Err(format!("{path} is there"));
        }
    }
    Ok("read-only or not there".to_owned())
}

fn kernel_is_hidden(_: &Input) -> Seen {
    for path in ["/proc/kcore", "/proc/kallsyms", "/proc/keys", "/proc/timer_list", "/dev/mem"] {
        let mut byte = [0];
        if File::open(path)
            .is_ok_and(|mut file| !is_null_device(&file) && file.read(&mut byte).is_ok_and(|length| length > 0))
        {
            return Err(format!("{path} can be read"));
        }
    }
    refused("syslog", call(libc::SYS_syslog, [3, 0, 0]))
}

fn interfaces_are_refused(_: &Input) -> Seen {
    let calls = [
        ("bpf", libc::SYS_bpf),
        ("keyctl", libc::SYS_keyctl),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("init_module", libc::SYS_init_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("reboot", libc::SYS_reboot),
    ];
    calls.into_iter().try_for_each(|(name, number)| refused(name, call(number, [0, 0, 0])).map(drop))?;
    Ok("refused".to_owned())
}

fn keeper_is_closed(_: &Input) -> Seen {
    for name in ["exe", "root", "cwd", "fd/3", "environ", "mem", "maps", "ns/mnt"] {
        let path = format!("/proc/1/{name}");
        if File::open(&path).is_ok_and(|mut file| file.read(&mut [0]).is_ok()) {
            return Err(format!("{path} can be opened"));
        }
    }
    // SAFETY: takes numbers only; asks whether a signal could be sent, and sends none.
    match unsafe { libc::kill(1, 0) } {
        0 => Err("it can be signalled".to_owned()),
        _ => Ok("closed".to_owned()),
    }
}

fn descriptors_are_few(_: &Input) -> Seen {
    let mut open = Vec::new();
    for number in 0..1024 {
        if let Ok(target) = std::fs::read_link(format!("/proc/self/fd/{number}")) {
            open.push(format!("{number}: {}", target.display()));
        }
    }
    let foreign = open.iter().find(|entry| !["pipe:", "/dev/null", "/memfd:"].iter().any(|own| entry.contains(own)));
    match foreign {
        Some(entry) => Err(format!("descriptor {entry}")),
        None => Ok(format!("{} of the sandbox", open.len())),
    }
}

fn mounts_are_plain(_: &Input) -> Seen {
    let mounts = read("/proc/self/mountinfo")?;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(4);
        let (at, options) = (fields.next().unwrap_or("?"), fields.next().unwrap_or("?"));
        let has = |option: &str| options.split(',').any(|word| word == option);
        // Device files of ours are mounts below `/dev`, and one of them hides files below `/proc`.
        let is_expected = at.starts_with("/dev") || at.starts_with("/proc/") || (has("nosuid") && has("nodev"));
        if !is_expected {
            return Err(format!("{at} is mounted {options}"));
        }
    }
    Ok("every mount is nosuid and nodev".to_owned())
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn is_null_device(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    const NULL_DEVICE: u64 = 0x103;
    file.metadata().is_ok_and(|found| found.rdev() == NULL_DEVICE)
}

fn call(number: libc::c_long, arguments: [usize; 3]) -> io::Result<()> {
    // SAFETY: called with numbers, or null for pointers, only to see it refused; what would be made if it were not
    // goes with this process.
    let result = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2], 0, 0, 0) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        // A copy of this process that ought not to have come about.
        0 if number == libc::SYS_clone => std::process::exit(0),
        _ => Ok(()),
    }
}

/// Refused means refused: not that the arguments were wrong, which would come after permission was given.
fn refused(what: &str, outcome: io::Result<()>) -> Seen {
    match outcome {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::EACCES)) => {
            Ok(format!("{what}: {error}"))
        }
        Err(error) => Err(format!("{what} is not refused, only fails: {error}")),
        Ok(()) => Err(format!("{what} is allowed")),
    }
}
