//! The kinds of values.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;
use tenure_tools::Opened;

/// A value that a setting can have.
pub(crate) trait Value: Sized {
    /// What it looks like, in a word for `--help`.
    const KIND: &'static str;

    /// Reads it. An error says what was expected and what came.
    fn parse(text: &str) -> Result<Self, String>;
}

/// How a log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One object on each line.
    Json,
}

/// A time span that isn't none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lasting(pub(crate) Duration);

/// A part of something, in hundredths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percent(pub(crate) u64);

/// A time span, or never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Never(pub(crate) Option<Duration>);

fn wrong(expected: &str, text: &str) -> String {
    format!("expected {expected}, got `{text}`")
}

impl Value for String {
    const KIND: &'static str = "TEXT";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for Option<String> {
    const KIND: &'static str = "TEXT";

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "LIST";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }
}

impl Value for Vec<Opened> {
    const KIND: &'static str = "LIST";

    fn parse(text: &str) -> Result<Self, String> {
        Vec::<String>::parse(text)?.iter().map(|part| part.parse()).collect()
    }
}

impl Value for bool {
    const KIND: &'static str = "BOOL";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err(wrong("`true` or `false`", text)),
        }
    }
}

impl Value for u32 {
    const KIND: &'static str = "NUMBER";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| wrong("a whole number from 0", text))
    }
}

impl Value for u64 {
    const KIND: &'static str = "NUMBER";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| wrong("a whole number from 0", text))
    }
}

impl Value for usize {
    const KIND: &'static str = "NUMBER";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number @ 1..) => Ok(number),
            Ok(0) | Err(_) => Err(wrong("a whole number from 1", text)),
        }
    }
}

impl Value for Percent {
    const KIND: &'static str = "PERCENT";

    fn parse(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('%').parse() {
            Ok(percent @ 10..=100) => Ok(Self(percent)),
            Ok(_) | Err(_) => Err(wrong("10% to 100%", text)),
        }
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "ADDRESS";

    fn parse(text: &str) -> Result<Self, String> {
        let given = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let given = given.as_deref().unwrap_or(text);
        given.parse().map_err(|_| wrong("an IP address and a port such as 127.0.0.1:7717", text))
    }
}

impl Value for Duration {
    const KIND: &'static str = "TIME";

    fn parse(text: &str) -> Result<Self, String> {
        let span: Option<SignedDuration> = text.parse().ok();
        let span = span.and_then(|span| Self::try_from(span).ok());
        span.ok_or_else(|| wrong("a time with its unit such as 500ms, 30s, 5m or 1h", text))
    }
}

impl Value for Lasting {
    const KIND: &'static str = "TIME";

    fn parse(text: &str) -> Result<Self, String> {
        match Duration::parse(text)? {
            Duration::ZERO => Err(wrong("a time above 0 such as 500ms or 30s", text)),
            span => Ok(Self(span)),
        }
    }
}

impl Value for Never {
    const KIND: &'static str = "TIME";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self(None)),
            _ => {
                Duration::parse(text).map(|span| Self(Some(span))).map_err(|problem| format!("{problem} (or `never`)"))
            }
        }
    }
}

impl Value for LogFormat {
    const KIND: &'static str = "FORMAT";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(wrong("`text` or `json`", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::{Lasting, Never, Value};

    #[test]
    fn times_have_units() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("1h 30m", 5_400_000), ("5 minutes", 300_000)] {
            assert_eq!(Duration::parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "-1s", "soon"] {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
        assert_eq!(Never::parse("never"), Ok(Never(None)));
        assert!(Lasting::parse("0s").is_err());
    }

    #[test]
    fn addresses_have_ports() {
        assert!(SocketAddr::parse("localhost:0").is_ok_and(|address| address.ip().is_loopback()));
        assert!(SocketAddr::parse("[::1]:80").is_ok());
        assert!(SocketAddr::parse("7717").is_err());
    }
}
