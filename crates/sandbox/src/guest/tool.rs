use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::attended::{self, Program, Streams};
use super::executor::{Job, borrow_into};
use super::{bash, privileges, signals};
use crate::dispatch::Ops;
use crate::order::Sheet;

/// What the process above a tool tells the keeper through a pipe, in packets of fixed size but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It runs: the process at the top of its tree, and the tool itself (the same, for an op).
    Started { top: i32, tool: i32 },
    /// It ended with this wait status.
    Ended(i32),
    /// It could not be started.
    Unable(String),
}

impl Notice {
    pub(crate) fn give(&self, pipe: &OwnedFd) {
        let mut bytes = Vec::with_capacity(9);
        match self {
            Self::Started { top, tool } => {
                bytes.push(b'P');
                bytes.extend_from_slice(&top.to_le_bytes());
                bytes.extend_from_slice(&tool.to_le_bytes());
            }
            Self::Ended(status) => {
                bytes.push(b'S');
                bytes.extend_from_slice(&status.to_le_bytes());
            }
            Self::Unable(reason) => {
                bytes.push(b'E');
                bytes.extend_from_slice(reason.as_bytes());
            }
        }
        // If the keeper is gone, so is this process in a moment.
        let _ = rustix::io::write(pipe, &bytes);
    }

    /// Takes the notices off what has been read so far.
    pub(crate) fn take(read: &mut Vec<u8>) -> Vec<Self> {
        let mut notices = Vec::new();
        loop {
            let number =
                |at: usize| -> Option<i32> { Some(i32::from_le_bytes(read.get(at..at + 4)?.try_into().ok()?)) };
            let (notice, length) = match read.first() {
                Some(b'P') => match (number(1), number(5)) {
                    (Some(top), Some(tool)) => (Self::Started { top, tool }, 9),
                    _ => return notices,
                },
                Some(b'S') => match number(1) {
                    Some(status) => (Self::Ended(status), 5),
                    None => return notices,
                },
                Some(_) => (Self::Unable(String::from_utf8_lossy(&read[1..]).into_owned()), read.len()),
                None => return notices,
            };
            read.drain(..length);
            notices.push(notice);
        }
    }
}

/// The life of the process at the top of a tool's tree: it forks the tool, adopts whatever that leaves behind while it
/// runs, and reports its end.
pub(crate) fn tend(job: Job, descriptors: Vec<OwnedFd>, env: &[(String, String)], ops: Ops) -> i32 {
    signals::reset();
    signals::ignore_long_files();
    let mut ours: Vec<i32> = descriptors.iter().map(AsRawFd::as_raw_fd).chain([0, 1, 2]).collect();
    ours.sort_unstable();
    signals::close_all_but(&ours);
    let _ = privileges::adopt_orphans();
    if job == Job::Attended {
        return tend_attended(descriptors, env, ops);
    }
    let Ok([first, second, third, notices]) = <[OwnedFd; 4]>::try_from(descriptors) else { return 1 };
    let top = std::process::id() as i32;
    let forked = match job {
        Job::Op => {
            Notice::Started { top, tool: top }.give(&notices);
            let code = run_op(first, None, &second, &third, env, ops);
            Notice::Ended(code << 8).give(&notices);
            return 0;
        }
        Job::Exec => borrow_into(|| {
            started(top, &notices);
            exec(&first, &second, &third, env)
        }),
        Job::Shell => borrow_into(|| {
            started(top, &notices);
            bash::exec(&first, &second, &third, env)
        }),
        Job::Attended => return 1,
    };
    let tool = match forked {
        Ok(tool) => tool,
        Err(error) => {
            Notice::Unable(format!("can't start a process: {error}")).give(&notices);
            return 1;
        }
    };
    crate::failpoint::pass("tool.forked");
    // Its output ends when its own processes have ended; this one is not of them.
    drop((first, second, third));
    let mut status = 0;
    loop {
        // SAFETY: the status is a valid place to write to.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended == tool {
            Notice::Ended(status).give(&notices);
            return 0;
        }
        if ended < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) {
            return 1;
        }
    }
}

