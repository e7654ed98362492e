//! What a session's files are made of, as it is kept on disk.
//!
//! A session's files are a stack: the root file system that its environment names, sealed layers over it, and one
//! writable layer on top. `HEAD` in its directory names the stack and is the truth for mounting; each file in `snapshots` names
//! another. Both are replaced by renaming, so that they are as before or as after, whenever anybody dies.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Taken;

/// The version of the files that name stacks.
const VERSION: u32 = 1;

/// What lies under all layers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Root {
    /// A skeleton, and the host's programs and libraries.
    #[default]
    Host,
    /// What that will be isn't known yet: nobody has looked.
    Unmade,
    /// A directory of the host that holds a whole system.
    Directory {
        /// Where it is.
        path: PathBuf,
    },
    /// Nothing but layers, of which the lowest are those of an image.
    Image {
        /// The digest of its manifest.
        digest: String,
        /// What its programs expect in their environment.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        env: Vec<(String, String)>,
    },
}

impl Root {
    /// What programs expect in their environment because of it.
    pub(crate) fn env(&self) -> &[(String, String)] {
        match self {
            Self::Image { env, .. } => env,
            Self::Host | Self::Unmade | Self::Directory { .. } => &[],
        }
    }
}

/// A stack of layers, lowest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) root: Root,
    pub(crate) layers: Vec<LayerId>,
    /// The lowest of them: those that the session began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) base: Vec<LayerId>,
    /// Those of them that were the session's own writable layer once; the others it shares with where they come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) own: Vec<LayerId>,
    /// Whether the writable layer that may be there belongs to another stack, and is to be thrown away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drop_layer: bool,
}

/// A snapshot: a stack that is never written again, and how it came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Noted {
    #[serde(flatten)]
    pub(crate) head: Head,
    pub(crate) taken: Taken,
}

impl Head {
    /// The same files for another session, or at another time.
    pub(crate) fn shared(&self) -> Self {
        Self { own: Vec::new(), drop_layer: false, ..self.clone() }
    }

    /// What a session with these files started with.
    pub(crate) fn start(&self) -> Self {
        let (root, base) = (self.root.clone(), self.base.clone());
        Self { root, layers: base.clone(), base, ..Self::default() }
    }

    /// That of a session which has no files yet.
    pub(crate) fn unmade() -> Self {
        Self { root: Root::Unmade, ..Self::default() }
    }

    /// The stack that this file names; `None` if there is none.
    pub(crate) fn read(at: &Path) -> io::Result<Option<Self>> {
        read(at)
    }

    /// What such a file says.
    pub(crate) fn parse(text: &[u8]) -> io::Result<Self> {
        parse(text)
    }

    /// Has this file name the stack.
    pub(crate) fn write(&self, at: &Path) -> io::Result<()> {
        write(at, self)
    }
}

impl Noted {
    /// The snapshot in this file; `None` if there is none.
    pub(crate) fn read(at: &Path) -> io::Result<Option<Self>> {
        read(at)
    }

    /// What such a file says.
    pub(crate) fn parse(text: &[u8]) -> io::Result<Self> {
        parse(text)
    }

    /// Has this file be the snapshot.
    pub(crate) fn write(&self, at: &Path) -> io::Result<()> {
        write(at, self)
    }
}

#[derive(Serialize)]
struct Stored<'s, T> {
    version: u32,
    #[serde(flatten)]
    content: &'s T,
}

fn write(at: &Path, content: &impl Serialize) -> io::Result<()> {
    replace(at, &serde_json::to_vec(&Stored { version: VERSION, content })?)
}

fn read<T: DeserializeOwned>(at: &Path) -> io::Result<Option<T>> {
    let text = match std::fs::read(at) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", at.display()));
    parse(&text).map(Some).map_err(damaged)
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let Version { version } = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
    if version > VERSION {
        return Err(damaged(format!("it is of version {version}, from a later Tenure; this one reads {VERSION}")));
    }
    serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))
}

/// The name of a sealed layer and of its directory: at most 80 small letters, digits and hyphens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LayerId(String);

impl LayerId {
    /// One that nobody has.
    pub(crate) fn random() -> io::Result<Self> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(format!("{:032x}", u128::from_le_bytes(bits))))
    }

    /// Whether it was a session's own writable layer, or is merged from such: all others belong to root file systems.
    pub(crate) fn is_of_a_session(&self) -> bool {
        self.0.starts_with("merged-") || self.0.len() == 32 && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The one whose directory has this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ((1..=80).contains(&name.len()) && name.bytes().all(is_plain)).then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer {self}")
    }
}

impl Serialize for LayerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("no layer can be called {name:?}")))
    }
}

/// Replaces a small file as a whole.
///
/// What it says must be on disk no later than its new name, but nobody need wait for either. Starting to write it out does that
/// where the file system keeps the two in order (ext4, btrfs); elsewhere it is synced, which costs little there. Syncing on ext4
/// would also write out whatever else has been written of late.
fn replace(at: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = at.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    // SAFETY: acts on an open descriptor alone.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    let kind = rustix::fs::fstatfs(&file)?.f_type;
    if kind != libc::EXT4_SUPER_MAGIC && kind != libc::BTRFS_SUPER_MAGIC {
        file.sync_data()?;
    }
    std::fs::rename(&new, at)
}

#[cfg(test)]
mod tests {
    use super::{Head, LayerId};

    #[test]
    fn what_is_written_is_read_and_later_versions_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("HEAD");
        assert_eq!(Head::read(&at).expect("none"), None);
        let layers = ["image-00", "ffffffffffffffffffffffffffffffff"];
        let layers = layers.map(|name| LayerId::parse(name).expect("a name")).to_vec();
        let head = Head { own: layers[1..].to_vec(), layers, ..Head::default() };
        head.write(&at).expect("written");
        let text = r#"{"version":1,"root":{"type":"host"},"layers":["image-00","ffffffffffffffffffffffffffffffff"],"own":["ffffffffffffffffffffffffffffffff"]}"#;
        assert_eq!(std::fs::read_to_string(&at).expect("text"), text);
        assert_eq!(Head::read(&at).expect("one"), Some(head));
        std::fs::write(&at, text.replace("\"version\":1", "\"version\":2")).expect("written");
        assert!(Head::read(&at).expect_err("refused").to_string().contains("version 2"));
        for odd in ["", "{", r#"{"version":1,"root":{"type":"host"},"layers":["../x"]}"#] {
            std::fs::write(&at, odd).expect("written");
            assert!(Head::read(&at).is_err(), "{odd}");
        }
        for odd in ["", ".", "..", "a/b", "A", "a\n", &"a".repeat(81)] {
            assert_eq!(LayerId::parse(odd), None);
        }
    }
}
