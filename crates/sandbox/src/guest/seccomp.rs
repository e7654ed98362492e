//! The system calls that tools may make. Whatever isn't on the list answers ENOSYS, as from a kernel that lacks it, so
//! that libraries fall back; what is known and refused answers EPERM.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use super::bpf_list;
use crate::supervisor::Standing;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// Allowed whatever their arguments. Not here, on purpose: `clone3` (its flags can't be seen; ENOSYS makes libraries use
/// `clone`), `io_uring_*` and `userfaultfd` (attack surface), `socket` (by family, below).
const ALLOWED: &[libc::c_long] = calls! {
    SYS_accept SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_getres SYS_clock_gettime
    SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group
    SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown
    SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat
    SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_get_robust_list SYS_getcpu SYS_getcwd SYS_getdents64
    SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
    SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage SYS_getsid SYS_getsockname
    SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr SYS_inotify_add_watch SYS_inotify_init1
    SYS_inotify_rm_watch SYS_ioctl SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule SYS_landlock_create_ruleset
    SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek
    SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2
    SYS_mlockall SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
    SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall SYS_munmap
    SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc
    SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_pselect6
    SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg
    SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction
    SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
    SYS_rt_tgsigqueueinfo SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity SYS_sched_setattr
    SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile
    SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_set_robust_list SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid
    SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid
    SYS_setrlimit SYS_setsid SYS_setsockopt SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
    SYS_sigaltstack SYS_signalfd4 SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range
    SYS_syncfs SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime
    SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate SYS_umask
    SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
};

/// What only older architectures have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = calls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old
    SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp SYS_inotify_init SYS_lchown
    SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select
    SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork
};
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Refused with EPERM, so that a program is told the truth rather than that the kernel is old.
const REFUSED: &[libc::c_long] = calls! {
    SYS_acct SYS_add_key SYS_adjtimex SYS_bpf SYS_chroot SYS_clock_adjtime SYS_clock_settime SYS_delete_module
    SYS_fanotify_init SYS_finit_module SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_init_module SYS_kcmp
    SYS_kexec_file_load SYS_kexec_load SYS_keyctl SYS_lookup_dcookie SYS_migrate_pages SYS_mount SYS_mount_setattr
    SYS_move_mount SYS_move_pages SYS_name_to_handle_at SYS_nfsservctl SYS_open_by_handle_at SYS_open_tree
    SYS_perf_event_open SYS_pidfd_getfd SYS_pivot_root SYS_process_madvise SYS_process_vm_readv SYS_process_vm_writev
    SYS_ptrace SYS_quotactl SYS_quotactl_fd SYS_reboot SYS_request_key SYS_setdomainname SYS_sethostname SYS_setns
    SYS_settimeofday SYS_swapoff SYS_swapon SYS_syslog SYS_umount2 SYS_unshare SYS_userfaultfd SYS_vhangup
};

/// The filters, compiled by the supervisor for all who come from it.
static FILTERS: OnceLock<[BpfProgram; 2]> = OnceLock::new();

/// Compiles the filters.
pub(crate) fn prepare() -> io::Result<()> {
    let filters = compile().map_err(io::Error::other)?;
    let _ = FILTERS.set(filters);
    Ok(())
}

/// Installs the filters on this thread, the only one, and so on all that come from it.
pub(crate) fn install() -> io::Result<()> {
    for program in FILTERS.get().ok_or_else(|| io::Error::other("the filters were not prepared"))? {
        apply_filter(program).map_err(io::Error::other)?;
    }
    Ok(())
}

