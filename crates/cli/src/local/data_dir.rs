//! The data directory: what is where, and who may use it.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};

use super::locks;
use super::server_file::ServerFile;
use crate::failure::advised;

/// The least that has to be free for a server to start.
const ROOM_BYTES: usize = 256 << 10;

/// A data directory, which may not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// Who serves a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Served {
    /// A server that takes requests.
    Ready(ServerFile),
    /// A server that is just starting or stopping.
    Changing {
        /// Its process.
        pid: u32,
    },
    /// Nobody. `crashed` says that the last server hadn't time to say goodbye.
    Nobody {
        /// Whether it left its file behind.
        crashed: bool,
    },
}

/// The right to serve a data directory, as long as it is held.
#[derive(Debug)]
pub(crate) struct Lease(#[expect(dead_code, reason = "held for the lock on it")] File);

impl DataDir {
    /// The directory that was named, or the default one.
    pub(crate) fn at(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) if !path.as_os_str().is_empty() => path.to_owned(),
            Some(_) | None => default_path().ok_or_else(|| {
                advised(
                    "no data directory is named, and neither XDG_DATA_HOME nor HOME is set",
                    "name one with --data-dir",
                )
            })?,
        };
        let path = std::path::absolute(&path).with_context(|| format!("can't tell where {} is", path.display()))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn sandbox(&self) -> PathBuf {
        self.path.join("sandbox")
    }

    pub(crate) fn models_file(&self) -> PathBuf {
        self.path.join("models.toml")
    }

    pub(crate) fn scripts(&self) -> PathBuf {
        self.path.join("scripts")
    }

    pub(crate) fn server_log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    pub(crate) fn server_file(&self) -> PathBuf {
        self.path.join("server.json")
    }

    pub(crate) fn root_key_file(&self) -> PathBuf {
        self.path.join("root.key")
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Makes it, for its owner alone.
    pub(crate) fn create(&self) -> Result<()> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| match error.kind() {
            ErrorKind::ReadOnlyFilesystem | ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                self.unusable(error, &self.path)
            }
            _ => anyhow::Error::new(error).context(format!("can't make the data directory {}", self.path.display())),
        })
    }

    /// Whether a server could write in it: better told now than with the first request.
    pub(crate) fn check_room(&self) -> Result<()> {
        let path = self.path.join("room.new");
        let written = (|| {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            file.write_all(&[0; ROOM_BYTES])?;
            file.sync_all()
        })();
        let _ = std::fs::remove_file(&path);
        written.map_err(|error| self.unusable(error, &path))
    }

    /// Takes the right to serve it; an error says who has it.
    pub(crate) fn take_lease(&self) -> Result<Lease> {
        let mut file = self.open_lock("lock")?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = locks::holder(&file).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                return Err(advised(
                    format!("{} is already served by pid {pid}", self.path.display()),
                    "use that server, stop it with `tenure down`, or choose another --data-dir",
                ));
            }
            Err(error) => return Err(error).with_context(|| format!("can't lock {}", self.path.display())),
        }
        // For people who look; the lock is what counts.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lease(file))
    }

    /// Waits for the right to start or stop the server.
    pub(crate) fn take_start_lock(&self) -> Result<Lease> {
        // Where nothing can be written any more, a server that runs can still be stopped.
        let file = self.open_lock("start.lock").or_else(|error| File::open(&self.path).map_err(|_| error))?;
        let locked = rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive));
        locked.with_context(|| format!("can't lock {}", self.path.join("start.lock").display()))?;
        Ok(Lease(file))
    }

    /// Who serves it. The lock says so, not the file: a file may be left from a crash, and its address be another's now.
    pub(crate) fn served(&self) -> Result<Served> {
        let file = ServerFile::read(&self.server_file())?;
        let lock = match File::open(self.path.join("lock")) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Served::Nobody { crashed: false }),
            Err(error) => return Err(error).with_context(|| format!("can't look into {}", self.path.display())),
        };
        Ok(match (locks::holder(&lock), file) {
            (Some(pid), Some(file)) if file.pid == pid => Served::Ready(file),
            (Some(pid), _) => Served::Changing { pid },
            (None, file) => Served::Nobody { crashed: file.is_some() },
        })
    }

    /// The root key, made if there is none.
    pub(crate) fn make_root_key(&self) -> Result<String> {
        if let Some(key) = self.root_key()? {
            return Ok(key);
        }
        let mut bits = [0; 32];
        getrandom::fill(&mut bits).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
        let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("tnr_root_{digits}");
        self.write_whole("root.key", format!("{key}\n").as_bytes())?;
        Ok(key)
    }

    /// The root key, if there is one.
    pub(crate) fn root_key(&self) -> Result<Option<String>> {
        let path = self.root_key_file();
        match std::fs::read_to_string(&path) {
            Ok(key) if !key.trim().is_empty() => Ok(Some(key.trim().to_owned())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("can't read the key in {}", path.display())),
        }
    }

    /// Writes a file for its owner alone, so that it is there whole or not at all.
    pub(crate) fn write_whole(&self, name: &str, content: &[u8]) -> Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let written = (|| {
            let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)
        })();
        written.with_context(|| format!("can't write {}", path.display()))
    }

    fn open_lock(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let opened = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        opened.map_err(|error| self.unusable(error, &path))
    }

    /// Why nothing can be written in it, and what to do.
    pub(super) fn unusable(&self, error: std::io::Error, path: &Path) -> anyhow::Error {
        let dir = self.path.display();
        match error.kind() {
            ErrorKind::PermissionDenied => {
                let own = rustix::process::geteuid().as_raw();
                let owner = std::fs::metadata(&self.path).map_or(own, |metadata| metadata.uid());
                match owner == own {
                    true => advised(
                        format!("{dir} can't be written, though it is this user's"),
                        format!("`chmod u+rwx {dir}` allows it, or choose another --data-dir"),
                    ),
                    false => advised(
                        format!("{dir} belongs to another user (uid {owner})"),
                        "run Tenure as that user, or choose another --data-dir",
                    ),
                }
            }
            ErrorKind::ReadOnlyFilesystem => advised(
                format!("{dir} is on a file system that can't be written"),
                "mount it for writing (one that met errors makes itself read-only: see `dmesg`), or choose another --data-dir",
            ),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => advised(
                format!("there is no room left for {dir}"),
                format!("free some (`df -h {dir}` shows how much there is), or choose another --data-dir"),
            ),
            _ => anyhow::Error::new(error).context(format!("can't write {}", path.display())),
        }
    }
}

