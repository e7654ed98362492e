//! Other processes: looking into them, stopping them, taking what they have.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use crate::calls::{call, judge, others, word};
use crate::case::{Input, Outcome};

/// Opens this of every process that is not of this program or of a tool's, and says of which that worked. A process of the
/// sandbox itself runs a program that no file in the sandbox is.
fn open_of_guests(name: &str, write: bool) -> Outcome {
    let mut met = None;
    for pid in others().into_iter().filter(|pid| *pid != 1) {
        match OpenOptions::new().read(!write).write(write).open(format!("/proc/{pid}/{name}")) {
            // What a tool runs is a file in the sandbox.
            Ok(_) if is_tool(pid) => {}
            Ok(_) => return Outcome::Reached(format!("/proc/{pid}/{name} is open")),
            Err(error) => met = Some(error),
        }
    }
    match met {
        Some(error) => judge("", Err::<(), _>(error)),
        None => Outcome::Broken("no process of the sandbox itself is seen".to_owned()),
    }
}

fn is_tool(pid: i32) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/exe"));
    link.is_ok_and(|link| std::fs::metadata(&link).is_ok())
}

/// The first process that can be seen, is not the first of all, and is of the sandbox itself, not of a tool.
fn executor() -> Option<i32> {
    others().into_iter().filter(|pid| *pid != 1).find(|pid| !is_tool(*pid))
}

/// Where this program is itself the first process, there is no other to get hold of.
pub(crate) fn of_the_keeper(attempt: impl FnOnce() -> Outcome) -> Outcome {
    match std::process::id() {
        1 => Outcome::NotApplicable("this program is itself process 1".to_owned()),
        _ => attempt(),
    }
}

pub(crate) fn program_of_the_keeper(_: &Input) -> Outcome {
    of_the_keeper(|| judge("/proc/1/exe is open", File::open("/proc/1/exe")))
}

pub(crate) fn program_of_the_executor(_: &Input) -> Outcome {
    open_of_guests("exe", false)
}

pub(crate) fn environment_of_the_executor(_: &Input) -> Outcome {
    open_of_guests("environ", false)
}

pub(crate) fn descriptors_of_the_executor(_: &Input) -> Outcome {
    let mut met = None;
    for pid in others().into_iter().filter(|pid| *pid != 1 && !is_tool(*pid)) {
        match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(_) => return Outcome::Reached(format!("/proc/{pid}/fd is open")),
            Err(error) => met = Some(error),
        }
    }
    judge("", Err::<(), _>(met.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))))
}

pub(crate) fn memory_of_the_executor(_: &Input) -> Outcome {
    open_of_guests("mem", true)
}

pub(crate) fn memory_of_the_keeper(_: &Input) -> Outcome {
    of_the_keeper(|| judge("/proc/1/mem is open", OpenOptions::new().write(true).open("/proc/1/mem")))
}

pub(crate) fn trace_the_keeper(_: &Input) -> Outcome {
    of_the_keeper(|| seize(1))
}

pub(crate) fn trace_the_executor(_: &Input) -> Outcome {
    executor().map_or_else(|| Outcome::Broken("no executor is seen".to_owned()), seize)
}

/// Attaches without stopping it, and lets go by ending.
fn seize(pid: i32) -> Outcome {
    const SEIZE: usize = 0x4206;
    judge(&format!("process {pid} is traced"), call(libc::SYS_ptrace, [SEIZE, pid as usize, 0, 0]))
}

pub(crate) fn read_the_executor(_: &Input) -> Outcome {
    let Some(pid) = executor() else { return Outcome::Broken("no executor is seen".to_owned()) };
    let mut byte = 0u8;
    // A constant of this program is at another place in that one; what counts is whether asking is allowed.
    let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: 4096 as *mut libc::c_void, iov_len: 1 };
    let read = call(
        libc::SYS_process_vm_readv,
        [pid as usize, (&raw const local) as usize, 1, (&raw const remote) as usize, 1, 0],
    );
    match read {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
            Outcome::Reached(format!("process {pid} is looked into"))
        }
        read => judge("it is read", read),
    }
}

/// Asks whether it could be signalled; no signal is sent.
pub(crate) fn signal_the_keeper(_: &Input) -> Outcome {
    of_the_keeper(|| judge("process 1 takes signals", call(libc::SYS_kill, [1, 0])))
}

