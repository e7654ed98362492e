use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::{Error, Exit, Work};

/// How many pieces of input or output wait between a process and whoever talks with it. There is more in the pipes.
const PIECES: usize = 2;

/// A process to start, with which somebody talks while it runs. Unlike a call it has no journal and is never repeated: it
/// ends with the one that talks with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// A program or an op. A program's `stdin` has to be empty: its input comes while it runs.
    pub work: Work,
    /// Gives a program a terminal of its own, of this size, for its standard input, output and errors.
    pub terminal: Option<TerminalSize>,
    /// How long it may take. Then it is killed with all it started and [`Exit::timed_out`] is set. `None`: for ever.
    pub timeout: Option<Duration>,
}

impl Launch {
    /// Without a terminal or a time-out.
    pub fn new(work: Work) -> Self {
        Self { work, terminal: None, timeout: None }
    }
}

/// How large a terminal is, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A process that was launched. Whoever doesn't take its output holds it up, and it whoever sends it input: nothing is lost
/// and nothing piles up. Dropping `control` kills it with all it started.
#[derive(Debug)]
pub struct Process {
    /// Its standard input; dropping it closes that. With a terminal that is as if end-of-file were typed.
    pub input: mpsc::Sender<Vec<u8>>,
    /// What it prints, until it has ended and all of it is taken. What processes that it left behind print later is not
    /// in it.
    pub output: mpsc::Receiver<Output>,
    /// Signals and the terminal's size.
    pub control: mpsc::Sender<Control>,
    /// How it ended; the output in this is empty. It is told when it ends, though not all output may be taken by then.
    pub end: oneshot::Receiver<Result<Exit, Error>>,
}

/// The other side of a [`Process`]: that of the backend.
#[derive(Debug)]
pub struct ProcessSide {
    /// What is to be its input, until there is no more.
    pub input: mpsc::Receiver<Vec<u8>>,
    /// Takes what it prints.
    pub output: mpsc::Sender<Output>,
    /// What is done to it; once closed, it is to be killed.
    pub control: mpsc::Receiver<Control>,
    /// Takes its end.
    pub end: oneshot::Sender<Result<Exit, Error>>,
}

impl Process {
    /// Both sides of a process.
    pub fn pair() -> (Self, ProcessSide) {
        let (input, taken) = mpsc::channel(PIECES);
        let (printed, output) = mpsc::channel(PIECES);
        let (control, controlled) = mpsc::channel(PIECES);
        let (ended, end) = oneshot::channel();
        let side = ProcessSide { input: taken, output: printed, control: controlled, end: ended };
        (Self { input, output, control, end }, side)
    }
}

/// A piece of what a process printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// On its standard output, or its terminal.
    Out(Vec<u8>),
    /// On its standard error.
    Err(Vec<u8>),
}

/// What can be done to a process while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Its terminal has another size now.
    Resize(TerminalSize),
    /// Sends a signal: to what is in the foreground of its terminal, or else to its process group.
    Signal(i32),
}

/// A [`Control`] as it travels.
pub(crate) const CONTROL_BYTES: usize = 5;

impl Control {
    pub(crate) fn encode(self) -> [u8; CONTROL_BYTES] {
        let (kind, [a, b, c, d]) = match self {
            Self::Resize(TerminalSize { columns, rows }) => {
                let ([a, b], [c, d]) = (columns.to_le_bytes(), rows.to_le_bytes());
                (b'R', [a, b, c, d])
            }
            Self::Signal(signal) => (b'S', signal.to_le_bytes()),
        };
        [kind, a, b, c, d]
    }

    pub(crate) fn decode([kind, a, b, c, d]: [u8; CONTROL_BYTES]) -> Option<Self> {
        let (columns, rows) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        match kind {
            b'R' => Some(Self::Resize(TerminalSize { columns, rows })),
            b'S' => Some(Self::Signal(i32::from_le_bytes([a, b, c, d]))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Control, TerminalSize};

    #[test]
    fn controls_arrive_as_they_were_sent() {
        for control in [Control::Resize(TerminalSize { columns: 300, rows: 7 }), Control::Signal(15)] {
            assert_eq!(Control::decode(control.encode()), Some(control));
        }
        assert_eq!(Control::decode([0; 5]), None);
    }
}
