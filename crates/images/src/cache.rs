//! Files of layers on disk: whole and checked, or not there.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tenure_sandbox::Fetched;

use crate::image::printed;

/// How long a part of a file is kept for going on with it.
const LEFT_STAYS: Duration = Duration::from_secs(24 * 3_600);
/// How much is read at once.
const CHUNK_BYTES: usize = 128 * 1024;

/// The directory of files. Only one process uses it.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    held: Arc<Held>,
}

/// The files that somebody needs, by their names.
type Held = Mutex<HashMap<String, Weak<Holding>>>;

/// Somebody needs the file of a digest. When nobody does any more, it goes: what it held has been unpacked, or can't be.
#[derive(Debug)]
pub(crate) struct Holding {
    path: PathBuf,
    name: String,
    held: Arc<Held>,
    /// Taken by whoever looks whether it is there and fetches it.
    pub(crate) fetching: tokio::sync::Mutex<()>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have begun to need it a moment ago.
        if held.get(&self.name).is_none_or(|holding| holding.strong_count() == 0) {
            held.remove(&self.name);
            // It may never have been fetched.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Holding {
    /// Whether it is there, whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.path.is_file()
    }

    /// To be given to whoever needs the file.
    pub(crate) fn fetched(self: &Arc<Self>) -> Fetched {
        Fetched { path: self.path.clone(), kept: self.clone() }
    }
}

impl Cache {
    /// A cache in this directory, which is made when it is first needed.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, held: Arc::default() }
    }

    /// Holds the file of a digest, whether it is there already or not.
    pub(crate) fn hold(&self, digest: &str) -> Arc<Holding> {
        let name = hex(digest);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holding) = held.get(name).and_then(Weak::upgrade) {
            return holding;
        }
        let (path, name, fetching) = (self.dir.join(name), name.to_owned(), tokio::sync::Mutex::default());
        let holding = Arc::new(Holding { path, name: name.clone(), held: self.held.clone(), fetching });
        held.insert(name, Arc::downgrade(&holding));
        holding
    }

    /// How much there is of a file that isn't whole yet.
    pub(crate) fn fetched(&self, digest: &str) -> u64 {
        std::fs::metadata(self.part(digest)).map_or(0, |found| found.len())
    }

    fn part(&self, digest: &str) -> PathBuf {
        self.dir.join(format!("{}.part", hex(digest)))
    }

    /// Begins the file of a digest, or goes on with what there is of it. Blocks.
    pub(crate) fn begin(&self, digest: &str, bytes: u64) -> io::Result<Part> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        self.forget_what_was_left();
        let part = self.part(digest);
        let file = File::options().read(true).append(true).create(true).open(&part)?;
        // Whoever unpacks it is another user.
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        let mut begun = Part {
            file,
            path: part,
            whole: self.dir.join(hex(digest)),
            hash: Sha256::new(),
            length: 0,
            bytes,
            digest: digest.to_owned(),
        };
        begun.take_up()?;
        Ok(begun)
    }

    /// Removes what a server left that was killed or cut off, once nobody is likely to go on with it.
    fn forget_what_was_left(&self) {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let modified = path.metadata().and_then(|found| found.modified()).ok();
            let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let is_needed = path.file_stem().and_then(|name| name.to_str()).is_some_and(|name| held.contains_key(name));
            if !is_needed && age.is_some_and(|age| age > LEFT_STAYS) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// A file that is being fetched.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    whole: PathBuf,
    hash: Sha256,
    length: u64,
    bytes: u64,
    digest: String,
}

impl Part {
    /// How much of it there is.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Adds to it. More than it should have is an error, and the end of it.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        if self.length > self.bytes {
            self.discard();
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("there is more of it than the {} bytes it should have", self.bytes),
            ));
        }
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }

    /// Adds all that can be read.
    pub(crate) fn add_all(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match from.read(&mut chunk)? {
                0 => return Ok(()),
                read => self.add(&chunk[..read])?,
            }
        }
    }

    /// Begins again from nothing.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.hash, self.length) = (Sha256::new(), 0);
        Ok(())
    }

    /// Gives the file its name, if it is what it should be. One that is too short is kept, to go on with; another is not.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let wrong = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if self.length < self.bytes {
            return wrong(format!("there are {} of its {} bytes", self.length, self.bytes));
        }
        let digest = printed(std::mem::take(&mut self.hash).finalize().as_slice());
        if digest != self.digest {
            self.discard();
            return wrong(format!("its digest is {digest}, and should be {}", self.digest));
        }
        self.file.sync_data()?;
        std::fs::rename(&self.path, &self.whole)
    }

    /// Removes it: nothing that comes can make it what it should be.
    pub(crate) fn discard(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Counts in what an earlier attempt left.
    fn take_up(&mut self) -> io::Result<()> {
        let found = self.file.metadata()?.len();
        if found > self.bytes {
            return self.restart();
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match self.file.read(&mut chunk)? {
                0 => return Ok(()),
                read => {
                    self.hash.update(&chunk[..read]);
                    self.length += read as u64;
                }
            }
        }
    }
}

/// The digits of a digest, which make a safe name.
fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::Cache;
    use crate::image::digest_of;

    fn names(dir: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(dir.path().to_owned());
        let digest = digest_of(b"whole");
        let holding = cache.hold(&digest);
        let mut part = cache.begin(&digest, 5).expect("begun");
        part.add(b"who").expect("added");
        assert!(part.finish().expect_err("short").to_string().contains("3 of its 5 bytes"));
        assert!(!holding.is_whole());
        // What there was is gone on with.
        let mut part = cache.begin(&digest, 5).expect("begun");
        assert_eq!((part.length(), cache.fetched(&digest)), (3, 3));
        part.add(b"le").expect("added");
        part.finish().expect("whole");
        assert!(holding.is_whole() && cache.hold(&digest).is_whole());
        drop(holding);
        assert_eq!(names(dir.path()), [] as [&str; 0]);
    }

    #[test]
    fn what_has_another_digest_or_is_longer_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(dir.path().to_owned());
        let digest = digest_of(b"whole");
        let mut part = cache.begin(&digest, 5).expect("begun");
        part.add(b"whore").expect("added");
        assert!(part.finish().expect_err("another").to_string().contains("and should be sha256:"));
        let mut part = cache.begin(&digest, 5).expect("begun");
        assert!(part.add(b"wholes").expect_err("longer").to_string().contains("more of it"));
        assert_eq!(names(dir.path()), [] as [&str; 0]);
    }
}
