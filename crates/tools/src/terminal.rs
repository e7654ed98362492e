//! What a program wrote for a terminal, as text for a model.

/// Removes escape sequences (ECMA-48) and the control characters that a terminal doesn't show, and replaces what isn't
/// UTF-8. Tabs, line feeds and carriage returns stay.
pub(crate) fn plain(output: &[u8]) -> String {
    let mut kept = Vec::with_capacity(output.len());
    let mut state = State::Text;
    for &byte in output {
        state = match (state, byte) {
            (State::Text, ESCAPE) => State::Escape,
            (State::Text, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..) => {
                kept.push(byte);
                State::Text
            }
            (State::Text, _) => State::Text,

            // A line feed is in no sequence: whatever began was no sequence, or was broken off.
            (State::Escape | State::Intermediate | State::Control | State::String | State::StringEscape, b'\n') => {
                kept.push(byte);
                State::Text
            }
            (State::Escape, b'[') => State::Control,
            // Operating system command, device control, privacy message, application command, start of string.
            (State::Escape, b']' | b'P' | b'^' | b'_' | b'X') => State::String,
            (State::Escape | State::Intermediate, b' '..=b'/') => State::Intermediate,
            (State::Escape, ESCAPE) => State::Escape,
            (State::Escape | State::Intermediate, _) => State::Text,

            (State::Control, b' '..=b'?') => State::Control,
            (State::Control, ESCAPE) => State::Escape,
            (State::Control, _) => State::Text,

            (State::String, BELL) => State::Text,
            (State::String, ESCAPE) => State::StringEscape,
            (State::String, _) => State::String,
            // `ESC \` ends the string; another escape sequence does too.
            (State::StringEscape, b'\\') => State::Text,
            (State::StringEscape, b'[') => State::Control,
            (State::StringEscape, _) => State::Text,
        };
    }
    String::from_utf8_lossy(&kept).into_owned()
}

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

#[derive(Debug, Clone, Copy)]
enum State {
    Text,
    /// After `ESC`.
    Escape,
    /// After `ESC` and an intermediate byte, as in `ESC ( B`.
    Intermediate,
    /// After `ESC [`.
    Control,
    /// In a string that ends with `BEL` or `ESC \`.
    String,
    StringEscape,
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn escape_sequences_go_and_text_stays() {
        for (written, expected) in [
            (&b"\x1b[1;31mred\x1b[0m plain"[..], "red plain"),
            (b"\x1b]0;title\x07after", "after"),
            (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            (b"\x1b(Bascii\x1b=keys\x1b[?25l", "asciikeys"),
            (b"\x1bPq#0\x1b\\sixel", "sixel"),
            (b"a\tb\r\nc\x00\x08\x7fd", "a\tb\r\ncd"),
            ("grün ✓".as_bytes(), "grün ✓"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"broken \x1b[12\nnext \x1b]0;never ended\nlast", "broken \nnext \nlast"),
            (b"at the end \x1b", "at the end "),
        ] {
            assert_eq!(plain(written), expected, "{written:?}");
        }
    }
}
