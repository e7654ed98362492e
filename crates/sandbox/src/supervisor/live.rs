use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tenure_core::id::{SessionId, SnapshotId};

use super::builds::{Builds, Ended, no_room};
use super::copying::Copying;
use super::create::{Created, create, tenant};
use super::disk::{Count, Found, Heard, Subject, Watcher};
use super::head::LayerId;
use super::layers::{Slot, Sources};
use super::pool::Pool;
use super::process_limits::limit_processes;
use super::ranges::Ranges;
use super::reach::Reach;
use super::skeleton::Skeleton;
use super::snapshots::{Files, make_session_directory};
use super::zygote::{Common, Zygote};
use super::{Board, Cgroups, Doing, Failure, Group, SLOTS, cgroup};
use crate::dispatch::Ops;
use crate::guest::{self, signals};
use crate::order::Limit;
use crate::spec::{Applied, Limits, Spec, Usage};
use crate::wire::{Build, Start};

/// The directory of a session's journals, in its own.
pub(super) const CALLS: &str = "calls";
/// The sandboxes that are alive, and what is needed to make more.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    pub(crate) files: Files,
    pub(super) sources: Sources,
    pub(super) cgroups: Cgroups,
    pub(super) zygote: Zygote,
    pub(super) pool: Pool,
    pub(super) live: HashMap<SessionId, Live>,
    builds: Builds,
    /// Groups of dead sandboxes that the kernel did not let go of yet.
    pub(super) lingering: Vec<PathBuf>,
    pub(super) free: Vec<Slot>,
    next_slot: u32,
    ranges: Ranges,
    pub(super) boards: &'static [Board],
    /// A keeper rings it when a call begins, so that the disk is looked at often from then on.
    pub(super) bell: &'static OwnedFd,
    watcher: Watcher,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) keeper: i32,
    pub(super) group: Group,
    pub(super) slot: Slot,
    /// The sealed layers that are mounted in it.
    pub(super) layers: Vec<LayerId>,
    /// A copy of its files that is being made.
    pub(super) copying: Option<Copying>,
    /// The limit of its own that it is over on the disk.
    pub(super) over: Option<Limit>,
}

