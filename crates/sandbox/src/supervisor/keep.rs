//! Snapshots of sessions whose sandbox may be alive: in steps, none of which waits for a keeper.

use std::os::fd::BorrowedFd;

use tenure_core::id::{SessionId, SnapshotId};

use super::copying::{Copying, Job, Outcome};
use super::head::Head;
use super::live::Sandboxes;
use super::swap::replace_root;
use super::{Doing, Failure, Stillness};
use crate::Taken;
use crate::guest::signals::LOOK;

impl Sandboxes {
    /// Goes on with keeping the files of a session; `None`: this has to be asked again when a keeper has something to tell.
    /// Repeating it afterwards changes nothing.
    pub(crate) fn snapshot(
        &mut self,
        session: SessionId,
        snapshot: SnapshotId,
        most_copied: Option<u64>,
    ) -> Result<Option<Taken>, Failure> {
        let taken = self.files.taken(session, snapshot)?;
        if taken.is_some() {
            return Ok(taken);
        }
        let Some(board) = self.board_of(session) else {
            let (head, taken) = self.files.seal(session)?;
            self.files.note(session, snapshot, &head, taken)?;
            return Ok(Some(taken));
        };
        match board.stillness() {
            Stillness::Unwanted => {
                board.want_stillness(true);
                self.signal(session, LOOK);
                Ok(None)
            }
            Stillness::Wanted => Ok(None),
            Stillness::Alone => self.seal_alive(session, snapshot).map(Some),
            Stillness::InCompany => self.copy_alive(session, snapshot, most_copied),
        }
    }

    /// Lets every keeper go on that stands still for a snapshot that nobody waits for any more.
    pub(crate) fn release(&mut self, is_wanted: impl Fn(SessionId) -> bool) {
        for session in self.sessions() {
            if let Some(live) = self.live.get_mut(&session).filter(|_| !is_wanted(session))
                && let Some(copying) = live.copying.take()
            {
                copying.give_up(live.keeper, &live.group.paths);
            }
            let board = self.board_of(session).filter(|board| board.stillness() != Stillness::Unwanted);
            if let Some(board) = board.filter(|_| !is_wanted(session)) {
                board.want_stillness(false);
                self.signal(session, LOOK);
            }
        }
    }

    /// Seals the files of a live sandbox in which nothing can write. If it can't have its new root, it ends: its files are
    /// right, and it is made anew when it is needed.
    fn seal_alive(&mut self, session: SessionId, snapshot: SnapshotId) -> Result<Taken, Failure> {
        let (head, taken) = self.files.seal(session)?;
        if taken == Taken::Sealed
            && let Err(failure) = self.remount(session, &head)
        {
            #[expect(clippy::print_stderr, reason = "its standard error is the supervisor's log")]
            {
                eprintln!("the sandbox of {session} can't go on with its files sealed: {failure:?}");
            }
            self.kill(session);
        }
        self.files.note(session, snapshot, &head, taken)?;
        Ok(taken)
    }

    /// Copies the files of a live sandbox while its processes stand still.
    fn copy_alive(
        &mut self,
        session: SessionId,
        snapshot: SnapshotId,
        most_copied: Option<u64>,
    ) -> Result<Option<Taken>, Failure> {
        let mut head = self.files.head(session)?;
        let doing = || format!("copying the files of {session}");
        let Some(live) = self.live.get_mut(&session) else { return Ok(None) };
        let Some(copying) = &mut live.copying else {
            if !self.files.has_changed(session).doing(doing)? {
                self.files.note(session, snapshot, &head, Taken::Reused)?;
                return Ok(Some(Taken::Reused));
            }
            let job = Job {
                keeper: live.keeper,
                groups: live.group.paths.clone(),
                from: self.files.writable_layer(session),
                to: self.files.copy_dir().doing(doing)?,
                most: most_copied,
            };
            live.copying = Some(Copying::start(job).doing(doing)?);
            return Ok(None);
        };
        let Some(outcome) = copying.outcome() else { return Ok(None) };
        let Some(copying) = live.copying.take() else { return Ok(None) };
        match outcome {
            Outcome::Copied { bytes } => {
                let layer = self.files.adopt(&copying.job.to).doing(doing)?;
                crate::failpoint::pass("snapshot.copied");
                head.layers.push(layer);
                let taken = Taken::Copied { bytes };
                self.files.note(session, snapshot, &head, taken)?;
                Ok(Some(taken))
            }
            Outcome::TooMuch { bytes } => Ok(Some(Taken::Skipped { bytes })),
            Outcome::Failed { cause } => {
                copying.give_up(live.keeper, &live.group.paths);
                Err(Failure::Failed { doing: doing(), cause })
            }
        }
    }

    /// What tells that a copy is made.
    pub(crate) fn copies(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.live.values().filter_map(|live| Some(live.copying.as_ref()?.answer()))
    }

    fn remount(&mut self, session: SessionId, head: &Head) -> Result<(), Failure> {
        let session_dir = self.files.session_dir(session);
        let Some(live) = self.live.get_mut(&session) else { return Ok(()) };
        let mounts = live.slot.mount(&session_dir, head, &self.sources)?;
        crate::failpoint::pass("snapshot.mounted");
        replace_root(live.keeper, mounts).doing(|| "changing the root of a sandbox".to_owned())?;
        live.layers.clone_from(&head.layers);
        crate::failpoint::pass("snapshot.swapped");
        Ok(())
    }
}
