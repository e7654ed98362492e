//! The life of the process above a program with which somebody talks: it passes on signals, and what goes in and out of a
//! terminal.
//!
//! Without a terminal the program has the server's pipes themselves, so whoever doesn't read or write holds up nobody but
//! the program. With one, the bytes pass through here, a small buffer each way: in the sandbox and within its limits, not in
//! the keeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};

use super::executor::borrow_into;
use super::signals;
use super::tool::{Notice, WORKSPACE, become_program, complain, overlaid, plumb, started};
use crate::process::{CONTROL_BYTES, Control, TerminalSize};

/// How many bytes wait in here, each way.
const BUFFER_BYTES: usize = 16 * 1024;

/// What is typed for end-of-file.
const END_OF_FILE: u8 = 4;

/// How long a terminal whose input has ended is left alone before a look at what its program makes of that.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A program to run.
pub(crate) struct Program {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) terminal: Option<TerminalSize>,
}

/// What the server passed along.
pub(crate) struct Streams {
    pub(crate) input: OwnedFd,
    pub(crate) out: OwnedFd,
    pub(crate) err: OwnedFd,
    pub(crate) control: OwnedFd,
}

/// Runs the program to its end, and gives its notices.
pub(crate) fn tend(program: &Program, streams: Streams, notices: &OwnedFd, base: &[(String, String)]) -> i32 {
    let top = std::process::id() as i32;
    let mut env = overlaid(base, program.env.clone());
    let terminal = match program.terminal.map(open_terminal).transpose() {
        Ok(terminal) => terminal,
        Err(error) => {
            Notice::Unable(format!("can't make a terminal: {error}")).give(notices);
            return 1;
        }
    };
    if terminal.is_some() && !program.env.iter().any(|(name, _)| name == "TERM") {
        env = overlaid(&env, vec![("TERM".to_owned(), "xterm-256color".to_owned())]);
    }
    let forked = borrow_into(|| {
        started(top, notices);
        match &terminal {
            Some((_, inner)) => plumbed(plumb(inner, inner, inner) && take_terminal(), program, &env),
            None => plumbed(plumb(&streams.input, &streams.out, &streams.err), program, &env),
        }
    });
    let tool = match forked {
        Ok(tool) => tool,
        Err(error) => {
            Notice::Unable(format!("can't start a process: {error}")).give(notices);
            return 1;
        }
    };
    let Ok(signals) = signals::open() else { return 1 };
    let Streams { input, out, err, control } = streams;
    let relay = match terminal {
        Some((master, inner)) => {
            drop(err);
            Some(Relay::new(master, inner, input, out))
        }
        None => {
            drop((input, out, err));
            None
        }
    };
    let mut attendant = Attendant { tool, signals, control: Some(control), relay };
    match attendant.attend() {
        Some(status) => {
            Notice::Ended(status).give(notices);
            0
        }
        None => 1,
    }
}

/// In the process that becomes the program.
fn plumbed(plumbed: bool, program: &Program, env: &[(String, String)]) -> i32 {
    if !plumbed {
        return 126;
    }
    let cwd = if program.cwd.is_empty() { WORKSPACE } else { &program.cwd };
    if let Err(error) = std::env::set_current_dir(cwd) {
        return complain(126, &format!("can't enter {cwd}: {error}"));
    }
    become_program(&program.argv, env, &[])
}

/// A terminal of this size: our end of it and the program's.
fn open_terminal(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&master)?;
    let inner = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
    resize(&master, size);
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, inner))
}

fn resize(terminal: &OwnedFd, size: TerminalSize) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = rustix::termios::tcsetwinsize(terminal, size);
}

/// Makes standard input the terminal of this new session.
fn take_terminal() -> bool {
    // SAFETY: the standard descriptors are open.
    let input = unsafe { BorrowedFd::borrow_raw(0) };
    rustix::process::ioctl_tiocsctty(input).is_ok()
}

/// The process above a program.
struct Attendant {
    tool: i32,
    signals: OwnedFd,
    control: Option<OwnedFd>,
    relay: Option<Relay>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    Child,
    Control,
    Input,
    Terminal,
    Output,
}

