//! Device nodes, set-user-id files, handles and descriptors.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};

use crate::calls::{call, has_nonce, judge};
use crate::case::{Input, Outcome};

pub(crate) fn make_node(input: &Input) -> Outcome {
    let Some((major, minor)) = input.device else { return no_device() };
    let device = libc::makedev(major, minor) as usize;
    let path = c"/tmp/tenure-escape-disk";
    let made = call(
        libc::SYS_mknodat,
        [libc::AT_FDCWD as usize, path.as_ptr() as usize, (libc::S_IFBLK | 0o600) as usize, device],
    );
    judge("a node of the host's disk is made", made)
}

pub(crate) fn open_planted_node(input: &Input) -> Outcome {
    if input.device.is_none() {
        return no_device();
    }
    match has_nonce(format!("{}/disk", input.planted), &input.nonce) {
        Ok(true) => Outcome::Reached("the disk is read".to_owned()),
        Ok(false) => Outcome::Broken("another disk is read".to_owned()),
        Err(error) => judge("", Err::<(), _>(error)),
    }
}

fn no_device() -> Outcome {
    Outcome::NotApplicable("the suite could not make a loop device".to_owned())
}

/// Becomes the sandbox's root, if the kernel heeds the bit.
pub(crate) fn planted_setuid(input: &Input) -> Outcome {
    let said = std::process::Command::new(format!("{}/setuid", input.planted)).arg("whoami").output();
    match said {
        Ok(output) => match String::from_utf8_lossy(&output.stdout).trim() {
            "0" => Outcome::Reached("it runs as the sandbox's root".to_owned()),
            user if !user.is_empty() => Outcome::Blocked(format!("it runs as user {user}")),
            _ => Outcome::Broken(format!("it says nothing: {}", String::from_utf8_lossy(&output.stderr))),
        },
        Err(error) => judge("", Err::<(), _>(error)),
    }
}

pub(crate) fn whoami() -> serde_json::Result<String> {
    // SAFETY: takes nothing.
    serde_json::to_string(&unsafe { libc::geteuid() })
}

/// A file is opened by a handle, which any number could be, instead of by a path that leads to it.
pub(crate) fn by_handle(_: &Input) -> Outcome {
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        handle: [u8; 128],
    }
    let mut handle = Handle { bytes: 128, kind: 0, handle: [0; 128] };
    let path = c"/tmp";
    let mut mount = 0i32;
    let opened = call(
        libc::SYS_name_to_handle_at,
        [libc::AT_FDCWD as usize, path.as_ptr() as usize, (&raw mut handle) as usize, (&raw mut mount) as usize, 0],
    )
    .and_then(|_| {
        let root = std::fs::File::open("/tmp")?;
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        call(libc::SYS_open_by_handle_at, [root.as_raw_fd() as usize, (&raw mut handle) as usize, flags as usize])
    });
    judge("a directory is open", opened)
}

/// Descriptors that this program has and nobody gave it.
pub(crate) fn leaked(input: &Input) -> Outcome {
    for number in 3..4096 {
        let name = input.host_file.rsplit('/').next().unwrap_or_default();
        let Ok(name) = std::ffi::CString::new(name) else { continue };
        let opened = call(libc::SYS_openat, [number, name.as_ptr() as usize, libc::O_RDONLY as usize]);
        if let Ok(fd) = opened {
            let mut said = String::new();
            // SAFETY: the descriptor is new and nobody else's.
            let _ = unsafe { std::fs::File::from_raw_fd(fd as i32) }.read_to_string(&mut said);
            if said.contains(&input.nonce) {
                return Outcome::Reached(format!("descriptor {number} is a directory of the host"));
            }
        }
    }
    let open: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse::<i32>().ok()?, std::fs::read_link(entry.path()).ok()?))
        })
        // The last is the one that lists them.
        .filter(|(number, target)| *number > 2 && !target.starts_with("/proc/"))
        .map(|(number, target)| format!("{number} is {}", target.display()))
        .collect();
    match open.is_empty() {
        true => Outcome::Blocked("none but the standard ones".to_owned()),
        false => Outcome::Reached(open.join(", ")),
    }
}

/// Typing into the terminal of someone else: here one that this program made, which takes the same right.
pub(crate) fn type_into_a_terminal(_: &Input) -> Outcome {
    type_by(libc::TIOCSTI)
}

/// The kernel looks at half of the request alone.
pub(crate) fn type_into_a_terminal_by_a_wide_request(_: &Input) -> Outcome {
    type_by(1 << 32 | libc::TIOCSTI)
}

fn type_by(request: libc::Ioctl) -> Outcome {
    if !cfg!(target_arch = "x86_64") && std::fs::metadata("/dev/ptmx").is_err() {
        return Outcome::NotApplicable("there are no terminals".to_owned());
    }
    let setting = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or_default();
    let typed = (|| -> io::Result<()> {
        let main = std::fs::File::options().read(true).write(true).open("/dev/ptmx")?;
        let (mut number, unlocked) = (0i32, 0i32);
        // SAFETY: each request takes the number that it is given the address of.
        let unlocked = unsafe {
            libc::ioctl(main.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) == 0
                && libc::ioctl(main.as_raw_fd(), libc::TIOCGPTN, &raw mut number) == 0
        };
        if !unlocked {
            return Err(io::Error::last_os_error());
        }
        let terminal = std::fs::File::options().read(true).write(true).open(format!("/dev/pts/{number}"))?;
        // SAFETY: each takes numbers only.
        unsafe {
            // Closing the terminal again hangs up.
            libc::signal(libc::SIGHUP, libc::SIG_IGN);
            libc::setsid();
            libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0);
        }
        call(libc::SYS_ioctl, [terminal.as_raw_fd() as usize, request as usize, b"x".as_ptr() as usize]).map(drop)
    })();
    match (typed, setting.trim()) {
        (Err(error), "0") if error.raw_os_error() == Some(libc::EIO) => {
            Outcome::NotApplicable("dev.tty.legacy_tiocsti is 0".to_owned())
        }
        (typed, _) => judge("a character is typed", typed),
    }
}

/// The terminal of whoever started all this.
pub(crate) fn terminal_of_others(_: &Input) -> Outcome {
    judge("/dev/tty is open", std::fs::File::options().read(true).write(true).open("/dev/tty"))
}
