//! Snapshots of sessions, on disk: what [`head`](super::head) describes, changed so that whoever dies between any two steps,
//! the next one that looks finishes what was begun.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, Mode, OFlags};
use tenure_core::id::{SessionId, SnapshotId};

use super::head::{Head, LayerId, Noted, Root};
use super::pool::POOL;
use super::{Doing, Failure, SHELL_MARK, Standing, subdirectories};
use crate::Taken;
use crate::wire::Start;

/// The files of all sessions. Nobody else changes which layers they are made of.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
    /// Layers named since [`note_names`](Self::note_names) was called.
    named: RefCell<HashSet<LayerId>>,
}

impl Files {
    /// Those below this directory. Nobody but root and the sandboxes' own users may enter that of the layers; what mounts them
    /// does so as one of these, and so it passes through that of the sessions, which is whose the sandboxes are.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let files = Self { dir: dir.to_owned(), named: RefCell::default() };
        // Of workers that died with the last supervisor.
        files.throw_away(&dir.join(COPIES))?;
        files.throw_away(&dir.join(POOL))?;
        let mounts_as = Standing::ours().mounts_as();
        make_directory(&files.layers_dir())?;
        chown(files.layers_dir(), Some(mounts_as), Some(mounts_as))?;
        // The directory that both are in is ours alone.
        make_directory(&files.sessions_dir())?;
        std::fs::set_permissions(files.sessions_dir(), Permissions::from_mode(0o711))?;
        make_directory(&dir.join(POOL))?;
        for unrelated in [files.sessions_dir(), dir.join(POOL)] {
            spread(&unrelated);
        }
        Ok(files)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn session_dir(&self, session: SessionId) -> PathBuf {
        self.sessions_dir().join(session.to_string())
    }

    pub(crate) fn sessions_dir(&self) -> PathBuf {
        self.dir.join("sessions")
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.dir.join(LAYERS)
    }

    /// Where layers come into being.
    pub(crate) fn builds_dir(&self) -> PathBuf {
        self.dir.join("builds")
    }

    /// The stack that the session's files lie on. Whatever was begun with it is finished first.
    pub(crate) fn head(&self, session: SessionId) -> Result<Head, Failure> {
        self.settled(&self.session_dir(session)).doing(|| format!("reading what the files of {session} are made of"))
    }

    fn settled(&self, session_dir: &Path) -> io::Result<Head> {
        let layer = session_dir.join(LAYER);
        let Some(mut head) = Head::read(&session_dir.join(HEAD))? else {
            // What has files and says nothing is on the host's root: others say so before they have any.
            return Ok(if layer.exists() { Head::default() } else { Head::unmade() });
        };
        if head.drop_layer {
            self.throw_away(&layer)?;
            crate::failpoint::pass("rewind.dropped");
            head.drop_layer = false;
            self.write_head(&session_dir.join(HEAD), &head)?;
        }
        if let Some(top) = head.layers.last() {
            let sealed = self.layers_dir().join(top.to_string());
            if !sealed.exists() {
                std::fs::rename(&layer, &sealed).map_err(|error| {
                    io::Error::new(error.kind(), format!("{} is missing: {error}", sealed.display()))
                })?;
            }
        }
        Ok(head)
    }

    /// The stack of a session that is about to have a sandbox, which begins with this unless it began before.
    pub(crate) fn begun(&self, session: SessionId, start: Option<Start>) -> Result<Head, Failure> {
        let head = self.head(session)?;
        let (Some(Start { root, base }), Root::Unmade) = (start, &head.root) else { return Ok(head) };
        if let Some(missing) = base.iter().find(|layer| !self.layers_dir().join(layer.to_string()).is_dir()) {
            return Err(Failure::Invalid { why: format!("the {missing:?} is not there any more") });
        }
        let head = Head { root, layers: base.clone(), base, ..head };
        self.write_head(&self.session_dir(session).join(HEAD), &head)
            .doing(|| format!("beginning the files of {session}"))?;
        crate::failpoint::pass("begin.headed");
        Ok(head)
    }

    /// Keeps the files of a session in which nothing can be writing; gives the stack of it. The writable layer is sealed, unless
    /// there is nothing in it.
    pub(crate) fn seal(&self, session: SessionId) -> Result<(Head, Taken), Failure> {
        let session_dir = self.session_dir(session);
        let mut head = self.head(session)?;
        let doing = || format!("sealing the files of {session}");
        if !has_anything(&session_dir.join(LAYER)).doing(doing)? {
            return Ok((head, Taken::Reused));
        }
        let layer = LayerId::random().doing(doing)?;
        head.layers.push(layer.clone());
        head.own.push(layer.clone());
        self.write_head(&session_dir.join(HEAD), &head).doing(doing)?;
        crate::failpoint::pass("snapshot.headed");
        std::fs::rename(session_dir.join(LAYER), self.layers_dir().join(layer.to_string())).doing(doing)?;
        crate::failpoint::pass("snapshot.sealed");
        Ok((head, Taken::Sealed))
    }

