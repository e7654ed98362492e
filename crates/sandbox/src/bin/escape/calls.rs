use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use crate::case::Outcome;

/// Makes a system call. Its arguments must be right for it: this program has one thread and nothing to lose, but what a call
/// writes to must be large enough.
pub(crate) fn call<const N: usize>(number: libc::c_long, arguments: [usize; N]) -> io::Result<usize> {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: as said above.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result as usize),
    }
}

/// A refusal is one that says so. Another error means that the attempt got past the permission, or was badly made: neither
/// may pass as a refusal.
pub(crate) fn judge<T>(what: &str, result: io::Result<T>) -> Outcome {
    match result {
        Ok(_) => Outcome::Reached(what.to_owned()),
        Err(error) => match error.raw_os_error() {
            Some(
                libc::EPERM
                | libc::EACCES
                | libc::ENOSYS
                | libc::EROFS
                | libc::ENOENT
                | libc::ENOTDIR
                | libc::ENXIO
                | libc::ESRCH
                | libc::ECONNREFUSED
                | libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::ENOSPC,
            ) => Outcome::Blocked(word(&error)),
            Some(
                libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::ENODEV | libc::EOPNOTSUPP,
            ) => Outcome::NotApplicable(format!("this kernel lacks it ({})", word(&error))),
            _ => Outcome::Broken(word(&error)),
        },
    }
}

/// The name of an error, as in the kernel's sources.
pub(crate) fn word(error: &io::Error) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EROFS, "EROFS"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENXIO, "ENXIO"),
        (libc::ESRCH, "ESRCH"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ECONNREFUSED, "ECONNREFUSED"),
        (libc::ENETUNREACH, "ENETUNREACH"),
        (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    ];
    match names.iter().find(|(code, _)| error.raw_os_error() == Some(*code)) {
        Some((_, name)) => (*name).to_owned(),
        None => error.to_string(),
    }
}

/// A file opened in one of these ways, but not the null device that hides it.
pub(crate) fn open_kernel_file(path: &str, options: &std::fs::OpenOptions) -> Outcome {
    match options.open(path) {
        Ok(file) if is_of_the_kernel(&file) => Outcome::Reached(format!("{path} is open")),
        Ok(_) => Outcome::Blocked("hidden".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Outcome::NotApplicable("this kernel has no such file".to_owned())
        }
        Err(error) => judge(path, Err::<(), _>(error)),
    }
}

/// Whether a file is one of `/proc` or `/sys`, and not what is mounted over it.
fn is_of_the_kernel(file: &File) -> bool {
    // SAFETY: the structure is large enough, and read only if the call has filled it.
    unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        libc::fstatfs(file.as_raw_fd(), &raw mut found) == 0
            && [libc::PROC_SUPER_MAGIC, libc::SYSFS_MAGIC].contains(&found.f_type)
    }
}

/// Processes other than this one and those above it that it came from as a tool, by their ids.
pub(crate) fn others() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id() as i32).collect()
}

/// Whether reading a file, or the beginning of it, gives the nonce.
pub(crate) fn has_nonce(path: impl AsRef<Path>, nonce: &str) -> io::Result<bool> {
    use std::io::Read;
    let mut beginning = vec![0; 4096];
    let length = File::open(path)?.read(&mut beginning)?;
    Ok(String::from_utf8_lossy(&beginning[..length]).contains(nonce))
}

/// Runs this in a copy of this process and gives its exit code, or the signal that ended it.
pub(crate) fn in_a_child(life: impl FnOnce() -> i32) -> io::Result<Result<i32, i32>> {
    let mut status = 0;
    // SAFETY: this process has one thread; the copy leaves by `_exit`; the status is a place to write to.
    unsafe {
        match libc::fork() {
            -1 => return Err(io::Error::last_os_error()),
            0 => libc::_exit(life()),
            pid => {
                if libc::waitpid(pid, &raw mut status, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
    }
    Ok(if libc::WIFSIGNALED(status) { Err(libc::WTERMSIG(status)) } else { Ok(libc::WEXITSTATUS(status)) })
}
