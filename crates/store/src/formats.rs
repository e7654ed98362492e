//! The stored forms. Each kind of value has a version; old ones are brought up to date when they are read.
//!
//! When a change of a core type changes its stored form (the golden files in `tests/golden` tell), add a function to
//! the type's `UPCASTERS` that turns the previous form into the new one, and keep the old golden file.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tenure_core::fact::Fact;
use tenure_core::resource::{AgentRecord, EnvironmentRecord, KeyRecord};
use tenure_core::session::Definition;
use tenure_core::summary::Summary;

use crate::feed::FeedKind;

/// Brings a value from one version of its form to the next.
pub type Upcaster = fn(&mut Value);

/// A type that is stored as JSON.
pub trait Stored: Serialize + DeserializeOwned {
    /// What messages call it.
    const NAME: &'static str;
    /// One for each step, from version 1 on.
    const UPCASTERS: &'static [Upcaster];
    /// The version that is written now.
    const FORMAT: u32 = Self::UPCASTERS.len() as u32 + 1;
}

macro_rules! stored {
    ($($type:ty = $name:literal, upcasters: [$($upcaster:path),*];)*) => {$(
        impl Stored for $type {
            const NAME: &'static str = $name;
            const UPCASTERS: &'static [Upcaster] = &[$($upcaster),*];
        }
    )*};
}

stored! {
    Fact = "fact", upcasters: [];
    Summary = "session row", upcasters: [];
    Definition = "session definition", upcasters: [];
    FeedKind = "feed entry", upcasters: [];
    AgentRecord = "agent", upcasters: [];
    EnvironmentRecord = "environment", upcasters: [];
    KeyRecord = "key", upcasters: [];
}

/// Why stored bytes can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer build wrote them.
    #[error("its format {found} was written by a newer version of Tenure; this one knows {known}")]
    Newer {
        /// Their version.
        found: u32,
        /// The newest version this build reads.
        known: u32,
    },
    /// They say something this build doesn't know, or are damaged.
    #[error("{0}")]
    Malformed(#[from] serde_json::Error),
}

/// The bytes of a value in the current form.
pub fn encode<T: Stored>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("stored types have string keys and no failing serializers")
}

/// Reads a value of any version up to the current one.
pub fn decode<T: Stored>(format: u32, bytes: &[u8]) -> Result<T, DecodeError> {
    if format == T::FORMAT {
        return Ok(serde_json::from_slice(bytes)?);
    }
    let steps = format.checked_sub(1).and_then(|steps| T::UPCASTERS.get(steps as usize..));
    let Some(steps) = steps.filter(|_| format < T::FORMAT) else {
        return Err(DecodeError::Newer { found: format, known: T::FORMAT });
    };
    let mut value = serde_json::from_slice(bytes)?;
    for upcast in steps {
        upcast(&mut value);
    }
    Ok(serde_json::from_value(value)?)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::{DecodeError, Stored, Upcaster, decode};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Cup {
        millilitres: u32,
    }

    impl Stored for Cup {
        const NAME: &'static str = "cup";
        const UPCASTERS: &'static [Upcaster] = &[
            |value| *value = json!({ "decilitres": value["dl"] }),
            |value| *value = json!({ "millilitres": value["decilitres"].as_u64().map(|dl| dl * 100) }),
        ];
    }

    #[test]
    fn every_older_form_is_read() {
        for (format, bytes) in [(1, r#"{"dl":2}"#), (2, r#"{"decilitres":2}"#), (3, r#"{"millilitres":200}"#)] {
            assert_eq!(decode::<Cup>(format, bytes.as_bytes()).unwrap(), Cup { millilitres: 200 }, "{format}");
        }
    }

    #[test]
    fn a_newer_form_is_refused() {
        for format in [0, 4] {
            assert!(matches!(decode::<Cup>(format, b"{}"), Err(DecodeError::Newer { known: 3, .. })));
        }
    }
}