impl Attendant {
    /// Passes things on until the program has ended and what it printed is passed on; gives its status.
    fn attend(&mut self) -> Option<i32> {
        loop {
            // One may have ended before signals were watched for.
            match self.reap() {
                Reaped::Tool(status) => {
                    self.relay.iter_mut().for_each(Relay::finish);
                    return Some(status);
                }
                Reaped::Nothing => {}
                Reaped::Childless => return None,
            }
            let woken = self.wait();
            if woken.is_empty() {
                self.relay.iter_mut().for_each(Relay::end_input_again);
            }
            for wake in woken {
                self.handle(wake);
            }
        }
    }

    fn wait(&self) -> Vec<Wake> {
        let mut sources: Vec<(Wake, BorrowedFd<'_>, PollFlags)> =
            vec![(Wake::Child, self.signals.as_fd(), PollFlags::IN)];
        sources.extend(self.control.iter().map(|control| (Wake::Control, control.as_fd(), PollFlags::IN)));
        sources.extend(self.relay.iter().flat_map(Relay::sources));
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let timeout = self.relay.iter().any(Relay::looks_again).then_some(&LOOK_AGAIN);
        if poll(&mut polled, timeout).is_err() {
            return Vec::new();
        }
        let ready = sources.iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        ready.map(|((wake, ..), _)| *wake).collect()
    }

    fn handle(&mut self, wake: Wake) {
        match (wake, &mut self.relay) {
            (Wake::Child, _) => drop(signals::drain(&self.signals)),
            (Wake::Control, _) => self.hear(),
            (Wake::Input, Some(relay)) => relay.read_input(),
            (Wake::Terminal, Some(relay)) => relay.serve_terminal(),
            (Wake::Output, Some(relay)) => relay.write_output(),
            (Wake::Input | Wake::Terminal | Wake::Output, None) => {}
        }
    }

    fn hear(&mut self) {
        let Some(control) = &self.control else { return };
        let mut bytes = [0; CONTROL_BYTES * 16];
        match rustix::io::read(control, &mut bytes) {
            Ok(length) if length > 0 => {
                let (records, _) = bytes[..length].as_chunks::<CONTROL_BYTES>();
                records.iter().filter_map(|record| Control::decode(*record)).for_each(|control| self.obey(control));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Whoever launched it is gone; the keeper ends it.
            Ok(_) | Err(_) => self.control = None,
        }
    }

    fn obey(&self, control: Control) {
        match (control, &self.relay) {
            (Control::Resize(size), Some(relay)) => resize(&relay.terminal, size),
            (Control::Resize(_), None) => {}
            (Control::Signal(signal), relay) => {
                let front = relay.as_ref().and_then(|relay| rustix::termios::tcgetpgrp(&relay.terminal).ok());
                let group = front.or_else(|| Pid::from_raw(self.tool));
                if let (Some(group), Some(signal)) = (group, Signal::from_named_raw(signal)) {
                    let _ = rustix::process::kill_process_group(group, signal);
                }
            }
        }
    }

    fn reap(&self) -> Reaped {
        loop {
            let mut status = 0;
            // SAFETY: the status is a valid place to write to.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                0 => return Reaped::Nothing,
                ended if ended == self.tool => return Reaped::Tool(status),
                -1 if io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => return Reaped::Childless,
                _ => {}
            }
        }
    }
}

/// What became of children.
enum Reaped {
    Tool(i32),
    Nothing,
    Childless,
}

/// What passes bytes between the server's pipes and a terminal.
struct Relay {
    terminal: OwnedFd,
    /// Held open, so that the terminal is never said to be closed while the program may open it again.
    _inner: OwnedFd,
    /// Gone once all of it is read, or the server has closed it.
    input: Option<OwnedFd>,
    /// Gone once nobody reads it any more.
    out: Option<OwnedFd>,
    typed: Buffer,
    printed: Buffer,
    /// Whether the last byte typed ended a line: what end-of-file has to be typed after.
    at_line_start: bool,
    /// Whether the program read whole lines when end-of-file was typed, once it was.
    ended_in_lines: Option<bool>,
}

impl Relay {
    fn new(terminal: OwnedFd, inner: OwnedFd, input: OwnedFd, out: OwnedFd) -> Self {
        for pipe in [&input, &out] {
            let _ = rustix::io::ioctl_fionbio(pipe, true);
        }
        let (typed, printed) = (Buffer::default(), Buffer::default());
        Self {
            terminal,
            _inner: inner,
            input: Some(input),
            out: Some(out),
            typed,
            printed,
            at_line_start: true,
            ended_in_lines: None,
        }
    }

