//! Standard output: data.

use std::io::{self, Write as _};

use serde::Serialize;

/// Writes text as it is.
pub(crate) fn text(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
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

/// Writes a value as JSON: indented for a person at a terminal, on one line for a program.
pub(crate) fn json(value: &impl Serialize) {
    use std::io::IsTerminal as _;
    let printed = match io::stdout().is_terminal() {
        true => serde_json::to_string_pretty(value),
        false => serde_json::to_string(value),
    };
    line(&printed.unwrap_or_default());
}

/// Nobody reads any more (`| head`), which is no fault of ours and no reason to go on; or the disk is full.
fn gone(error: &io::Error) {
    let code = if error.kind() == io::ErrorKind::BrokenPipe { 0 } else { 1 };
    std::process::exit(code);
}
