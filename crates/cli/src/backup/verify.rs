//! Whether a backup is whole.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::list::Listed;
use super::manifest::{FORMAT, Manifest};
use super::{Stop, copying, list, manifest};
use crate::failure::advised;

/// Reads all of a backup and compares it with what it says of itself. A byte that was changed, lost or added to any of its
/// files is an error which names the file.
pub(super) fn verify(backup: &Path, stop: &Stop) -> Result<Manifest> {
    let text = read(backup, manifest::NAME)?;
    refuse_newer(backup, &text)?;
    let (mut files, mut listed_manifest) = (0, false);
    each(backup, |listed| {
        files += 1;
        listed_manifest |= listed.path == manifest::NAME;
        let (_, sha256) = copying::hash(&backup.join(&listed.path), stop).map_err(|error| damaged(backup, &error))?;
        match sha256 == listed.sha256 {
            true => Ok(()),
            false => bail!(damaged(backup, &format!("{} isn't what it was when the backup was made", listed.path))),
        }
    })?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| damaged(backup, &format!("{}: {error}", manifest::NAME)))?;
    if !listed_manifest || files != manifest.files {
        bail!(damaged(backup, &format!("{} has {files} files, not {}", list::NAME, manifest.files)));
    }
    Ok(manifest)
}

/// Goes through the files of a backup.
pub(super) fn each(backup: &Path, each: impl FnMut(Listed) -> Result<()>) -> Result<()> {
    let path = backup.join(list::NAME);
    let file = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
    list::each(BufReader::new(file), each)
}

fn read(backup: &Path, name: &str) -> Result<Vec<u8>> {
    match std::fs::read(backup.join(name)) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(advised(
            format!("{} isn't a backup: it has no {name}", backup.display()),
            "name the folder that `tenure backup` made",
        )),
        Err(error) => Err(error).with_context(|| format!("can't read {}", backup.join(name).display())),
    }
}

/// A backup that this version can't put back is refused before anything else is judged in it.
fn refuse_newer(backup: &Path, manifest: &[u8]) -> Result<()> {
    let said: Option<Value> = serde_json::from_slice(manifest).ok();
    let format = said.as_ref().and_then(|said| said["format"].as_u64());
    match format {
        Some(format) if format > u64::from(FORMAT) => {
            let by = said.as_ref().and_then(|said| said["tenure"].as_str()).unwrap_or("a newer version");
            Err(advised(
                format!("{} is of form {format}; this version knows {FORMAT}", backup.display()),
                format!("restore it with Tenure {by}, which made it, or a newer one"),
            ))
        }
        Some(_) | None => Ok(()),
    }
}

fn damaged(backup: &Path, what: &impl std::fmt::Display) -> anyhow::Error {
    advised(
        format!("the backup {} is damaged: {what:#}", backup.display()),
        "use another backup; nothing was restored from this one",
    )
}
