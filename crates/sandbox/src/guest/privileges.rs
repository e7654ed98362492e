use std::io;

use crate::fences::Fence;
use crate::supervisor::Standing;

/// A bit for each capability: effective, permitted, inheritable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    effective: u64,
    permitted: u64,
    inheritable: u64,
}

impl Capabilities {
    /// None at all.
    pub(crate) const NONE: Self = Self { effective: 0, permitted: 0, inheritable: 0 };

    /// What a keeper keeps, in its own user namespace only: ending tools, and making executors that are users with
    /// fewer rights than itself.
    pub(crate) const KEEPER: Self = Self::of(1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID | 1 << CAP_SETPCAP);

    /// What a builder keeps, in its own user namespace only: making files that are other users'.
    pub(crate) const BUILDER: Self =
        Self::of(1 << CAP_CHOWN | 1 << CAP_DAC_OVERRIDE | 1 << CAP_FOWNER | 1 << CAP_FSETID);

    /// What a builder keeps that installs packages, likewise: their scripts become other users, and end what they started.
    pub(crate) const INSTALLER: Self =
        Self::of(Self::BUILDER.permitted | 1 << CAP_KILL | 1 << CAP_SETGID | 1 << CAP_SETUID);

    /// Whether whoever has these can mount.
    pub(crate) fn can_administrate(self) -> bool {
        self.effective & 1 << CAP_SYS_ADMIN != 0
    }

    /// Whether whoever has these can look after processes of a user namespace that is another user's.
    pub(crate) fn can_do_without_owning(self) -> bool {
        let needed = [CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SYS_PTRACE, CAP_SYS_ADMIN];
        needed.into_iter().all(|capability| self.effective & 1 << capability != 0)
    }

    /// Whether whoever has these can raise limits of processes.
    pub(crate) fn can_raise_limits(self) -> bool {
        self.effective & 1 << CAP_SYS_RESOURCE != 0
    }

    const fn of(bits: u64) -> Self {
        Self { effective: bits, permitted: bits, inheritable: 0 }
    }
}

const CAP_CHOWN: u32 = 0;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_FOWNER: u32 = 3;
const CAP_FSETID: u32 = 4;
const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Those of this thread.
pub(crate) fn capabilities() -> io::Result<Capabilities> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: both structures are as version 3 of the call has them.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    let join = |part: fn(&Half) -> u32| u64::from(part(&halves[0])) | u64::from(part(&halves[1])) << 32;
    Ok(Capabilities {
        effective: join(|half| half.effective),
        permitted: join(|half| half.permitted),
        inheritable: join(|half| half.inheritable),
    })
}

/// Sets those of this thread.
pub(crate) fn set_capabilities(wanted: Capabilities) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Half {
        effective: (wanted.effective >> shift) as u32,
        permitted: (wanted.permitted >> shift) as u32,
        inheritable: (wanted.inheritable >> shift) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: both structures are as version 3 of the call has them.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) })
}

/// Takes all but these from the bounding set, so that no program can gain what isn't there.
pub(crate) fn bound(most: Capabilities) -> io::Result<()> {
    for capability in (0..64).filter(|capability| most.permitted & 1 << capability == 0) {
        // SAFETY: takes numbers only.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            Ok(()) => {}
            // Past the last one that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Keeps all rights over its own namespaces through the execution of programs, which whoever isn't user 0 loses otherwise.
pub(crate) fn keep_by_exec() -> io::Result<()> {
    let ours = capabilities()?;
    set_capabilities(Capabilities { inheritable: ours.permitted, ..ours })?;
    for capability in (0..64).filter(|capability| ours.permitted & 1 << capability != 0) {
        // SAFETY: takes numbers only.
        check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0) }.into())?;
    }
    Ok(())
}

/// Becomes this user and group, for good, with no other groups.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: takes numbers only, and an empty list. The raw calls act on this thread, the only one.
    unsafe {
        // Where there is but one user, the kernel doesn't let it leave the groups it is in.
        if Standing::ours().has_own_users() {
            check(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()))?;
        }
        check(libc::syscall(libc::SYS_setresgid, id, id, id))?;
        check(libc::syscall(libc::SYS_setresuid, id, id, id))
    }
}

/// Acts as this user until it acts as another: the one that this process was started by is kept.
pub(crate) fn act_as(uid: u32) -> io::Result<()> {
    Ok(rustix::thread::set_thread_res_uid(None, rustix::process::Uid::from_raw(uid), None)?)
}

/// Whether processes of the same user may look into this one.
pub(crate) fn is_dumpable() -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 }
}

/// Processes of the same user may look into this one.
pub(crate) fn be_dumpable() {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
}

/// Takes a session's keys of its own, without any: those of who started the supervisor came along.
pub(crate) fn leave_keys() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: takes a number and no name.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) }) {
        // A kernel without keys has none to leave.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
        outcome => outcome,
    }
}

/// No program executed from here on gains rights, whatever its file says.
pub(crate) fn gain_nothing_by_exec() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())
}

/// Other processes of the same user may not look into this one; `/proc` shows it as root's.
pub(crate) fn hide_from_peers() -> io::Result<()> {
    let dumpable = libc::c_ulong::from(!Fence::Hidden.is_up());
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, dumpable, 0, 0, 0) }.into())
}

/// Dies when the process that forked this one does. A change of user undoes it, so it comes after.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())
}

/// Orphans among the descendants become children of this process, not of PID 1.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into())
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
