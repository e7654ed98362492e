//! Copying files into and out of backups, hashed on the way.

use std::fs::{DirBuilder, File};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{Advice, FlockOperation, fadvise, flock, syncfs};
use tenure_store::Hashing;

use super::Stop;
use crate::failure::advised;

const CHUNK: usize = 256 * 1024;

/// A folder that is written beside its place and gets its name when it is whole. Dropped before, it is removed.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    wanted: PathBuf,
    dir: File,
    finished: bool,
}

impl Unfinished {
    /// Begins a folder; one that a killed process left is taken away first.
    pub(super) fn begin(wanted: &Path, suffix: &str) -> Result<Self> {
        let name = wanted.file_name().context("the folder needs a name")?;
        let path = wanted.with_file_name(format!("{}.{suffix}", name.display()));
        if let Some(parent) = path.parent() {
            make_folders(parent)?;
        }
        let make = || DirBuilder::new().mode(0o700).create(&path);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let _left = lock(&path)?;
                std::fs::remove_dir_all(&path).with_context(|| format!("can't remove {}", path.display()))?;
                make()
            }
            made => made,
        }
        .with_context(|| format!("can't make {}", path.display()))?;
        let dir = lock(&path)?;
        Ok(Self { path, wanted: wanted.to_owned(), dir, finished: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until everything in it is on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        syncfs(&self.dir).with_context(|| format!("can't write {}", self.path.display()))
    }

    /// Gives it its name.
    pub(super) fn finish(mut self) -> Result<()> {
        std::fs::rename(&self.path, &self.wanted).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => advised(
                format!("{} can't be replaced: a file system is mounted there", self.wanted.display()),
                "name a folder inside of it",
            ),
            _ => anyhow::Error::new(error).context(format!("can't make {}", self.wanted.display())),
        })?;
        self.finished = true;
        let parent = self.wanted.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(parent).and_then(|parent| parent.sync_all());
        synced.with_context(|| format!("can't write {}", parent.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn lock(path: &Path) -> Result<File> {
    let dir = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(dir),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(advised(
            format!("another process is writing {}", path.display()),
            "wait for it, or choose another place",
        )),
        Err(error) => Err(error).with_context(|| format!("can't lock {}", path.display())),
    }
}

/// Makes a folder and those above it, for their owner alone.
pub(super) fn make_folders(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("can't make {}", path.display()))
}

/// A new file for its owner alone, with the folders above it.
pub(super) fn create(path: &Path) -> Result<File> {
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    let created = File::options().write(true).create_new(true).mode(0o600).open(path);
    created.with_context(|| format!("can't make {}", path.display()))
}

/// Copies a file; gives the bytes and their hash.
pub(super) fn copy(from: &Path, to: &Path, stop: &Stop) -> Result<(u64, String)> {
    let mut source = File::open(from).with_context(|| format!("can't read {}", from.display()))?;
    let mut hashing = Hashing::new(create(to)?);
    pump(&mut source, &mut hashing, stop)
        .with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    Ok(hashing.finish())
}

/// The bytes of a file and their hash, from the disk if that can be had.
pub(super) fn hash(path: &Path, stop: &Stop) -> Result<(u64, String)> {
    let mut file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    // What is only in memory proves nothing; a file system that ignores this proves a little less.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    let mut hashing = Hashing::new(io::sink());
    pump(&mut file, &mut hashing, stop).with_context(|| format!("can't read {}", path.display()))?;
    Ok(hashing.finish())
}

fn pump(from: &mut impl Read, to: &mut impl Write, stop: &Stop) -> Result<()> {
    let mut from = BufReader::with_capacity(CHUNK, from);
    loop {
        stop.check()?;
        let bytes = io::BufRead::fill_buf(&mut from)?;
        let length = bytes.len();
        if length == 0 {
            return Ok(to.flush()?);
        }
        to.write_all(bytes)?;
        io::BufRead::consume(&mut from, length);
    }
}
