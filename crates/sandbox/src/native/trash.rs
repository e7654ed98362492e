use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::errand::Errand;

/// Files that nobody can reach any more and that are being deleted. A session's directory moves here in one step and is
/// deleted behind the back of who asked, since that takes as long as its files are many. What a crash leaves here is
/// deleted with the next that comes.
#[derive(Debug)]
pub(crate) struct Trash {
    dir: PathBuf,
    /// Who deletes, where that takes more rights than ours.
    executable: PathBuf,
    taken: AtomicU64,
    deleting: Mutex<JoinSet<()>>,
}

impl Trash {
    pub(crate) fn new(dir: &Path, executable: &Path) -> Self {
        let (dir, executable) = (dir.join("trash"), executable.to_owned());
        Self { dir, executable, taken: AtomicU64::new(0), deleting: Mutex::default() }
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
        let (dir, executable) = (self.dir.clone(), self.executable.clone());
        let mut deleting = self.deleting.lock().expect("no holder panics");
        // Those that are done need not be kept.
        while deleting.try_join_next().is_some() {}
        deleting.spawn_blocking(move || {
            if std::fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some())
                && let Err(error) = Errand::Empty(dir).run(&executable)
            {
                tracing::warn!(%error, "can't delete what is left of a session");
            }
        });
    }

    /// Waits until everything taken so far is deleted.
    pub(crate) async fn wait_empty(&self) {
        let deleting = std::mem::take(&mut *self.deleting.lock().expect("no holder panics"));
        deleting.join_all().await;
    }
}

/// Deletes all that is there. Two may be at it at once: what one misses, the other has.
pub(super) fn empty(dir: &Path) -> io::Result<()> {
    let mut outcome = Ok(());
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if let Err(error) = crate::removal::remove_all(&entry.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            let cause = format!("{}: {error}", entry.path().display());
            outcome = Err(io::Error::new(error.kind(), cause));
        }
    }
    outcome
}
