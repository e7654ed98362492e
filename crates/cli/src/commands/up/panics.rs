//! Panics, in the log.

use std::panic::PanicHookInfo;

/// Logs panics instead of printing them: where and why, but nothing that was being worked on.
pub(super) fn log() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(at, thread = thread.name(), why = why(panic), "panicked");
    }));
}

/// What a panic says, up to the first thing it quotes: a cut text or a value that wasn't expected may be anybody's words.
fn why(panic: &PanicHookInfo<'_>) -> String {
    let said = panic.payload_as_str().unwrap_or_default();
    said.chars().take_while(|letter| !matches!(letter, '`' | '"' | '\'' | '\n')).take(200).collect()
}
