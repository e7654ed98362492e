//! Doors into the kernel other than the usual one.

use crate::calls::{call, in_a_child, judge};
use crate::case::{Input, Outcome};

/// The calls of 64-bit programs with 32-bit pointers.
#[cfg(target_arch = "x86_64")]
pub(crate) fn x32(_: &Input) -> Outcome {
    const X32: libc::c_long = 0x4000_0000;
    match call(X32 + libc::SYS_getpid, []) {
        // A kernel without it says the same as the filter.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) && !kernel_has("CONFIG_X86_X32_ABI=y") => {
            Outcome::NotApplicable("this kernel lacks it".to_owned())
        }
        answer => judge("the kernel answers", answer),
    }
}

/// The calls of 32-bit programs, whose numbers mean other things.
#[cfg(target_arch = "x86_64")]
pub(crate) fn int_80(_: &Input) -> Outcome {
    const GETPID: i64 = 20;
    let ended = in_a_child(|| {
        let mut answer = GETPID;
        // SAFETY: the call takes nothing and changes nothing but this register.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
        };
        if answer > 0 { 0 } else { 1 }
    });
    match ended {
        Ok(Ok(0)) => Outcome::Reached("the kernel answers".to_owned()),
        Ok(Err(libc::SIGSYS)) => Outcome::Blocked("SIGSYS".to_owned()),
        Ok(Ok(_) | Err(libc::SIGSEGV)) => Outcome::NotApplicable("this kernel lacks it".to_owned()),
        Ok(Err(signal)) => Outcome::Broken(format!("signal {signal}")),
        Err(error) => judge("", Err::<(), _>(error)),
    }
}

#[cfg(target_arch = "x86_64")]
fn kernel_has(line: &str) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let config = std::fs::read_to_string(format!("/boot/config-{}", release.trim())).unwrap_or_default();
    config.lines().any(|found| found == line)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn x32(_: &Input) -> Outcome {
    Outcome::NotApplicable("this machine has no such door".to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn int_80(input: &Input) -> Outcome {
    let _ = (in_a_child(|| 0), call::<0>(libc::SYS_getpid, []), judge::<()>);
    x32(input)
}