fn compile() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let allowed = ALLOWED.iter().chain(ALLOWED_HERE).copied();
    let allowed = allowed.chain([libc::SYS_clone, libc::SYS_socket, libc::SYS_socketpair, libc::SYS_personality]);
    let answers = allowed
        .map(|call| (call as u32, bpf_list::ALLOWED))
        .chain(REFUSED.iter().map(|call| (*call as u32, bpf_list::REFUSED)))
        .collect();

    // What is refused because of its arguments: seccompiler compares one call after the other, so it should be few.
    let mut refused: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    refused.insert(
        libc::SYS_clone,
        NAMESPACE_FLAGS.iter().map(|flag| has_flag(0, *flag as u64)).collect::<Result<_, _>>()?,
    );
    refused.insert(libc::SYS_socket, refused_sockets()?);
    let other_pairs = compare(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64)?;
    refused.insert(libc::SYS_socketpair, vec![SeccompRule::new(vec![other_pairs])?]);
    // 0: Linux; 8: Linux with 4 GiB of address space; the last asks only. Others bring back old weaknesses.
    let other_personalities = [0, 8, 0xffff_ffff].map(|allowed| compare(0, SeccompCmpOp::Ne, allowed));
    refused.insert(
        libc::SYS_personality,
        vec![SeccompRule::new(other_personalities.into_iter().collect::<Result<_, _>>()?)?],
    );
    // Typing into the terminal of someone else.
    let typing =
        [libc::TIOCSTI, libc::TIOCLINUX].map(|request| SeccompRule::new(vec![compare(1, SeccompCmpOp::Eq, request)?]));
    refused.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    if !Standing::ours().has_own_users() {
        for (call, rules) in calls_at_the_keeper()? {
            refused.entry(call).or_default().extend(rules);
        }
    }
    let refusing = SeccompFilter::new(refused, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), ARCH)?;
    Ok([bpf_list::answers(&answers, AUDIT_ARCH), BpfProgram::try_from(refusing)?])
}

const NAMESPACE_FLAGS: &[libc::c_int] = &[
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Every family but UNIX, INET and INET6, and NETLINK for routes. Above all AF_VSOCK, which no namespace confines, and
/// AF_ALG, AF_PACKET and the rest, which are kernel code that few have looked at. Of the internet's protocols likewise those
/// that programs use.
fn refused_sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let family = |operator, value: i32| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value as u64);
    let netlink_but_routes = SeccompRule::new(vec![
        family(SeccompCmpOp::Eq, libc::AF_NETLINK)?,
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, libc::NETLINK_ROUTE as u64)?,
    ])?;
    let others = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]
        .map(|allowed| family(SeccompCmpOp::Ne, allowed));
    let raw = SeccompRule::new(vec![
        family(SeccompCmpOp::Ne, libc::AF_NETLINK)?,
        compare(1, SeccompCmpOp::MaskedEq(KIND_OF_SOCKET), libc::SOCK_RAW as u64)?,
    ])?;
    let mut rules = vec![netlink_but_routes, raw, SeccompRule::new(others.into_iter().collect::<Result<_, _>>()?)?];
    for internet in [libc::AF_INET, libc::AF_INET6] {
        let mut conditions = vec![family(SeccompCmpOp::Eq, internet)?];
        for protocol in PROTOCOLS {
            conditions.push(compare(2, SeccompCmpOp::Ne, *protocol as u64)?);
        }
        rules.push(SeccompRule::new(conditions)?);
    }
    Ok(rules)
}

/// The bits of a socket's type that are not flags.
const KIND_OF_SOCKET: u64 = 0xf;
/// 0: the usual one of the type.
const PROTOCOLS: &[libc::c_int] = &[0, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6];

/// Where keeper and tools are one user, the kernel would let tools do these to it: PID 1, which would heed no signal, but
/// could lose its limits, and so its record.
fn calls_at_the_keeper() -> Result<Vec<(i64, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let rule = |conditions: Vec<Result<_, _>>| SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?);
    let first_is_keeper = || rule(vec![compare(0, SeccompCmpOp::Eq, KEEPER)]);
    let mut rules = [
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_pidfd_open,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_prlimit64,
    ]
    .map(|call| Ok((call, vec![first_is_keeper()?])))
    .into_iter()
    .collect::<Result<Vec<_>, seccompiler::BackendError>>()?;
    // It takes a process's directory in `/proc` as well, which anyone may open, and doesn't show whose.
    rules.push((libc::SYS_pidfd_send_signal, Vec::new()));
    // By its id, however the call names what sort of id that is.
    for call in [libc::SYS_setpriority, libc::SYS_ioprio_set] {
        rules.push((call, vec![rule(vec![compare(1, SeccompCmpOp::Eq, KEEPER)])?]));
    }
    Ok(rules)
}

/// What a keeper is called in its own namespace.
const KEEPER: u64 = 1;

fn compare(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn has_flag(argument: u8, flag: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(flag),
        flag,
    )?])
}

#[cfg(test)]
mod tests {
    use super::{ALLOWED, ALLOWED_HERE, REFUSED, compile};

    #[test]
    fn the_filters_compile() {
        compile().expect("filters");
    }

    #[test]
    fn no_call_is_both_allowed_and_refused_or_named_twice() {
        let mut seen: Vec<_> = ALLOWED.iter().chain(ALLOWED_HERE).chain(REFUSED).collect();
        let named = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), named);
    }
}