/// Tells, as the tool, that it runs: said by the top of its tree, it could be heard only after what the tool does first.
pub(crate) fn started(top: i32, notices: &OwnedFd) {
    Notice::Started { top, tool: std::process::id() as i32 }.give(notices);
}

/// The same for a process with which somebody talks.
fn tend_attended(descriptors: Vec<OwnedFd>, env: &[(String, String)], ops: Ops) -> i32 {
    let Ok([order, input, out, err, control, notices]) = <[OwnedFd; 6]>::try_from(descriptors) else { return 1 };
    let mut order = File::from(order);
    match read_sheet(&mut order) {
        Ok(Sheet::Exec { argv, env: more, cwd, terminal }) => {
            let program = Program { argv, env: more, cwd, terminal };
            attended::tend(&program, Streams { input, out, err, control }, &notices, env)
        }
        Ok(Sheet::Op { .. }) => {
            let top = std::process::id() as i32;
            Notice::Started { top, tool: top }.give(&notices);
            let code = run_op(order.into(), Some(&input), &out, &err, env, ops);
            Notice::Ended(code << 8).give(&notices);
            0
        }
        Ok(Sheet::Shell { .. }) | Err(_) => {
            Notice::Unable("the order can't be read".to_owned()).give(&notices);
            1
        }
    }
}

/// Reads the order's first line and leaves the file where its payload begins.
pub(crate) fn read_sheet(order: &mut File) -> io::Result<Sheet> {
    let mut text = Vec::new();
    order.seek(SeekFrom::Start(0))?;
    while !text.contains(&b'\n') {
        let mut part = [0; 4096];
        match order.read(&mut part)? {
            0 => return Err(io::Error::other("the order is cut short")),
            length => text.extend_from_slice(&part[..length]),
        }
    }
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    order.seek(SeekFrom::Start(end as u64 + 1))?;
    Ok(serde_json::from_slice(&text[..end])?)
}

fn run_op(
    order: OwnedFd,
    input: Option<&OwnedFd>,
    out: &OwnedFd,
    err: &OwnedFd,
    env: &[(String, String)],
    ops: Ops,
) -> i32 {
    let mut order = File::from(order);
    let null = File::options().read(true).write(true).open("/dev/null");
    let plumbed = null.is_ok_and(|null| {
        rustix::stdio::dup2_stdin(input.unwrap_or(&null.into())).is_ok()
            && rustix::stdio::dup2_stdout(out).is_ok()
            && rustix::stdio::dup2_stderr(err).is_ok()
    });
    let mut input = Vec::new();
    let sheet = read_sheet(&mut order).and_then(|sheet| order.read_to_end(&mut input).map(|_| sheet));
    drop(order);
    let (Ok(Sheet::Op { name }), true) = (sheet, plumbed) else { return 126 };
    let Some(op) = ops.find(&name) else {
        let _ = io::stderr().write_all(format!("no op is called {name}\n").as_bytes());
        return 127;
    };
    // SAFETY: this process has one thread.
    unsafe {
        std::env::remove_var(crate::supervisor::CONFIG_VARIABLE);
        env.iter().for_each(|(key, value)| std::env::set_var(key, value));
    }
    let _ = std::env::set_current_dir(WORKSPACE);
    let Ok(out) = out.try_clone() else { return 126 };
    let mut out = io::BufWriter::new(File::from(out));
    let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (op.run)(&input, &mut out))).unwrap_or(101);
    if out.flush().is_err() && code == 0 { 1 } else { code & 0xff }
}

/// Where tools start.
pub(crate) const WORKSPACE: &str = "/workspace";