impl Sandboxes {
    pub(crate) fn new(
        dir: &Path,
        disk_floor_bytes: Option<u64>,
        take_cgroups: impl FnOnce() -> (Cgroups, Vec<PathBuf>),
        ops: Ops,
        pool: usize,
        reach: Reach,
    ) -> Result<Self, Failure> {
        crate::failpoint::prepare();
        guest::seccomp::prepare().doing(|| "compiling the system call filter".to_owned())?;
        let boards = Board::shared(SLOTS as usize).doing(|| "mapping shared memory".to_owned())?;
        let bell =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).doing(|| "making an eventfd".to_owned())?;
        let bell = Box::leak(Box::new(bell));
        // Before anything that leaves memory in pieces: a page of which a keeper writes a part is its own, and so would be many.
        let zygote =
            Zygote::start(Common { boards, bell, ops }).doing(|| "forking what keepers are forked from".to_owned())?;
        let skeleton = Skeleton::build(&dir.join("skeleton")).doing(|| "building the skeleton".to_owned())?;
        let files = Files::new(dir).doing(|| "making the directory of layers".to_owned())?;
        let ranges = Ranges::open()?;
        // Last, since what fails above must not leave groups.
        let (cgroups, lingering) = take_cgroups();
        Ok(Self {
            sources: Sources { skeleton, layers: files.layers_dir(), sessions: files.sessions_dir(), reach },
            builds: Builds::new(&files).doing(|| "removing unfinished layers".to_owned())?,
            files,
            cgroups,
            zygote,
            pool: Pool::new(dir, pool),
            live: HashMap::new(),
            lingering,
            free: Vec::new(),
            next_slot: 0,
            ranges,
            boards,
            bell,
            watcher: Watcher::new(dir, disk_floor_bytes),
        })
    }

    /// Makes the sandbox unless it is alive; says whether it was made, and its limits.
    pub(crate) fn open(&mut self, spec: Spec, start: Option<Start>, epoch: u64) -> Result<(bool, Applied), Failure> {
        if let Some(live) = self.live.get(&spec.session) {
            return Ok((false, live.group.applied.clone()));
        }
        // What was made for another machine may be too much for this one.
        if spec.limits != Limits::default()
            && let Some((field, why)) = spec.limits.beyond(crate::machine::most(self.files.dir()))
        {
            return Err(Failure::Invalid {
                why: format!("limits.{field}: {why}; `tenure sessions limits` can change it"),
            });
        }
        let session_dir = self.files.session_dir(spec.session);
        if start.is_none()
            && !session_dir.exists()
            && let Some(applied) = self.claim(&spec, &session_dir, None, epoch)
        {
            return Ok((true, applied));
        }
        let doing = || format!("making {}", session_dir.display());
        let is_new = make_session_directory(&session_dir).doing(doing)?;
        let made = make_session_directory(&session_dir.join(CALLS))
            .doing(doing)
            .and_then(|_| self.make(spec, start, &session_dir, epoch));
        if made.is_err() && is_new {
            // A session that never had a sandbox has no files either.
            let _ = std::fs::remove_dir_all(&session_dir);
        }
        made.map(|applied| (true, applied))
    }

    fn make(
        &mut self,
        mut spec: Spec,
        start: Option<Start>,
        session_dir: &Path,
        epoch: u64,
    ) -> Result<Applied, Failure> {
        crate::fences::prepare(&spec);
        let session = spec.session;
        let head = self.files.begun(session, start)?;
        spec.env.splice(..0, head.root.env().iter().cloned());
        if let Some(applied) = self.claim(&spec, session_dir, Some(&head), epoch) {
            return Ok(applied);
        }
        let mut group = self.cgroups.create(&session.to_string(), spec.limits)?;
        group.applied.note_plain(spec.limits);
        crate::failpoint::pass("supervisor.grouped");
        let slot = match self.take_slot() {
            Ok(slot) => slot,
            Err(failure) => {
                self.lingering.extend(group.remove());
                return Err(failure);
            }
        };
        // The groups of its last life may be among them.
        self.lingering.retain(|path| !group.paths.contains(path));
        self.boards[slot.index as usize].wipe(&group);
        let mounts = slot.mount(session_dir, &head, &self.sources);
        let create =
            |mounts| create(&mut self.zygote, tenant(spec, session_dir, epoch)?, false, mounts, &slot, &mut group);
        match mounts.and_then(create) {
            Ok(Created { keeper, .. }) => {
                let applied = group.applied.clone();
                self.live.insert(session, Live { keeper, group, slot, layers: head.layers, copying: None, over: None });
                crate::failpoint::pass("supervisor.made");
                Ok(applied)
            }
            Err(failure) => {
                self.lingering.extend(group.remove());
                self.free.push(slot);
                Err(failure)
            }
        }
    }

    pub(super) fn take_slot(&mut self) -> Result<Slot, Failure> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        while self.next_slot < SLOTS {
            let index = self.next_slot;
            self.next_slot += 1;
            if self.ranges.claim(index).doing(|| "claiming users for a sandbox".to_owned())? {
                // One that can't be made now may be later.
                return Slot::new(index, &self.sources).inspect_err(|_| self.next_slot = index);
            }
        }
        Err(Failure::Failed {
            doing: "making a sandbox".to_owned(),
            cause: format!("{SLOTS} are alive on this host, the most there can be"),
        })
    }

    pub(crate) fn fork(
        &self,
        from: SessionId,
        snapshot: SnapshotId,
        earlier: &[SnapshotId],
        to: SessionId,
    ) -> Result<(), Failure> {
        self.must_be_dead(to)?;
        self.files.fork(from, snapshot, earlier, to)
    }

    pub(crate) fn rewind(&self, session: SessionId, snapshot: Option<SnapshotId>) -> Result<(), Failure> {
        self.must_be_dead(session)?;
        self.files.rewind(session, snapshot)
    }

    pub(crate) fn forget(&self, session: SessionId, snapshots: &[SnapshotId]) -> Result<(), Failure> {
        self.files.forget(session, snapshots)
    }

    fn must_be_dead(&self, session: SessionId) -> Result<(), Failure> {
        match self.live.contains_key(&session) {
            true => Err(Failure::Invalid { why: format!("the sandbox of session {session} is alive") }),
            false => Ok(()),
        }
    }

    /// Begins making a layer; gives what came of it, if that is known at once.
    pub(crate) fn build(&mut self, build: Build) -> Option<Result<(), Failure>> {
        if self.files.layers_dir().join(build.layer.to_string()).is_dir() {
            return Some(Ok(()));
        }
        if self.builds.is_under_way(&build.layer) {
            return None;
        }
        self.begin_build(build).err().map(Err)
    }

    fn begin_build(&mut self, build: Build) -> Result<(), Failure> {
        if self.watcher.is_low() {
            return Err(no_room());
        }
        // Its group needs a name that no session has.
        let id = SessionId::from_bits(random_bits().doing(|| "naming a builder".to_owned())?);
        let mut group = self.cgroups.create(&id.to_string(), Limits::default())?;
        let slot = match self.take_slot() {
            Ok(slot) => slot,
            Err(failure) => {
                self.lingering.extend(group.remove());
                return Err(failure);
            }
        };
        match self.builds.begin(id, build, &slot, &mut group, &self.files, &self.sources) {
            Ok(begun) => {
                self.builds.keep(begun, group, slot);
                Ok(())
            }
            Err(failure) => {
                self.lingering.extend(group.remove());
                self.free.push(slot);
                Err(failure)
            }
        }
    }

    /// What became of a layer that was begun, once it has.
    pub(crate) fn built(&mut self, layer: &LayerId) -> Option<Result<(), Failure>> {
        self.builds.outcome(layer)
    }

    /// Forgets what became of layers that nobody asks for any more.
    pub(crate) fn forget_built(&mut self, asked: &[LayerId]) {
        self.builds.forget_but(asked);
    }

    /// Kills a sandbox; [`reap`](Self::reap) will find it dead.
    pub(crate) fn kill(&self, session: SessionId) {
        self.signal(session, libc::SIGKILL);
    }

    /// Signals the keeper of a sandbox.
    pub(super) fn signal(&self, session: SessionId, signal: i32) {
        if let Some(live) = self.live.get(&session) {
            // SAFETY: the keeper is our child and not yet waited for, so the id is still its own.
            unsafe { libc::kill(live.keeper, signal) };
        }
    }

    pub(crate) fn kill_all(&mut self) {
        self.live.keys().for_each(|session| self.kill(*session));
        self.end_pool();
        self.builds.kill();
    }

    /// Kills every sandbox in which no call runs.
    pub(crate) fn kill_idle(&self) {
        let idle = self.live.iter().filter(|(_, live)| !self.board(live).is_busy());
        idle.for_each(|(session, _)| self.kill(*session));
    }

    /// Collects every sandbox that has died: all its processes are gone when its keeper can be waited for. Gives other
    /// children that have ended.
    pub(crate) fn reap(&mut self) -> Vec<i32> {
        let mut others = Vec::new();
        self.lingering.retain(|path| !cgroup::remove(path));
        loop {
            // SAFETY: takes no pointer that matters.
            let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
            if pid <= 0 {
                return others;
            }
            let dead = self.live.iter().find(|(_, live)| live.keeper == pid).map(|(session, _)| *session);
            match dead.and_then(|session| self.live.remove_entry(&session)) {
                Some((session, mut live)) => {
                    if let Some(copying) = live.copying.take() {
                        copying.give_up(live.keeper, &[]);
                    }
                    self.lingering.extend(live.group.remove());
                    self.free.push(live.slot);
                    self.watcher.forget(session);
                }
                None if self.spare_died(pid) => {}
                None => match self.builds.ended(pid, &self.files, &self.sources) {
                    Ended::Over(left) => {
                        let (group, slot) = *left;
                        self.lingering.extend(group.remove());
                        self.free.push(slot);
                    }
                    Ended::GoesOn => {}
                    Ended::Another => others.push(pid),
                },
            }
        }
    }

    /// How long until the disk wants to be looked at.
    pub(crate) fn disk_timeout(&self) -> Option<Duration> {
        if self.watcher.has_news() {
            return Some(Duration::ZERO);
        }
        (!self.live.is_empty() || !self.builds.is_empty()).then(|| self.watcher.timeout(self.any_busy()))
    }

    /// What tells that the disk wants to be looked at: a call that begins, a count that is done.
    pub(crate) fn disk_wakes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.bell.as_fd()).chain(self.watcher.answer())
    }

    /// Looks at the disk, if it is time to, and ends what takes too much of it; tells what was counted.
    pub(crate) fn look_at_disk(&mut self) -> Option<Heard> {
        let _ = rustix::io::read(self.bell, &mut [0; 8]);
        let boards = self.boards;
        let board = |live: &Live| &boards[live.slot.index as usize];
        let heard = self.watcher.hear(|session| self.live.get(&session).map(board));
        if let Some(Heard { session, found: Some(found), .. }) = heard {
            self.judge(session, found);
        }
        let subject = |(session, live): (&SessionId, &Live)| Subject {
            session: *session,
            keeper: live.keeper,
            board: board(live),
        };
        let subjects: Vec<Subject> = self.live.iter().map(subject).collect();
        if let Some(host) = self.watcher.look(&subjects, !self.builds.is_empty()) {
            if host.over.is_some() {
                self.builds.end_for_room();
            }
            for live in self.live.values() {
                live.fence(board(live), host.over);
                if let Some(limit) = host.over.filter(|_| host.ends && board(live).is_busy()) {
                    live.end_calls(board(live), limit);
                }
            }
        }
        heard
    }

    /// Changes the limits of a sandbox; nothing if it isn't alive.
    pub(crate) fn change_limits(&mut self, session: SessionId, limits: Limits) -> Result<Option<Applied>, Failure> {
        let Some(live) = self.live.get_mut(&session) else { return Ok(None) };
        let count = self.watcher.count(session).unwrap_or_default();
        for (field, wanted, used) in
            [("disk_bytes", limits.disk_bytes, count.bytes), ("inodes", limits.inodes, count.inodes)]
        {
            if let Some(wanted) = wanted.filter(|wanted| *wanted < used) {
                let why = format!("{field}: the session has {used} on the disk now; {wanted} is less than that");
                return Err(Failure::Invalid { why });
            }
        }
        live.group.change(limits, live.keeper)?;
        live.group.applied.note_plain(limits);
        let (applied, board) = (live.group.applied.clone(), &self.boards[live.slot.index as usize]);
        board.set_limits(&applied);
        limit_processes(live.keeper, live.slot.base(), board.process_limits());
        // Where that isn't allowed, a new executor has them.
        board.renew();
        live.tell();
        if let Some(found) = self.watcher.judge_again(Subject { session, keeper: live.keeper, board }) {
            self.judge(session, found);
        }
        Ok(Some(applied))
    }

    /// Has what a session has on the disk counted, which [`look_at_disk`](Self::look_at_disk) then tells.
    pub(crate) fn want_count(&mut self, session: SessionId) {
        let subject =
            |live: &Live| Subject { session, keeper: live.keeper, board: &self.boards[live.slot.index as usize] };
        let live = self.live.get(&session).map(subject);
        self.watcher.want(session, live);
    }

    /// What a session uses, of which this was counted on the disk.
    pub(crate) fn usage(&self, session: SessionId, count: Option<Count>) -> Usage {
        let usage = self.live.get(&session).map(|live| live.group.usage(live.keeper)).unwrap_or_default();
        Usage { disk_bytes: count.map(|count| count.bytes), inodes: count.map(|count| count.inodes), ..usage }
    }

    fn judge(&mut self, session: SessionId, found: Found) {
        let Some(live) = self.live.get_mut(&session) else { return };
        let board = &self.boards[live.slot.index as usize];
        live.over = found.over;
        live.fence(board, board.fence().filter(|limit| *limit == Limit::HostDisk));
        if let Some(limit) = found.over.filter(|_| found.ends) {
            live.end_calls(board, limit);
        }
    }

    /// The sealed layers that any of them has mounted.
    pub(crate) fn mounted_layers(&self) -> impl Iterator<Item = &LayerId> {
        self.live.values().flat_map(|live| &live.layers)
    }

    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        self.live.contains_key(&session)
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.live.keys().copied().collect()
    }

    /// Whether everything about dead sandboxes is gone.
    pub(crate) fn is_tidy(&self) -> bool {
        self.lingering.is_empty() && self.builds.is_empty()
    }

    /// Whether a call is running in any of them.
    pub(crate) fn any_busy(&self) -> bool {
        self.live.values().any(|live| self.board(live).is_busy()) || !self.builds.is_empty()
    }

    /// The board of a live sandbox.
    pub(super) fn board_of(&self, session: SessionId) -> Option<&'static Board> {
        self.live.get(&session).map(|live| self.board(live))
    }

    fn board(&self, live: &Live) -> &'static Board {
        &self.boards[live.slot.index as usize]
    }

    /// Waits for the last of those that were forked for something, and removes the groups.
    pub(crate) fn leave(&mut self) {
        self.watcher.end();
        self.zygote.end();
        // SAFETY: takes no pointer that matters.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {}
        self.cgroups.leave();
    }
}

impl Live {
    /// Keeps files from growing, or lets them, as its own limits and what the host has left of its disk demand.
    fn fence(&self, board: &Board, host: Option<Limit>) {
        if board.set_fence(self.over.or(host)) {
            limit_processes(self.keeper, self.slot.base(), board.process_limits());
        }
    }

    /// Has the keeper end what runs, and say why.
    fn end_calls(&self, board: &Board, limit: Limit) {
        board.pass(limit);
        self.tell();
    }

    /// Has the keeper look at its board.
    fn tell(&self) {
        // SAFETY: the keeper is our child and not yet waited for, so the id is still its own.
        unsafe { libc::kill(self.keeper, signals::LOOK) };
    }
}

fn random_bits() -> std::io::Result<u128> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(u128::from_le_bytes(bits))
}