fn default_path() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The XDG Base Directory Specification has relative paths ignored.
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| set("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("tenure"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{DataDir, Served};

    fn fresh() -> (tempfile::TempDir, DataDir) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = DataDir::at(Some(&root.path().join("data"))).expect("a path");
        dir.create().expect("made");
        (root, dir)
    }

    #[test]
    fn the_key_is_made_once_and_for_the_owner_alone() {
        let (_root, dir) = fresh();
        assert_eq!(dir.root_key().expect("readable"), None);
        let key = dir.make_root_key().expect("made");
        assert_eq!(dir.make_root_key().expect("made"), key);
        for path in [dir.path().to_owned(), dir.root_key_file()] {
            let mode = std::fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }

    #[test]
    fn one_lease_at_a_time_and_the_holder_is_named() {
        let (_root, dir) = fresh();
        assert_eq!(dir.served().expect("told"), Served::Nobody { crashed: false });
        let lease = dir.take_lease().expect("free");
        let pid = std::process::id();
        assert_eq!(dir.served().expect("told"), Served::Changing { pid });
        let refused = dir.take_lease().expect_err("taken").to_string();
        assert!(refused.ends_with(&format!("already served by pid {pid}")), "{refused}");
        drop(lease);
        dir.take_lease().expect("free again");
    }
}