    fn sources(&self) -> impl Iterator<Item = (Wake, BorrowedFd<'_>, PollFlags)> {
        let input = self.input.iter().filter(|_| self.typed.is_empty());
        let out = self.out.iter().filter(|_| !self.printed.is_empty());
        let mut terminal = PollFlags::empty();
        terminal.set(PollFlags::IN, self.printed.is_empty());
        terminal.set(PollFlags::OUT, !self.typed.is_empty());
        input
            .map(|input| (Wake::Input, input.as_fd(), PollFlags::IN))
            .chain(out.map(|out| (Wake::Output, out.as_fd(), PollFlags::OUT)))
            .chain((!terminal.is_empty()).then(|| (Wake::Terminal, self.terminal.as_fd(), terminal)))
    }

    fn read_input(&mut self) {
        let Some(input) = &self.input else { return };
        match self.typed.fill(input) {
            Filled::Some => self.at_line_start = self.typed.last() == Some(b'\n'),
            Filled::NotYet => return,
            Filled::End => {
                self.input = None;
                // In the middle of a line the first only ends that.
                self.typed.put(if self.at_line_start { &[END_OF_FILE] } else { &[END_OF_FILE, END_OF_FILE] });
                self.ended_in_lines = Some(self.reads_lines());
            }
        }
        self.typed.empty_into(&self.terminal);
    }

    fn looks_again(&self) -> bool {
        self.ended_in_lines.is_some() && self.typed.is_empty()
    }

    /// Types end-of-file once more if the terminal reads lines now and didn't, or the other way round: what was typed for it
    /// is an ordinary byte then. A shell's line editor does so for each command, and no event tells of it.
    fn end_input_again(&mut self) {
        let lines = self.reads_lines();
        if self.looks_again() && self.ended_in_lines != Some(lines) {
            self.ended_in_lines = Some(lines);
            self.typed.put(&[END_OF_FILE]);
            self.typed.empty_into(&self.terminal);
        }
    }

    fn reads_lines(&self) -> bool {
        rustix::termios::tcgetattr(&self.terminal).is_ok_and(|modes| modes.local_modes.contains(LocalModes::ICANON))
    }

    fn serve_terminal(&mut self) {
        if !self.typed.is_empty() {
            self.typed.empty_into(&self.terminal);
        }
        if self.printed.is_empty() && matches!(self.printed.fill(&self.terminal), Filled::Some) {
            self.write_output();
        }
    }

    fn write_output(&mut self) {
        match &self.out {
            Some(out) => {
                if !self.printed.empty_into(out) {
                    self.out = None;
                    self.printed.clear();
                }
            }
            // Nobody reads: the program must not wait for them.
            None => self.printed.clear(),
        }
    }

    /// Passes on what is left in the terminal.
    fn finish(&mut self) {
        while self.out.is_some() {
            if self.printed.is_empty() && !matches!(self.printed.fill(&self.terminal), Filled::Some) {
                return;
            }
            self.write_output();
            if let (Some(out), false) = (&self.out, self.printed.is_empty()) {
                let _ = poll(&mut [PollFd::new(out, PollFlags::OUT)], None);
            }
        }
    }
}

/// Bytes on their way.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    given: usize,
}

enum Filled {
    Some,
    NotYet,
    End,
}

impl Buffer {
    fn is_empty(&self) -> bool {
        self.given == self.bytes.len()
    }

    fn last(&self) -> Option<u8> {
        self.bytes.last().copied()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.given);
        self.given = 0;
        self.bytes.extend_from_slice(bytes);
    }

    fn clear(&mut self) {
        (self.bytes, self.given) = (Vec::new(), 0);
    }

    /// Reads once, when it is empty.
    fn fill(&mut self, from: &OwnedFd) -> Filled {
        let mut bytes = [0; BUFFER_BYTES];
        match rustix::io::read(from, &mut bytes[..]) {
            Ok(0) => Filled::End,
            Ok(length) => {
                self.clear();
                self.put(&bytes[..length]);
                Filled::Some
            }
            Err(Errno::AGAIN | Errno::INTR) => Filled::NotYet,
            Err(_) => Filled::End,
        }
    }

    /// Writes as much as there is room for; says whether anybody may still read it.
    fn empty_into(&mut self, to: &OwnedFd) -> bool {
        while !self.is_empty() {
            match rustix::io::write(to, &self.bytes[self.given..]) {
                Ok(length) => self.given += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }
}
