//! Standard output: data.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;

use serde::Serialize;

use super::plain::plain;
use super::say::{self, may_be_coloured};

/// Writes text as it is.
pub(crate) fn text(text: &str) {
    bytes(text.as_bytes());
}

/// Writes bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        gone(&error);
    }
}

/// Writes text that nobody need read: a server outlives the reader who only wanted to know where it is.
pub(crate) fn notice(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes a line.
pub(crate) fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// Text that somebody else wrote: for a terminal without what could do anything to it, for a program as it is.
pub(crate) fn harmless(text: &str) -> String {
    if io::stdout().is_terminal() { plain(text) } else { text.to_owned() }
}

/// Text in a colour, its line end left out, if standard output shows colours.
pub(crate) fn paint(code: &str, text: &str) -> String {
    static COLOURED: OnceLock<bool> = OnceLock::new();
    if code.is_empty() || text.is_empty() || !*COLOURED.get_or_init(|| may_be_coloured(&io::stdout())) {
        return text.to_owned();
    }
    let line = text.strip_suffix('\n');
    format!("\x1b[{code}m{}\x1b[0m{}", line.unwrap_or(text), if line.is_some() { "\n" } else { "" })
}

/// Writes a value as JSON: indented for a person at a terminal, on one line for a program.
pub(crate) fn json(value: &impl Serialize) {
    let printed = match io::stdout().is_terminal() {
        true => serde_json::to_string_pretty(value),
        false => serde_json::to_string(value),
    };
    line(&printed.unwrap_or_default());
}

/// Nobody reads any more (`| head`), which is no fault of ours and no reason to go on; or the disk is full.
fn gone(error: &io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    say::failure(&format!("standard output can't be written: {error}"));
    std::process::exit(1);
}
