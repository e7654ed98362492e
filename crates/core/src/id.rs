//! Typed identifiers.
//!
//! An id is 128 random bits. It isn't time-ordered, because people type prefixes of it and time-ordered ids share
//! theirs; order comes from `seq` and `created_at`. The stored form is 32 lower-case hex digits. What a front door
//! prints (`sesn_…` in base58, `ses_<uuid>`, twelve hex digits) is one of the forms that [`parse`](SessionId::parse)
//! accepts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that isn't an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id such as `{prefix}_…`, got `{given}`")]
pub struct InvalidId {
    /// The prefix of the kind that was wanted, without the underscore.
    pub prefix: &'static str,
    /// What was given, cut to 64 characters.
    pub given: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal $(| $other:literal)*;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// The prefix of the `/v1` form, without the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The id with these bits.
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// The bits of the id.
            pub const fn bits(self) -> u128 {
                self.0
            }

            /// The `/v1` form: prefix, underscore, 22 base58 digits.
            pub fn prefixed(self) -> String {
                format!("{}_{}", $prefix, Base58(self.0))
            }

            /// Reads any form a front door prints: base58, 32 hex digits or a UUID, with or without a prefix of this kind.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let bare = strip_prefix(text, &[$prefix $(, $other)*]);
                bare.and_then(parse_bits).map(Self).ok_or_else(|| InvalidId {
                    prefix: $prefix,
                    given: text.chars().take(64).collect(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{:x}", $prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*

        /// The prefix of every kind, for the test that they are unique.
        #[cfg(test)]
        const PREFIXES: &[&str] = &[$($prefix $(, $other)*),*];
    };
}

ids! {
    /// Owner of every other resource.
    TenantId = "tnt";
    /// A versioned agent definition.
    AgentId = "agent" | "agt";
    /// How a session's sandbox is made.
    EnvironmentId = "env";
    /// The durable unit of work.
    SessionId = "sesn" | "sess" | "ses" | "session";
    /// One conversation context within a session.
    ThreadId = "sthr";
    /// One stretch of work on a thread, until it is idle.
    TurnId = "turn";
    /// One model request; also the token that fences its results.
    AttemptId = "att";
    /// What a front door shows under one id; a tool call is named by the item that shows it.
    ItemId = "sevt";
    /// One life of a session's sandbox, from start to stop.
    SandboxId = "sbx";
    /// A session's files as they were at one moment.
    SnapshotId = "snap";
    /// An API key's public handle (never the secret).
    KeyId = "apikey";
}

/// A supply of fresh ids. The bits come from outside with each command, so that deciding stays a pure function.
#[derive(Debug, Clone)]
pub enum Ids {
    /// Spreads one random seed over as many ids as a command needs.
    Seeded(u128),
    /// Counts up from a number: readable ids for tests.
    Counting(u128),
}

impl Ids {
    /// The next bits. Seeded supplies use a 128-bit Weyl sequence through a splitmix finaliser on each half.
    pub fn bits(&mut self) -> u128 {
        match self {
            Self::Counting(next) => {
                *next += 1;
                *next
            }
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
                let (high, low) = ((*state >> 64) as u64, *state as u64);
                (u128::from(mix(high ^ low.rotate_left(32))) << 64) | u128::from(mix(low.wrapping_add(mix(high))))
            }
        }
    }

    /// The next item id.
    pub fn item(&mut self) -> ItemId {
        ItemId::from_bits(self.bits())
    }

    /// The next turn id.
    pub fn turn(&mut self) -> TurnId {
        TurnId::from_bits(self.bits())
    }

    /// The next attempt token.
    pub fn attempt(&mut self) -> AttemptId {
        AttemptId::from_bits(self.bits())
    }

    /// The next sandbox id.
    pub fn sandbox(&mut self) -> SandboxId {
        SandboxId::from_bits(self.bits())
    }

    /// The next snapshot id.
    pub fn snapshot(&mut self) -> SnapshotId {
        SnapshotId::from_bits(self.bits())
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const BASE58_DIGITS: usize = 22;

struct Base58(u128);

impl fmt::Display for Base58 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'1'; BASE58_DIGITS];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[(rest % 58) as usize];
            rest /= 58;
        }
        f.write_str(std::str::from_utf8(&digits).expect("the alphabet is ASCII"))
    }
}

fn strip_prefix<'t>(text: &'t str, allowed: &[&str]) -> Option<&'t str> {
    match text.split_once('_') {
        None => Some(text),
        Some((prefix, rest)) => allowed.contains(&prefix).then_some(rest),
    }
}

fn parse_bits(bare: &str) -> Option<u128> {
    match bare.len() {
        BASE58_DIGITS => bare.bytes().try_fold(0u128, |value, byte| {
            let digit = ALPHABET.iter().position(|&letter| letter == byte)? as u128;
            value.checked_mul(58)?.checked_add(digit)
        }),
        32 => parse_hex(bare),
        36 => {
            let at_dashes = bare.bytes().enumerate().all(|(at, byte)| (byte == b'-') == [8, 13, 18, 23].contains(&at));
            if at_dashes { parse_hex(&bare.replace('-', "")) } else { None }
        }
        _ => None,
    }
}

fn parse_hex(digits: &str) -> Option<u128> {
    let hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u128::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{Ids, InvalidId, PREFIXES, SessionId};

    #[test]
    fn prefixes_are_unique() {
        let mut seen = PREFIXES.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), PREFIXES.len());
    }

    #[test]
    fn every_printed_form_reads_back() {
        for bits in [0, 1, 57, 58, u128::MAX, 0x0123_4567_89ab_cdef_0011_2233_4455_6677] {
            let id = SessionId::from_bits(bits);
            let hex = id.to_string();
            let uuid = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
            for form in [hex.clone(), id.prefixed(), format!("ses_{uuid}"), format!("sess_{hex}"), uuid] {
                assert_eq!(SessionId::parse(&form), Ok(id), "{form}");
            }
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "sesn_",
            "agent_1111111111111111111111",
            "sesn_zzzzzzzzzzzzzzzzzzzzzz",
            "sesn_0000",
            "../../etc/passwd",
        ] {
            let expected = InvalidId { prefix: "sesn", given: text.to_owned() };
            assert_eq!(SessionId::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn seeded_ids_do_not_repeat() {
        let mut ids = Ids::Seeded(7);
        let mut seen: Vec<u128> = (0..10_000).map(|_| ids.bits()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10_000);
    }
}
