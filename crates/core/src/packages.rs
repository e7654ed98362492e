//! What is installed in the root file systems of an environment.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Programs that install packages, in the order in which they do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// Packages of Debian and its like.
    Apt,
    /// Those of Ruby.
    Gem,
    /// Those of Node.js.
    Npm,
    /// Those of Python.
    Pip,
}

/// Packages by who installs them, as their environment names them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Packages(BTreeMap<Manager, Vec<String>>);

/// What the name of a package in an environment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'t> {
    /// The package.
    pub name: &'t str,
    /// The one version that will do.
    pub version: Option<&'t str>,
    /// All of it, as its manager writes it: `[extra]` and ranges of versions are in here alone.
    pub rest: &'t str,
}

/// The longest name of a package, with its version.
pub const LONGEST_PACKAGE: usize = 256;
/// The most packages of one manager.
pub const MOST_PACKAGES: usize = 256;

impl Manager {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Apt, Self::Gem, Self::Npm, Self::Pip];

    /// What it is called in environments, and the directory of its archives.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Gem => "gem",
            Self::Npm => "npm",
            Self::Pip => "pip",
        }
    }

    /// Reads the name of a package: `name`, or with a version behind `==` or as the manager itself has it (`name=1`, `name:1`,
    /// `name@1`). An error says what is expected.
    pub fn read(self, text: &str) -> Result<Wanted<'_>, &'static str> {
        if text.len() > LONGEST_PACKAGE {
            return Err("expected at most 256 characters");
        }
        let (wanted, expected) = match self {
            Self::Apt => (
                pinned(text, '=', is_debian, is_debians_version),
                "expected `name` or `name=version`, like `jq=1.6-2.1`",
            ),
            Self::Gem => {
                (pinned(text, ':', is_word, is_version), "expected `name` or `name:version`, like `rake:13.0.6`")
            }
            Self::Npm => (npm(text), "expected `name` or `name@version`, like `left-pad@1.3.0`"),
            Self::Pip => (pip(text), "expected `name`, `name==version` or a range like `name>=1,<2`"),
        };
        wanted.ok_or(expected)
    }
}

impl fmt::Display for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Packages {
    /// Whether there are none, as mostly.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has a manager install these, which it [can read](Manager::read), and nothing else.
    pub fn set(&mut self, manager: Manager, packages: Vec<String>) {
        match packages.is_empty() {
            true => self.0.remove(&manager),
            false => self.0.insert(manager, packages),
        };
    }

    /// What a manager installs.
    pub fn of(&self, manager: Manager) -> &[String] {
        self.0.get(&manager).map_or(&[], Vec::as_slice)
    }

    /// All of them, in the order in which managers install.
    pub fn iter(&self) -> impl Iterator<Item = (Manager, &[String])> {
        self.0.iter().map(|(manager, packages)| (*manager, packages.as_slice()))
    }
}

fn pinned(text: &str, mark: char, is_name: fn(&str) -> bool, is_version: fn(&str) -> bool) -> Option<Wanted<'_>> {
    let (name, version) = match text.split_once("==").or_else(|| text.split_once(mark)) {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    (is_name(name) && version.is_none_or(is_version)).then_some(Wanted { name, version, rest: text })
}

fn npm(text: &str) -> Option<Wanted<'_>> {
    let scoped = text.strip_prefix('@');
    let (name, version) = match text.split_once("==") {
        Some((name, version)) => (name, Some(version)),
        None => match scoped.unwrap_or(text).split_once('@') {
            Some((name, version)) => (&text[..name.len() + usize::from(scoped.is_some())], Some(version)),
            None => (text, None),
        },
    };
    let is_name = match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_word(scope) && is_word(name)),
        None => is_word(name),
    };
    (is_name && version.is_none_or(is_version)).then_some(Wanted { name, version, rest: text })
}

/// As far as it need be understood here: pip judges the rest.
fn pip(text: &str) -> Option<Wanted<'_>> {
    let ends = |byte: char| !(byte.is_ascii_alphanumeric() || matches!(byte, '.' | '_' | '-'));
    let (name, mut rest) = text.split_at(text.find(ends).unwrap_or(text.len()));
    if let Some(inner) = rest.strip_prefix('[') {
        let (extras, after) = inner.split_once(']')?;
        if !extras.split(',').all(is_word) {
            return None;
        }
        rest = after;
    }
    let is_clause = |clause: &str| {
        let operators = ["===", "==", "~=", "!=", "<=", ">=", "<", ">"];
        let version = operators.iter().find_map(|operator| clause.strip_prefix(operator));
        version.is_some_and(|version| {
            let version = version.strip_suffix(".*").unwrap_or(version);
            is_version(version.split_once('!').map_or(version, |(_epoch, version)| version))
        })
    };
    let is_whole = is_word(name) && (rest.is_empty() || rest.split(',').all(is_clause));
    let version = rest.strip_prefix("==").filter(|version| is_version(version));
    is_whole.then_some(Wanted { name, version, rest: text })
}

fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.bytes().all(inner) && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

fn is_debian(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'+' | b'.' | b'-');
    text.len() > 1 && text.bytes().all(inner) && !text.starts_with(['+', '.', '-'])
}

/// With an epoch before a colon, perhaps.
fn is_debians_version(text: &str) -> bool {
    let (epoch, version) = text.split_once(':').unwrap_or(("0", text));
    is_version(version) && !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_version(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'~');
    text.bytes().all(inner) && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::{Manager, Packages};

    #[test]
    fn names_are_read_as_their_managers_write_them() {
        for (manager, text, name, version) in [
            (Manager::Apt, "jq", "jq", None),
            (Manager::Apt, "libstdc++6=12.2.0-14", "libstdc++6", Some("12.2.0-14")),
            (Manager::Apt, "ruby==1:3.1", "ruby", Some("1:3.1")),
            (Manager::Gem, "rake", "rake", None),
            (Manager::Gem, "rake:13.0.6", "rake", Some("13.0.6")),
            (Manager::Npm, "left-pad", "left-pad", None),
            (Manager::Npm, "left-pad@1.3.0", "left-pad", Some("1.3.0")),
            (Manager::Npm, "@scope/name", "@scope/name", None),
            (Manager::Npm, "@scope/name@1.0.0-rc.1", "@scope/name", Some("1.0.0-rc.1")),
            (Manager::Npm, "@scope/name==1.0.0", "@scope/name", Some("1.0.0")),
            (Manager::Pip, "requests", "requests", None),
            (Manager::Pip, "requests==2.31.0", "requests", Some("2.31.0")),
            (Manager::Pip, "requests==2.*", "requests", None),
            (Manager::Pip, "requests[socks,security]>=2,<3", "requests", None),
            (Manager::Pip, "zope.interface~=5.0", "zope.interface", None),
        ] {
            let wanted = manager.read(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((wanted.name, wanted.version, wanted.rest), (name, version, text));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(257);
        for manager in Manager::ALL {
            for wrong in [
                "",
                " ",
                "-r",
                "--index-url=http://x.y",
                "a b",
                "a;b",
                "../a",
                "/etc/passwd",
                "http://x.y/a",
                "git+https://x.y/a",
                "a==",
                "==1",
                "a==-1",
                "a\n",
                "a==1\n",
                "ä",
                &long,
            ] {
                assert!(manager.read(wrong).is_err(), "{manager}: {wrong:?}");
            }
        }
        for (manager, wrong) in [
            (Manager::Npm, "@a"),
            (Manager::Npm, "a/b"),
            (Manager::Npm, "@a/b/c"),
            (Manager::Npm, "a@file:b"),
            (Manager::Npm, "a@/b"),
            (Manager::Apt, "Jq"),
            (Manager::Apt, "jq/stable"),
            (Manager::Pip, "a[b"),
            (Manager::Pip, "a[-b]"),
            (Manager::Pip, "a @ file:///b"),
            (Manager::Pip, "a>=1,"),
            (Manager::Pip, "a>=1;python_version<'3'"),
        ] {
            assert!(manager.read(wrong).is_err(), "{manager}: {wrong:?}");
        }
    }

    #[test]
    fn packages_are_written_by_manager() {
        let mut packages = Packages::default();
        packages.set(Manager::Pip, vec!["b".to_owned(), "a==1".to_owned()]);
        packages.set(Manager::Apt, vec!["jq".to_owned()]);
        let text = r#"{"apt":["jq"],"pip":["b","a==1"]}"#;
        assert_eq!(serde_json::to_string(&packages).expect("text"), text);
        assert_eq!(serde_json::from_str::<Packages>(text).expect("packages"), packages);
        packages.set(Manager::Apt, Vec::new());
        packages.set(Manager::Pip, Vec::new());
        assert!(packages.is_empty());
    }
}