fn exec(order: &OwnedFd, out: &OwnedFd, err: &OwnedFd, env: &[(String, String)]) -> i32 {
    // SAFETY: the descriptor stays open for as long as this is used, and is not closed by it.
    let mut order = ManuallyDrop::new(unsafe { File::from_raw_fd(order.as_raw_fd()) });
    let sheet = read_sheet(&mut order);
    let Ok(input) = payload(&mut order) else { return 126 };
    if !plumb(&input, out, err) {
        return 126;
    }
    // It has its new number, and as itself is closed with all the rest below.
    std::mem::forget(input);
    let (argv, cwd, env) = match sheet {
        Ok(Sheet::Exec { argv, env: more, cwd, terminal: _ }) => (argv, cwd, overlaid(env, more)),
        Ok(Sheet::Shell { .. } | Sheet::Op { .. }) | Err(_) => return complain(126, "the order can't be read"),
    };
    if let Err(error) = std::env::set_current_dir(&cwd) {
        return complain(126, &format!("can't enter {cwd}: {error}"));
    }
    become_program(&argv, &env, &[])
}

/// What is left of an order, as a file of its own: a program that opens `/dev/stdin` reads a file from its beginning.
fn payload(order: &mut File) -> io::Result<File> {
    let length = order.metadata()?.len().saturating_sub(order.stream_position()?);
    if length == 0 {
        return File::open("/dev/null");
    }
    let mut input = File::from(rustix::fs::memfd_create("stdin", rustix::fs::MemfdFlags::CLOEXEC)?);
    io::copy(order, &mut input)?;
    input.rewind()?;
    Ok(input)
}

/// Makes these the standard descriptors of a new session and closes all others.
pub(crate) fn plumb(stdin: &impl AsRawFd, out: &OwnedFd, err: &OwnedFd) -> bool {
    let _ = rustix::process::setsid();
    // SAFETY: the standard descriptors are nobody's in this process.

    unsafe {
        libc::dup2(stdin.as_raw_fd(), 0) == 0
            && libc::dup2(out.as_raw_fd(), 1) == 1
            && libc::dup2(err.as_raw_fd(), 2) == 2
    }
}

/// A later value of a variable replaces an earlier one.
pub(crate) fn overlaid(base: &[(String, String)], more: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> =
        base.iter().filter(|(key, _)| !more.iter().any(|(other, _)| other == key)).cloned().collect();
    env.extend(more);
    env
}

/// Replaces this process by a program that inherits the standard descriptors and those of `keep`, which must be in
/// rising order; gives the exit code if that can't be done.
pub(crate) fn become_program(argv: &[String], env: &[(String, String)], keep: &[i32]) -> i32 {
    let Some(name) = argv.first() else { return complain(126, "no program is named") };
    let text = |part: &str| CString::new(part).ok();
    let arguments: Option<Vec<CString>> = argv.iter().map(|argument| text(argument)).collect();
    let variables: Option<Vec<CString>> = env.iter().map(|(key, value)| text(&format!("{key}={value}"))).collect();
    let (Some(arguments), Some(variables)) = (arguments, variables) else {
        return complain(126, "an argument or variable has a zero byte in it");
    };
    let path = env.iter().find(|(key, _)| key == "PATH").map_or("", |(_, value)| value.as_str());
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![PathBuf::from(name)],
        false => std::env::split_paths(OsStr::new(path)).map(|dir| dir.join(name)).collect(),
    };
    signals::close_all_but(&[&[0, 1, 2], keep].concat());
    let mut found = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in candidates {
        let Ok(candidate) = CString::new(candidate.as_os_str().as_bytes()) else { continue };
        let error = execve(&candidate, &arguments, &variables);
        if error.raw_os_error() == Some(libc::ENOEXEC) {
            // A script without an interpreter line: what shells do about it.
            let mut by_shell = vec![c"/bin/sh".to_owned(), candidate];
            by_shell.extend(arguments.iter().skip(1).cloned());
            found = execve(c"/bin/sh", &by_shell, &variables);
        } else if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) {
            found = error;
        }
    }
    match found.raw_os_error() {
        Some(libc::ENOENT) => complain(127, &format!("{name}: no such program")),
        _ => complain(126, &format!("{name}: {found}")),
    }
}

fn execve(path: &std::ffi::CStr, arguments: &[CString], variables: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
    };
    let (arguments, variables) = (pointers(arguments), pointers(variables));
    // SAFETY: the pointers are to C strings that live until the call fails; both lists end with null.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), variables.as_ptr()) };
    io::Error::last_os_error()
}

pub(crate) fn complain(code: i32, text: &str) -> i32 {
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
    code
}
