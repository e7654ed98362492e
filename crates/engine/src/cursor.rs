//! Places in a session's log, as clients keep them.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::error::Error;

/// A place in a session's log, in a generation of the data. It is printed as `<seq>`, and once the data come from a
/// backup as `<generation>.<seq>`, so that a place which a restore has undone isn't taken for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// How often, and when, the data were restored; 0 for never.
    pub generation: u64,
    /// The place of the last fact that was seen; 0 before the first.
    pub seq: u64,
}

impl Cursor {
    /// Its place in data of this generation. The beginning is one in all of them.
    pub(crate) fn within(self, generation: u64) -> Result<u64, Error> {
        match self {
            Self { generation: 0, seq: 0 } => Ok(0),
            Self { generation: own, seq } if own == generation => Ok(seq),
            Self { .. } => Err(Error::invalid(
                "after",
                format!(
                    "the cursor `{self}` is from before this server's data were restored from a backup; \
                     reload the session's events, and go on with the cursor of the last one"
                ),
            )),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.generation {
            0 => write!(f, "{}", self.seq),
            generation => write!(f, "{generation}.{}", self.seq),
        }
    }
}

impl FromStr for Cursor {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        let (generation, seq) = match text.split_once('.') {
            Some((generation, seq)) => (generation.parse()?, seq),
            None => (0, text),
        };
        Ok(Self { generation, seq: seq.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn what_is_printed_is_read_as_it_was() {
        for (generation, seq, text) in [(0, 0, "0"), (0, 17, "17"), (1_763_000_000, 17, "1763000000.17")] {
            let cursor = Cursor { generation, seq };
            assert_eq!((cursor.to_string().as_str(), text.parse()), (text, Ok(cursor)));
        }
        for text in ["", "-1", "x", "1.", ".1", "1.2.3", "18446744073709551616"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_beginning_is_in_every_generation() {
        let place = |text: &str, generation| text.parse::<Cursor>().expect("it is one").within(generation).ok();
        assert_eq!([place("17", 0), place("9.17", 9), place("0", 9)], [Some(17), Some(17), Some(0)]);
        assert_eq!([place("17", 9), place("9.17", 0), place("8.17", 9), place("8.0", 9)], [None; 4]);
    }
}
