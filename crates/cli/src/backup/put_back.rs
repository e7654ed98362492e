//! Putting a backup back.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use tenure_core::id::SessionId;
use tenure_core::time::Timestamp;
use tenure_sandbox::native::{check_stacks, load_files, load_layer, mark_restored};
use tenure_store::sqlite::{SessionIds, begin_generation};

use super::copying::{Unfinished, copy};
use super::list::Listed;
use super::verify::{each, verify};
use super::{Manifest, Stop, manifest};
use crate::failure::advised;
use crate::local::DataDir;
use crate::terminal::say;

/// What was restored.
#[derive(Debug)]
pub(crate) struct Restored {
    /// What the backup said of itself.
    pub(crate) manifest: Manifest,
    /// The generation that begins with it.
    pub(crate) generation: u64,
}

/// Makes a data directory of a backup, as the beginning of a new generation. Nothing is written before the whole backup
/// was read, and the directory is there whole or not at all.
pub(crate) fn put_back(backup: &Path, dir: &DataDir, stop: &Stop) -> Result<Restored> {
    refuse_unless_empty(dir.path())?;
    say::line("reading the backup …");
    let manifest = verify(backup, stop)?;
    say::line("restoring …");
    let unfinished = Unfinished::begin(dir.path(), "restoring")?;
    let into = unfinished.path();
    let sandbox = into.join("sandbox");
    let mut sessions = Vec::new();
    each(backup, |listed| {
        stop.check()?;
        if listed.path == manifest::NAME {
            return Ok(());
        }
        if let Some(layer) = layer_of(&listed) {
            let path = backup.join(&listed.path);
            let file = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
            return load_layer(&sandbox, layer, &mut BufReader::new(file))
                .with_context(|| format!("can't restore layer {layer}"));
        }
        match session_of(&listed) {
            Some(session) => {
                sessions.push(session);
                let path = backup.join(&listed.path);
                let file = File::open(&path).with_context(|| format!("can't read {}", path.display()))?;
                load_files(&sandbox, session, &mut BufReader::new(file))
                    .with_context(|| format!("can't restore the files of session {session}"))
            }
            None => {
                let (_, sha256) = copy(&backup.join(&listed.path), &into.join(&listed.path), stop)?;
                match sha256 == listed.sha256 {
                    true => Ok(()),
                    false => bail!("{} changed while it was read", listed.path),
                }
            }
        }
    })?;
    // What was missing when a backup was made of what was left is missing here too.
    if manifest.damaged == 0 {
        for session in sessions {
            check_stacks(&sandbox, session).context("the backup lacks a layer")?;
        }
    }
    let now = SystemTime::now();
    let generation = begin_generation(into, timestamp(now))?;
    // Its clock may have been ahead of ours.
    let newest = SessionIds::open(into, false)?.newest_fact()?.map_or(now, |at| now.max(system_time(at)));
    mark_restored(&sandbox, newest).context("can't mark the calls that were under way as interrupted")?;
    unfinished.sync()?;
    stop.check()?;
    unfinished.finish()?;
    Ok(Restored { manifest, generation })
}

fn refuse_unless_empty(dir: &Path) -> Result<()> {
    match std::fs::read_dir(dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(advised(
            format!("{} isn't empty", dir.display()),
            "a restore never writes over anything: move what is there away, or name another place with --data-dir",
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't look into {}", dir.display())),
    }
}

/// The sealed layer that this is, if it is one.
fn layer_of(listed: &Listed) -> Option<&str> {
    listed.path.strip_prefix("layers/")?.strip_suffix(".tar.zst")
}

/// The session whose files these are, if they are a session's.
fn session_of(listed: &Listed) -> Option<SessionId> {
    SessionId::parse(listed.path.strip_prefix("files/")?.strip_suffix(".tar")?).ok()
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::from_micros(0).after(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or(0))
}
