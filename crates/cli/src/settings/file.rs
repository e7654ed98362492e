//! `config.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::table::Setting;
use crate::failure::advised;

/// What the file says, as texts.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    values: BTreeMap<&'static str, String>,
}

impl ConfigFile {
    /// Reads the file; one that isn't there says nothing.
    pub(crate) fn read(path: &Path, table: &'static [Setting]) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        };
        Self::parse(&text, path, table)
    }

    /// Reads its text. A key that no setting has is an error: what is silently ignored is believed to work.
    pub(crate) fn parse(text: &str, path: &Path, table: &'static [Setting]) -> Result<Self> {
        let parsed: toml::Table =
            text.parse().map_err(|error| anyhow::anyhow!("{} is no TOML: {error}", path.display()))?;
        let mut flat = Vec::new();
        flatten("", &parsed, &mut flat);
        let mut values = BTreeMap::new();
        for (key, value) in flat {
            let Some(setting) = table.iter().find(|setting| !setting.key.is_empty() && setting.key == key) else {
                return Err(unknown(&key, path, table));
            };
            let text = text_of(value).ok_or_else(|| {
                let kind = setting.kind.to_lowercase();
                anyhow::anyhow!("{key} in {}: expected a {kind}, got a {}", path.display(), value.type_str())
            })?;
            (setting.check)(&text).map_err(|problem| anyhow::anyhow!("{key} in {}: {problem}", path.display()))?;
            values.insert(setting.key, text);
        }
        Ok(Self { path: path.to_owned(), values })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Every value under its whole key.
fn flatten<'t>(prefix: &str, table: &'t toml::Table, into: &mut Vec<(String, &'t toml::Value)>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&format!("{key}."), inner, into),
            _ => into.push((key, value)),
        }
    }
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(list) => {
            let parts: Option<Vec<_>> = list.iter().map(toml::Value::as_str).collect();
            parts.map(|parts| parts.join(","))
        }
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn unknown(key: &str, path: &Path, table: &[Setting]) -> anyhow::Error {
    let keys = table.iter().map(|setting| setting.key).filter(|known| !known.is_empty());
    let nearest = keys.min_by_key(|known| distance(key, known)).unwrap_or_default();
    advised(
        format!("{} has an unknown key `{key}`; the nearest is `{nearest}`", path.display()),
        "`tenure up --help` lists the settings",
    )
}

/// How many letters have to change to make one word of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ConfigFile, distance};
    use crate::settings::table::TABLE;

    fn error(text: &str) -> String {
        let parsed = ConfigFile::parse(text, Path::new("config.toml"), TABLE);
        parsed.expect_err("it is wrong").to_string()
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        assert!(error("lisen = '127.0.0.1:1'").contains("`lisen`; the nearest is `listen`"));
        assert!(error("[sandbox]\nidel = '5m'").contains("`sandbox.idel`; the nearest is `sandbox.idle`"));
        assert!(error("[api]\nkey = 'x'").contains("unknown key `api.key`"));
    }

    #[test]
    fn a_wrong_value_names_its_key() {
        assert!(error("listen = 7717").starts_with("listen in config.toml: expected an IP address"));
        assert!(
            error("[retry]\ncount = 1.5").starts_with("retry.count in config.toml: expected a number, got a float")
        );
        assert!(error("listen = ").starts_with("config.toml is no TOML"));
    }

    #[test]
    fn distances() {
        for (one, other, expected) in [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("kitten", "sitting", 3)] {
            assert_eq!(distance(one, other), expected);
        }
    }
}
