//! Standard error: talk. Nobody listening is no error.

use std::io::{self, Write as _};
use std::sync::OnceLock;

/// Writes text as it is.
pub(crate) fn text(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Writes a line.
pub(crate) fn line(line: &str) {
    text(&format!("{line}\n"));
}

/// Something was done.
pub(crate) fn success(message: &str) {
    line(&format!("{} {message}", paint("32", "✓")));
}

/// Something went wrong.
pub(crate) fn failure(message: &str) {
    line(&format!("{} {message}", paint("31", "✗")));
}

/// Something to know.
pub(crate) fn warning(message: &str) {
    line(&format!("{} {message}", paint("33", "⚠")));
}

/// What to do.
pub(crate) fn hint(message: &str) {
    for part in message.lines() {
        line(&format!("  {}", dim(part)));
    }
}

/// Less important words.
pub(crate) fn dim(words: &str) -> String {
    paint("2", words)
}

/// More important words.
pub(crate) fn bold(words: &str) -> String {
    paint("1", words)
}

/// Whether standard error shows colours.
fn is_coloured() -> bool {
    static COLOURED: OnceLock<bool> = OnceLock::new();
    *COLOURED.get_or_init(|| may_be_coloured(&io::stderr()))
}

/// Whether what is written there may have colours: to a terminal, unless told otherwise (<https://no-color.org>).
pub(super) fn may_be_coloured(to: &impl io::IsTerminal) -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    to.is_terminal() && !forbidden && !dumb
}

fn paint(code: &str, words: &str) -> String {
    if is_coloured() { format!("\x1b[{code}m{words}\x1b[0m") } else { words.to_owned() }
}