/// The kernel looks at half of the number alone.
const WIDE: usize = 1 << 32;

pub(crate) fn signal_the_keeper_by_a_wide_number(_: &Input) -> Outcome {
    of_the_keeper(|| judge("process 1 takes signals", call(libc::SYS_kill, [WIDE | 1, 0])))
}

/// A process's directory in `/proc` serves in place of a descriptor of the process.
pub(crate) fn signal_the_keeper_by_its_directory(_: &Input) -> Outcome {
    let asked = || {
        let directory = File::open("/proc/1")?;
        call(libc::SYS_pidfd_send_signal, [directory.as_raw_fd() as usize, 0, 0, 0])
    };
    of_the_keeper(|| judge("process 1 takes signals", asked()))
}

/// Sets a limit to what it is, which takes the same right as another value.
pub(crate) fn limit_the_keeper(_: &Input) -> Outcome {
    of_the_keeper(|| {
        let resource = libc::RLIMIT_CORE as usize;
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let set = |pid: usize| call(libc::SYS_prlimit64, [pid, resource, (&raw const none) as usize, 0]);
        judge("a limit of process 1 is set", set(1).or_else(|_| set(WIDE | 1)))
    })
}

/// Opens what says so; nothing is written.
pub(crate) fn offer_the_keeper(_: &Input) -> Outcome {
    let open = || OpenOptions::new().write(true).open("/proc/1/oom_score_adj");
    of_the_keeper(|| judge("/proc/1/oom_score_adj is open for writing", open()))
}

/// It can't be undone, but the sandbox goes with this.
pub(crate) fn slow_the_keeper(_: &Input) -> Outcome {
    of_the_keeper(|| {
        let priority = || call(libc::SYS_getpriority, [libc::PRIO_PROCESS as usize, 1]);
        let slowed = || {
            let before = priority()?;
            let lowered = call(libc::SYS_setpriority, [libc::PRIO_USER as usize, 0, 19]);
            let lowered = lowered.or_else(|_| call(libc::SYS_setpriority, [WIDE | libc::PRIO_USER as usize, 0, 19]));
            // Who may not lower that of others has lowered its own.
            match (lowered, priority()?) {
                (Ok(_), after) if after == before => Err(io::Error::from_raw_os_error(libc::EPERM)),
                (lowered, _) => lowered,
            }
        };
        judge("process 1 has less priority", slowed())
    })
}

pub(crate) fn signal_a_process_of_the_host(input: &Input) -> Outcome {
    judge("a process of the host takes signals", call(libc::SYS_kill, [input.process as usize, 0]))
}

pub(crate) fn shared_memory(input: &Input) -> Outcome {
    let found = call(libc::SYS_shmget, [input.shared_memory as usize, 0, 0]);
    let read = found.and_then(|id| call(libc::SYS_shmat, [id, 0, libc::SHM_RDONLY as usize]));
    match read {
        Ok(at) => {
            // SAFETY: the segment is attached here and longer than the nonce.
            let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, input.nonce.len()) };
            match bytes == input.nonce.as_bytes() {
                true => Outcome::Reached("memory of the host is read".to_owned()),
                false => Outcome::Broken("other memory is read".to_owned()),
            }
        }
        Err(error) => judge("", Err::<(), _>(error)),
    }
}

/// Says that it is here, and stays until somebody ends it.
pub(crate) fn linger() -> ! {
    use std::io::Write;
    let _ = writeln!(io::stdout(), "here");
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

fn raise(resource: libc::__rlimit_resource_t) -> Outcome {
    // SAFETY: the structure is a place to write to, and then one to read from.
    let raised = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(resource, &raw mut limit);
        if limit.rlim_max == libc::RLIM_INFINITY {
            return Outcome::NotApplicable("there is no limit to raise".to_owned());
        }
        limit.rlim_max += 1;
        libc::setrlimit(resource, &raw const limit)
    };
    match raised {
        0 => Outcome::Reached("the limit is raised".to_owned()),
        _ => Outcome::Blocked(word(&io::Error::last_os_error())),
    }
}

pub(crate) fn raise_files(_: &Input) -> Outcome {
    raise(libc::RLIMIT_NOFILE)
}

pub(crate) fn raise_cores(_: &Input) -> Outcome {
    raise(libc::RLIMIT_CORE)
}
