//! `files.sha256`: every file of a backup with its hash, in the form that `sha256sum -c` reads.

use std::io::{BufRead, Write};
use std::path::{Component, Path};

use anyhow::{Context as _, Result, bail};

/// Its name in a backup.
pub(super) const NAME: &str = "files.sha256";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its SHA-256, 64 hex digits in lower case.
    pub(super) sha256: String,
    /// Where it is in the backup.
    pub(super) path: String,
}

impl Listed {
    /// Adds its line.
    pub(super) fn write(&self, to: &mut impl Write) -> std::io::Result<()> {
        writeln!(to, "{}  {}", self.sha256, self.path)
    }
}

/// Goes through a list. Anything that isn't as [`Listed::write`] writes it is an error, so that no damage goes unnoticed.
pub(super) fn each(mut from: impl BufRead, mut each: impl FnMut(Listed) -> Result<()>) -> Result<()> {
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        from.read_until(b'\n', &mut line).with_context(|| format!("can't read {NAME}"))?;
        if line.is_empty() {
            return Ok(());
        }
        let Some(listed) = parse(&line) else { bail!("{NAME} is damaged in line {number}") };
        each(listed)?;
    }
    Ok(())
}

fn parse(line: &[u8]) -> Option<Listed> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (sha256, path) = line.split_once("  ")?;
    let hex = sha256.len() == 64 && sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    // A list from elsewhere must not lead out of the backup, or out of where it is put back.
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    (hex && inside && is_listable(path)).then(|| Listed { sha256: sha256.to_owned(), path: path.to_owned() })
}

/// Whether a path can stand in the list.
pub(super) fn is_listable(path: &str) -> bool {
    !path.is_empty() && !path.contains(['\n', '\r', '\\'])
}

#[cfg(test)]
mod tests {
    use super::{Listed, each};

    fn read(text: &str) -> Result<Vec<Listed>, String> {
        let mut listed = Vec::new();
        let read = each(text.as_bytes(), |one| {
            listed.push(one);
            Ok(())
        });
        read.map(|()| listed).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let hash = "0123456789abcdef".repeat(4);
        let listed = Listed { sha256: hash.clone(), path: "blobs/ab/cd  ef".to_owned() };
        let mut written = Vec::new();
        listed.write(&mut written).expect("written");
        let written = String::from_utf8(written).expect("text");
        assert_eq!(read(&written), Ok(vec![listed]));
        let upper = written.replace("abcdef", "abcdeF");
        for damaged in [
            written.trim_end(),
            &written[1..],
            &written.replacen("  ", " ", 1),
            &upper,
            &format!("{hash}  ../outside\n"),
            &format!("{hash}  /etc/passwd\n"),
            &format!("{hash}  \n"),
            "\n",
        ] {
            assert!(read(damaged).is_err(), "{damaged:?} was read");
        }
    }
}