    /// Whether there is anything in the session's writable layer.
    pub(crate) fn has_changed(&self, session: SessionId) -> io::Result<bool> {
        has_anything(&self.writable_layer(session))
    }

    pub(crate) fn writable_layer(&self, session: SessionId) -> PathBuf {
        self.session_dir(session).join(LAYER)
    }

    /// Where a copy of a layer may be made; it has the name that it is to have among the layers.
    pub(crate) fn copy_dir(&self) -> io::Result<PathBuf> {
        make_directory(&self.dir.join(COPIES))?;
        Ok(self.dir.join(COPIES).join(LayerId::random()?.to_string()))
    }

    /// Takes a finished copy in among the layers. It must be named next.
    pub(crate) fn adopt(&self, copy: &Path) -> io::Result<LayerId> {
        let name = copy.file_name().and_then(|name| LayerId::parse(name.to_str()?));
        let layer = name.ok_or_else(|| io::Error::other("a copy has no name"))?;
        std::fs::rename(copy, self.layers_dir().join(layer.to_string()))?;
        Ok(layer)
    }

    /// What a snapshot of the session came to, if there is it.
    pub(crate) fn taken(&self, session: SessionId, snapshot: SnapshotId) -> Result<Option<Taken>, Failure> {
        let noted = Noted::read(&self.snapshot_file(session, snapshot));
        Ok(noted.doing(|| format!("reading snapshot {snapshot}"))?.map(|noted| noted.taken))
    }

    /// Has a stack be the snapshot of this name.
    pub(crate) fn note(
        &self,
        session: SessionId,
        snapshot: SnapshotId,
        head: &Head,
        taken: Taken,
    ) -> Result<(), Failure> {
        let at = self.snapshot_file(session, snapshot);
        let noted = make_session_directory(&self.session_dir(session))
            .and_then(|_| make_directory(&self.session_dir(session).join(SNAPSHOTS)))
            .and_then(|()| self.write_noted(&at, &Noted { head: head.shared(), taken }));
        noted.doing(|| format!("writing snapshot {snapshot}"))?;
        crate::failpoint::pass("snapshot.noted");
        Ok(())
    }

    /// Has a session without files start from a snapshot of another, and gives it earlier ones.
    pub(crate) fn fork(
        &self,
        from: SessionId,
        snapshot: SnapshotId,
        earlier: &[SnapshotId],
        to: SessionId,
    ) -> Result<(), Failure> {
        self.head(from)?;
        let start = self.snapshot(from, snapshot)?;
        let (to_dir, doing) = (self.session_dir(to), || format!("forking {from} to {to}"));
        let is_done = self.taken(to, snapshot)?.is_some();
        let has_files = !is_done
            && (to_dir.join(LAYER).exists()
                || Head::read(&to_dir.join(HEAD)).doing(doing)?.is_some_and(|head| head != start.head));
        if has_files {
            return Err(Failure::Invalid { why: format!("session {to} has files already") });
        }
        for shared in earlier {
            let noted = self.snapshot(from, *shared)?;
            self.note(to, *shared, &noted.head, noted.taken)?;
        }
        if is_done {
            return Ok(());
        }
        crate::failpoint::pass("fork.noted");
        make_session_directory(&to_dir).and_then(|_| self.share_shell_mark(from, to)).doing(doing)?;
        self.write_head(&to_dir.join(HEAD), &start.head).doing(doing)?;
        crate::failpoint::pass("fork.headed");
        self.note(to, snapshot, &start.head, start.taken)
    }

    /// Puts the files of a session that isn't alive back to a snapshot of it, or to what it started with.
    pub(crate) fn rewind(&self, session: SessionId, snapshot: Option<SnapshotId>) -> Result<(), Failure> {
        let before = self.head(session)?;
        let mut head = match snapshot {
            Some(snapshot) => self.snapshot(session, snapshot)?.head,
            None => before.start(),
        };
        head.own = before.own.into_iter().filter(|layer| head.layers.contains(layer)).collect();
        head.drop_layer = true;
        make_session_directory(&self.session_dir(session))
            .and_then(|_| self.write_head(&self.session_dir(session).join(HEAD), &head))
            .doing(|| format!("rewinding {session}"))?;
        crate::failpoint::pass("rewind.headed");
        self.head(session).map(drop)
    }

