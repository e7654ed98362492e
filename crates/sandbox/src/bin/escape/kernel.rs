//! The kernel's privileged and rarely looked-at interfaces, and what it tells of itself.

use std::fs::OpenOptions;
use std::io;

use crate::calls::{call, judge, open_kernel_file};
use crate::case::{Input, Outcome};

pub(crate) fn io_uring(_: &Input) -> Outcome {
    let mut parameters = [0u64; 32];
    judge("a ring is made", call(libc::SYS_io_uring_setup, [1, parameters.as_mut_ptr() as usize]))
}

pub(crate) fn bpf(_: &Input) -> Outcome {
    // BPF_MAP_CREATE of an array with one element of eight bytes.
    let attributes: [u32; 16] = [2, 4, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let made = call(libc::SYS_bpf, [0, attributes.as_ptr() as usize, size_of_val(&attributes)]);
    unless_everywhere("/proc/sys/kernel/unprivileged_bpf_disabled", &["1", "2"], judge("a map is made", made))
}

pub(crate) fn userfaultfd(_: &Input) -> Outcome {
    const USER_MODE_ONLY: usize = 1;
    judge("it is made", call(libc::SYS_userfaultfd, [USER_MODE_ONLY]))
}

pub(crate) fn perf(_: &Input) -> Outcome {
    // A software counter of this process's own time, without the kernel.
    let mut attributes = [0u64; 16];
    attributes[0] = 1 | (128 << 32);
    attributes[1] = 1;
    attributes[5] = 1 << 5 | 1 << 6;
    let opened = call(libc::SYS_perf_event_open, [attributes.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0]);
    unless_everywhere("/proc/sys/kernel/perf_event_paranoid", &["3", "4"], judge("a counter is open", opened))
}

pub(crate) fn keyctl(_: &Input) -> Outcome {
    const GET_KEYRING_ID: usize = 0;
    const SESSION: i32 = -3;
    judge("the session's keys are found", call(libc::SYS_keyctl, [GET_KEYRING_ID, SESSION as usize, 0]))
}

pub(crate) fn add_key(_: &Input) -> Outcome {
    const PROCESS: i32 = -2;
    let (kind, name) = (c"user", c"tenure-escape");
    let added = call(
        libc::SYS_add_key,
        [kind.as_ptr() as usize, name.as_ptr() as usize, name.as_ptr() as usize, name.count_bytes(), PROCESS as usize],
    );
    judge("a key is kept by the kernel", added)
}

/// The keys of a session come along to every process that is forked, whoever it becomes.
pub(crate) fn host_key(input: &Input) -> Outcome {
    const SEARCH: usize = 10;
    const SESSION: i32 = -3;
    let Ok(name) = std::ffi::CString::new(input.nonce.as_str()) else {
        return Outcome::Broken("the name has a zero byte".to_owned());
    };
    let found =
        call(libc::SYS_keyctl, [SEARCH, SESSION as usize, c"user".as_ptr() as usize, name.as_ptr() as usize, 0]);
    match found {
        Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => Outcome::Blocked("ENOKEY".to_owned()),
        found => judge("the key is found", found),
    }
}

/// Nothing is loaded: the arguments are those of an empty image, which is refused for its own sake where it is allowed.
pub(crate) fn kexec(_: &Input) -> Outcome {
    or_got_through(call(libc::SYS_kexec_load, [0, usize::MAX, 0, usize::MAX]))
}

pub(crate) fn load_module(_: &Input) -> Outcome {
    or_got_through(call(libc::SYS_init_module, [0, 0, c"".as_ptr() as usize]))
}

fn or_got_through(result: io::Result<usize>) -> Outcome {
    match judge("it is done", result) {
        Outcome::Broken(error) => Outcome::Reached(format!("it only fails: {error}")),
        outcome => outcome,
    }
}

pub(crate) fn dmesg(_: &Input) -> Outcome {
    const READ_ALL: usize = 3;
    let mut text = vec![0u8; 4096];
    let read = call(libc::SYS_syslog, [READ_ALL, text.as_mut_ptr() as usize, text.len()]);
    unless_everywhere("/proc/sys/kernel/dmesg_restrict", &["1"], judge("the kernel's log is read", read))
}

/// Where a setting of the host forbids it to everybody, that can be seen only where the sandbox doesn't forbid it itself,
/// and so only in a control.
fn unless_everywhere(setting: &str, values: &[&str], outcome: Outcome) -> Outcome {
    let is_off = std::fs::read_to_string(setting).is_ok_and(|value| values.contains(&value.trim()));
    let is_filtered = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("Seccomp:\t2"));
    match outcome {
        Outcome::Blocked(_) if is_off && !is_filtered => {
            Outcome::NotApplicable(format!("{setting} forbids it everywhere"))
        }
        outcome => outcome,
    }
}

