//! Text that can't do anything to a terminal.

/// Takes escape sequences (ECMA-48) and control characters out of text that comes in pieces; a sequence may be cut
/// anywhere. Tabs and line feeds stay.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plain {
    state: State,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Text,
    /// After `ESC`, perhaps with intermediates, as in `ESC ( B`.
    Escape,
    /// After `ESC [`.
    Control,
    /// In a string that ends with `BEL` or `ESC \`.
    String,
    /// After `ESC` in such a string.
    StringEscape,
}

impl Plain {
    /// What is to be shown of the next piece.
    pub(crate) fn next(&mut self, piece: &str) -> String {
        let mut shown = String::with_capacity(piece.len());
        for letter in piece.chars() {
            self.state = match (self.state, letter) {
                // A line feed is in no sequence: whatever began was no sequence, or was broken off.
                (_, '\n') => {
                    shown.push('\n');
                    State::Text
                }
                (State::Text | State::Escape, '\u{1b}') => State::Escape,
                (State::Text, '\u{9b}') => State::Control,
                (State::Text, '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}') => State::String,
                (State::Text, letter) => {
                    if letter == '\t' || !(letter.is_control() || reorders(letter)) {
                        shown.push(letter);
                    }
                    State::Text
                }
                (State::Escape, '[') => State::Control,
                (State::Escape, ']' | 'P' | '^' | '_' | 'X') => State::String,
                (State::Escape, ' '..='/') => State::Escape,
                (State::Escape, _) => State::Text,
                (State::Control, ' '..='?') => State::Control,
                (State::Control, '\u{1b}') => State::Escape,
                (State::Control, _) => State::Text,
                (State::String, '\u{7}' | '\u{9c}') => State::Text,
                (State::String, '\u{1b}') => State::StringEscape,
                (State::String, _) => State::String,
                (State::StringEscape, '[') => State::Control,
                (State::StringEscape, _) => State::Text,
            };
        }
        shown
    }
}

/// Characters that show text in another order than it is read in.
fn reorders(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is to be shown of a whole text.
pub(crate) fn plain(text: &str) -> String {
    Plain::default().next(text)
}

#[cfg(test)]
mod tests {
    use super::{Plain, plain};

    const CASES: &[(&str, &str)] = &[
        ("\x1b[1;31mred\x1b[0m plain", "red plain"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\u{9b}31mred \u{9d}52;c;aGk=\u{9c}end", "red end"),
        ("a\tb\r\nc\u{0}\u{8}\u{7f}d", "a\tb\ncd"),
        ("grün ✓ 日本", "grün ✓ 日本"),
        ("user\u{202e}txt.exe", "usertxt.exe"),
        ("broken \x1b[12\nnext", "broken \nnext"),
        ("\x1b(Bascii", "ascii"),
    ];

    #[test]
    fn sequences_go_and_text_stays() {
        for (given, expected) in CASES {
            assert_eq!(plain(given), *expected, "{given:?}");
        }
    }

    #[test]
    fn where_the_text_is_cut_makes_no_difference() {
        for (given, expected) in CASES {
            let mut filter = Plain::default();
            let shown: String = given.chars().map(|letter| filter.next(&letter.to_string())).collect();
            assert_eq!(shown, *expected, "{given:?}");
        }
    }
}
