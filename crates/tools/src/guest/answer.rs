//! What an op writes to its standard output: the media type on a line, then the bytes.

use std::io::Write;

/// The end of an op.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It did what was asked.
    Done(Body),
    /// It couldn't, and the model must hear why.
    Refused(String),
    /// The op is at fault, and the operator must hear why.
    Broken(String),
}

/// What an op gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Text for the model.
    Text(String),
    /// A picture or document.
    Media {
        /// Such as `image/png`.
        media_type: String,
        /// The file's bytes.
        bytes: Vec<u8>,
    },
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

const TEXT: &str = "text/plain";
const REFUSED: i32 = 1;
/// `EX_SOFTWARE` of sysexits.h.
const BROKEN: i32 = 70;

impl Answer {
    /// Writes the answer and gives the exit code that belongs to it.
    pub(crate) fn write(&self, out: &mut dyn Write) -> i32 {
        let (code, media_type, bytes) = match self {
            Self::Done(Body::Text(text)) => (0, TEXT, text.as_bytes()),
            Self::Done(Body::Media { media_type, bytes }) => (0, media_type.as_str(), bytes.as_slice()),
            Self::Refused(message) => (REFUSED, TEXT, message.as_bytes()),
            Self::Broken(message) => (BROKEN, TEXT, message.as_bytes()),
        };
        let written = out
            .write_all(media_type.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .and_then(|()| out.write_all(bytes))
            .and_then(|()| out.flush());
        if written.is_ok() { code } else { BROKEN }
    }

    /// Reads what [`write`](Self::write) wrote.
    pub(crate) fn read(code: i32, output: &[u8]) -> Self {
        let split = output.iter().position(|&byte| byte == b'\n');
        let (media_type, bytes) = split.map_or((&b""[..], output), |at| (&output[..at], &output[at + 1..]));
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match code {
            0 if media_type == TEXT.as_bytes() => Self::Done(Body::Text(text())),
            0 => match std::str::from_utf8(media_type) {
                Ok(media_type) if media_type.contains('/') => {
                    Self::Done(Body::Media { media_type: media_type.to_owned(), bytes: bytes.to_vec() })
                }
                Ok(_) | Err(_) => Self::Broken("an answer without a media type".to_owned()),
            },
            REFUSED => Self::Refused(text()),
            _ => Self::Broken(text()),
        }
    }
}
