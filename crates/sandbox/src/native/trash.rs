use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

/// Files that nobody can reach any more and that are being deleted. A session's directory moves here in one step and is
/// deleted behind the back of who asked, since that takes as long as its files are many. What a crash leaves here is
/// deleted with the next that comes.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    taken: AtomicU64,
    deleting: Mutex<JoinSet<()>>,
}

impl Trash {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.join("trash"), taken: AtomicU64::new(0), deleting: Mutex::default() }
    }

    /// Takes a directory, if it is there, and deletes it.
    pub(crate) fn take(&self, victim: &Path) -> io::Result<()> {
        let Some(name) = victim.file_name() else { return Ok(()) };
        let mut name = name.to_owned();
        name.push(format!("-{}-{}", std::process::id(), self.taken.fetch_add(1, Ordering::Relaxed)));
        let to = self.dir.join(name);
        let moved = std::fs::rename(victim, &to).or_else(|error| match error.kind() {
            // Either may be the one that isn't there.
            io::ErrorKind::NotFound if victim.exists() => {
                std::fs::create_dir_all(&self.dir)?;
                std::fs::rename(victim, &to)
            }
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        moved?;
        self.sweep();
        Ok(())
    }

    /// Deletes what is there.
    pub(crate) fn sweep(&self) {
        let dir = self.dir.clone();
        let mut deleting = self.deleting.lock().expect("no holder panics");
        // Those that are done need not be kept.
        while deleting.try_join_next().is_some() {}
        deleting.spawn_blocking(move || empty(&dir));
    }

    /// Waits until everything taken so far is deleted.
    pub(crate) async fn wait_empty(&self) {
        let deleting = std::mem::take(&mut *self.deleting.lock().expect("no holder panics"));
        deleting.join_all().await;
    }
}

/// Deletes all that is there. Two may be at it at once: what one misses, the other has.
fn empty(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Err(error) = std::fs::remove_dir_all(entry.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %entry.path().display(), %error, "can't delete what is left of a session");
        }
    }
}
