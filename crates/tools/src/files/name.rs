use serde::{Deserialize, Serialize};

/// A path or a name, which may be any bytes but a zero.
///
/// One that is UTF-8 is that text. Another is shown with each byte that isn't part of a character as `\x` and two digits, and each
/// backslash doubled; `escaped` tells it from the first kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The text.
    pub path: String,
    /// Whether the text has to be read as above.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub escaped: bool,
}

impl Name {
    /// The text itself.
    pub fn plain(path: impl Into<String>) -> Self {
        Self { path: path.into(), escaped: false }
    }

    /// The name of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        if let Ok(text) = std::str::from_utf8(bytes) {
            return Self::plain(text);
        }
        let mut path = String::new();
        for chunk in bytes.utf8_chunks() {
            path.push_str(&chunk.valid().replace('\\', "\\\\"));
            chunk.invalid().iter().for_each(|byte| path.push_str(&format!("\\x{byte:02x}")));
        }
        Self { path, escaped: true }
    }

    /// The bytes it stands for; `None` if it isn't written as it should be.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        if !self.escaped {
            return Some(self.path.clone().into_bytes());
        }
        let mut bytes = Vec::new();
        let mut rest = self.path.as_bytes();
        while let Some((byte, after)) = rest.split_first() {
            (bytes, rest) = match (byte, after) {
                (b'\\', [b'\\', after @ ..]) => (push(bytes, b'\\'), after),
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                    (push(bytes, digit(*high)? << 4 | digit(*low)?), after)
                }
                (b'\\', _) => return None,
                (byte, after) => (push(bytes, *byte), after),
            };
        }
        Some(bytes)
    }
}

fn push(mut bytes: Vec<u8>, byte: u8) -> Vec<u8> {
    bytes.push(byte);
    bytes
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn any_bytes_come_back() {
        for bytes in [&b"plain"[..], b"with \\ backslash", b"\xff\\x", b"a\xc3", "grün".as_bytes(), b"\xe2\x82\\\\"] {
            let name = Name::of(bytes);
            assert_eq!(name.bytes().as_deref(), Some(bytes), "{name:?}");
            assert_eq!(name.escaped, std::str::from_utf8(bytes).is_err());
        }
        for wrong in ["\\", "\\x", "\\x1", "\\xzz", "\\x+1", "\\n"] {
            assert_eq!(Name { path: wrong.to_owned(), escaped: true }.bytes(), None);
        }
    }
}
