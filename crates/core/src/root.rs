//! What a sandbox's root file system is made from.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::packages::Packages;

/// What the files of a sandbox begin with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Basis {
    /// The root file system.
    pub root: Root,
    /// What is installed in it.
    pub packages: Packages,
}

/// Where the root file system of an environment's sandboxes comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Root {
    /// The programs and libraries of the host, read-only, and otherwise a fresh system.
    #[default]
    Host,
    /// A directory of the host that holds a whole system; the operator allows which.
    Directory {
        /// Its absolute path.
        path: String,
    },
    /// An image of a registry.
    Image {
        /// Which.
        reference: ImageReference,
    },
    /// An image in a file or directory of the host, in the OCI image layout; the operator allows which.
    Archive {
        /// Its absolute path.
        path: String,
    },
}

impl Root {
    /// Whether it is the host's, as most are.
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

/// The name of an image, with all that may be left out put in: `debian` is `docker.io/library/debian:latest`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The longest name of an image, without its tag and digest.
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;
/// The registry that is meant when none is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that one keeps images whose name has one part.
const DEFAULT_NAMESPACE: &str = "library";

impl ImageReference {
    /// Reads `[registry/]repository[:tag][@sha256:digest]`; an error says what is expected.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err("expected `sha256:` and 64 hexadecimal digits after the `@`");
        }
        // A colon before a slash is that of a registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            Some(_) | None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("expected a tag of letters, digits, `_`, `.` and `-`, at most 128");
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if first == "localhost" || first.contains(['.', ':']) => (first, rest.to_owned()),
            Some(_) => (DEFAULT_REGISTRY, name.to_owned()),
            None => (DEFAULT_REGISTRY, format!("{DEFAULT_NAMESPACE}/{name}")),
        };
        if name.len() > LONGEST_NAME {
            return Err("expected a name of at most 255 characters");
        }
        if !is_registry(registry) {
            return Err("expected the registry's host name, with its port after a colon if it has one");
        }
        if !repository.split('/').all(is_part) {
            return Err("expected a name like `debian:12` or `registry.example.com/team/image:tag`, in lower case");
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest"),
            (tag, _) => tag,
        };
        let (tag, digest) = (tag.map(str::to_owned), digest.map(str::to_owned));
        Ok(Self { registry: registry.to_owned(), repository, tag, digest })
    }

    /// The host that has it, with its port if it isn't the usual one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Its name there.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Its tag, which may be moved to another image at any time.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of its manifest, which names one image for good.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl TryFrom<String> for ImageReference {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        reference.to_string()
    }
}

/// Whether it is `sha256:` and as many digits as that has.
pub fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_tag(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=LONGEST_TAG).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with(['.', '-'])
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|address| {
        address.contains(':') && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
    });
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0) && !port.starts_with('+');
    (is_address || host.split('.').all(is_label)) && port.is_none_or(is_port)
}

/// Lower-case letters and digits, with single separators between them.
fn is_part(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(alphanumeric);
    let inner = |byte: u8| alphanumeric(byte) || matches!(byte, b'_' | b'.' | b'-');
    let bytes = text.as_bytes();
    ends(bytes.first().copied())
        && ends(bytes.last().copied())
        && bytes.iter().copied().all(inner)
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::{ImageReference, Root};

    #[test]
    fn what_is_left_out_of_a_reference_is_put_in() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        for (given, whole) in [
            ("debian", "docker.io/library/debian:latest".to_owned()),
            ("debian:12", "docker.io/library/debian:12".to_owned()),
            ("team/image", "docker.io/team/image:latest".to_owned()),
            ("localhost/image", "localhost/image:latest".to_owned()),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1".to_owned()),
            ("[::1]:5000/a", "[::1]:5000/a:latest".to_owned()),
            ("ghcr.io/a/b-c_d.e", "ghcr.io/a/b-c_d.e:latest".to_owned()),
            (&format!("debian@{digest}"), format!("docker.io/library/debian@{digest}")),
            (&format!("debian:12@{digest}"), format!("docker.io/library/debian:12@{digest}")),
        ] {
            let read = ImageReference::parse(given).expect("a reference");
            assert_eq!(read.to_string(), whole);
            assert_eq!(ImageReference::parse(&whole), Ok(read));
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "a/".repeat(200) + "b";
        for wrong in [
            "",
            ":",
            "@",
            "/",
            "a:",
            "a@",
            "a@sha256:00",
            "a@sha512:00",
            "Debian",
            "a//b",
            "a/../b",
            "-a",
            "a-",
            "a b",
            "a:b c",
            "a:.b",
            "-x.y/a",
            "x.y:0/a",
            "x.y:99999/a",
            "x.y:+5/a",
            "http://x.y/a",
            "x.y/a?b",
            "x.y/a#b",
            "user@x.y/a",
            "x.y/",
            "[::1/a",
            "[zz]:1/a",
            "ä",
            &long,
        ] {
            assert!(ImageReference::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_root_is_written_with_its_type() {
        let root = Root::Image { reference: ImageReference::parse("debian:12").expect("a reference") };
        let text = r#"{"type":"image","reference":"docker.io/library/debian:12"}"#;
        assert_eq!(serde_json::to_string(&root).expect("text"), text);
        assert_eq!(serde_json::from_str::<Root>(text).expect("a root"), root);
        assert!(serde_json::from_str::<Root>(r#"{"type":"image","reference":"A"}"#).is_err());
        assert_eq!(serde_json::from_str::<Root>(r#"{"type":"host"}"#).expect("a root"), Root::default());
    }
}