fn read(path: &str) -> Outcome {
    open_kernel_file(path, OpenOptions::new().read(true))
}

pub(crate) fn kcore(_: &Input) -> Outcome {
    read("/proc/kcore")
}

pub(crate) fn kmsg(_: &Input) -> Outcome {
    match read("/proc/kmsg") {
        Outcome::Blocked(_) | Outcome::NotApplicable(_) => judge("/dev/kmsg is open", std::fs::File::open("/dev/kmsg")),
        reached => reached,
    }
}

pub(crate) fn kallsyms(_: &Input) -> Outcome {
    read("/proc/kallsyms")
}

pub(crate) fn keys(_: &Input) -> Outcome {
    read("/proc/keys")
}

pub(crate) fn timers(_: &Input) -> Outcome {
    read("/proc/timer_list")
}

pub(crate) fn config(_: &Input) -> Outcome {
    read("/proc/config.gz")
}

/// What hides the files above must be what it should be: the null device, which gives nothing and takes everything, and
/// nothing that somebody put in its place.
pub(crate) fn masks(_: &Input) -> Outcome {
    use std::os::unix::fs::MetadataExt;
    const NULL: u64 = 0x103;
    for name in ["kcore", "kallsyms", "keys", "sysrq-trigger", "timer_list"] {
        match std::fs::symlink_metadata(format!("/proc/{name}")) {
            Ok(found) if found.rdev() == NULL => {}
            Ok(_) => return Outcome::Reached(format!("/proc/{name} is not hidden by the null device")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return judge("", Err::<(), _>(error)),
        }
    }
    for name in ["acpi", "bus", "fs", "irq", "scsi"] {
        if std::fs::read_dir(format!("/proc/{name}")).is_ok_and(|mut entries| entries.next().is_some()) {
            return Outcome::Reached(format!("/proc/{name} is not empty"));
        }
    }
    Outcome::Blocked("all as they should be".to_owned())
}

fn socket(family: i32, kind: i32, protocol: i32) -> Outcome {
    let made = call(libc::SYS_socket, [family as usize, kind as usize, protocol as usize]);
    judge("a socket is made", made)
}

pub(crate) fn vsock(_: &Input) -> Outcome {
    socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
}

pub(crate) fn packet(_: &Input) -> Outcome {
    socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
}

pub(crate) fn raw(_: &Input) -> Outcome {
    socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
}

pub(crate) fn alg(_: &Input) -> Outcome {
    socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)
}

pub(crate) fn xdp(_: &Input) -> Outcome {
    socket(libc::AF_XDP, libc::SOCK_RAW, 0)
}

pub(crate) fn xfrm(_: &Input) -> Outcome {
    const XFRM: i32 = 6;
    socket(libc::AF_NETLINK, libc::SOCK_RAW, XFRM)
}

pub(crate) fn uevents(_: &Input) -> Outcome {
    const KOBJECT_UEVENT: i32 = 15;
    socket(libc::AF_NETLINK, libc::SOCK_RAW, KOBJECT_UEVENT)
}

/// Protocols of the internet that few use, and whose code is loaded when somebody does.
pub(crate) fn rare_protocol(_: &Input) -> Outcome {
    const MPTCP: i32 = 262;
    match socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP) {
        Outcome::NotApplicable(_) => socket(libc::AF_INET, libc::SOCK_STREAM, MPTCP),
        outcome => outcome,
    }
}

/// Pairs are made by another call, which must not be a way around.
pub(crate) fn pair(_: &Input) -> Outcome {
    let mut pair = [0i32; 2];
    let made = call(
        libc::SYS_socketpair,
        [libc::AF_TIPC as usize, libc::SOCK_SEQPACKET as usize, 0, pair.as_mut_ptr() as usize],
    );
    judge("a pair is made", made)
}