    /// Forgets snapshots of a session; those it doesn't have are no error.
    pub(crate) fn forget(&self, session: SessionId, snapshots: &[SnapshotId]) -> Result<(), Failure> {
        for snapshot in snapshots {
            match std::fs::remove_file(self.snapshot_file(session, *snapshot)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).doing(|| format!("forgetting snapshot {snapshot}"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn snapshot(&self, session: SessionId, snapshot: SnapshotId) -> Result<Noted, Failure> {
        let noted = Noted::read(&self.snapshot_file(session, snapshot));
        noted
            .doing(|| format!("reading snapshot {snapshot}"))?
            .ok_or_else(|| Failure::Invalid { why: format!("session {session} has no snapshot {snapshot}") })
    }

    fn snapshot_file(&self, session: SessionId, snapshot: SnapshotId) -> PathBuf {
        self.session_dir(session).join(SNAPSHOTS).join(snapshot.to_string())
    }

    /// Has a session's `HEAD` name a stack.
    pub(crate) fn write_head(&self, at: &Path, head: &Head) -> io::Result<()> {
        self.named.borrow_mut().extend(head.layers.iter().cloned());
        head.write(at)
    }

    /// Writes a snapshot.
    pub(crate) fn write_noted(&self, at: &Path, noted: &Noted) -> io::Result<()> {
        self.named.borrow_mut().extend(noted.head.layers.iter().cloned());
        noted.write(at)
    }

    /// From now on it is kept which layers are named: somebody else begins to look at what is named already.
    pub(crate) fn note_names(&self) {
        self.named.borrow_mut().clear();
    }

    /// Whether anything has come to name a layer since then.
    pub(crate) fn was_named(&self, layer: &LayerId) -> bool {
        self.named.borrow().contains(layer)
    }

    /// A shell that the first had is missed in the second as well.
    fn share_shell_mark(&self, from: SessionId, to: SessionId) -> io::Result<()> {
        // Only whether there is anything in it counts. A keeper may write to it, and so make it long.
        match std::fs::metadata(self.session_dir(from).join(SHELL_MARK)) {
            Ok(mark) if mark.len() > 0 => std::fs::write(self.session_dir(to).join(SHELL_MARK), b"1"),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Puts something where the server deletes it.
    pub(crate) fn throw_away(&self, victim: &Path) -> io::Result<()> {
        let trash = self.dir.join(TRASH);
        make_directory(&trash)?;
        match std::fs::rename(victim, trash.join(LayerId::random()?.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The names of what a session's directory has.
pub(crate) const HEAD: &str = "HEAD";
pub(crate) const LAYER: &str = "layer";
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The names of what the directory of all has.
pub(crate) const LAYERS: &str = "layers";
/// Each of its files names layers that root file systems are made of.
pub(crate) const ROOTS: &str = "roots";
pub(crate) const TRASH: &str = "trash";
/// Copies of layers that are being made.
pub(crate) const COPIES: &str = "copies";
/// Locked, shared, by who reads layers and would miss one; exclusively while some are taken away.
pub(crate) const COLLECT_LOCK: &str = "collect.lock";

/// In a layer that was merged: what it was merged of.
pub(crate) const MERGED: &str = "merged.json";
/// How names of layers begin that a worker is about to make.
pub(crate) const UNFINISHED: &str = "tmp-";

/// Whether any part of a layer has anything in it.
fn has_anything(layer: &Path) -> io::Result<bool> {
    for part in subdirectories(layer) {
        if std::fs::read_dir(part)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells the file system that what is in the directories of this one is unrelated, and better lies apart. Where ext4 makes a file, it
/// passes over every number whose file was removed of late, looking at each; where sessions come and go, those are many.
fn spread(dir: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let marked = rustix::fs::open(dir, flags, Mode::empty()).and_then(|dir| {
        let flags = rustix::fs::ioctl_getflags(&dir)?;
        rustix::fs::ioctl_setflags(&dir, flags | IFlags::TOPDIR)
    });
    // Other file systems have no such mark.
    let _ = marked;
}

/// Makes the directory of a session, if it isn't there; says whether it wasn't. Mounts of it are entered as a sandbox's user.
pub(crate) fn make_session_directory(dir: &Path) -> io::Result<bool> {
    match std::fs::create_dir(dir) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn make_directory(dir: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
