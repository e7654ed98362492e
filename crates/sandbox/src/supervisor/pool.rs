//! Sandboxes made ahead, for sessions that aren't known yet.
//!
//! A spare one has a keeper that waits, in all namespaces and behind every fence, over a root that has nothing of any session. Its
//! directory is as that of a new session, and becomes it. For a session that has files already, it gets the root made of them, as a
//! sealed one gets another (`swap.rs`). Nothing has run in it before, and it is never spare again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::SendFlags;
use tenure_core::id::SessionId;

use super::create::{Created, create, tenant};
use super::head::{Head, LayerId, Root};
use super::layers::Slot;
use super::live::{CALLS, Live, Sandboxes};
use super::snapshots::make_session_directory;
use super::swap::replace_root;
use super::{Doing, Failure, Group};
use crate::guest::setup::Terms;
use crate::spec::{Applied, Limits, Spec};
use crate::wire::{encode, send};

/// For how long nothing must have happened before one is made.
const IDLE: Duration = Duration::from_millis(20);
/// None are made while the host has less memory than this, or than a tenth of all.
const LEAST_MEMORY_KIB: u64 = 512 * 1024;
/// How many there are to be, and those that there are.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    dir: PathBuf,
    spares: Vec<Spare>,
    /// A sandbox has been wanted: before that, none is made ahead.
    is_wanted: bool,
    /// One could not be made: no more are, until a session's has been.
    has_failed: bool,
}

#[derive(Debug)]
struct Spare {
    keeper: i32,
    group: Group,
    slot: Slot,
    claim: OwnedFd,
    /// What becomes the directory of a session.
    dir: PathBuf,
}

impl Pool {
    pub(crate) fn new(dir: &Path, size: usize) -> Self {
        Self { size, dir: dir.join(POOL), spares: Vec::new(), is_wanted: false, has_failed: false }
    }

    fn wants_more(&self) -> bool {
        self.is_wanted && !self.has_failed && self.spares.len() < self.size
    }
}

/// In the supervisor's directory: what spare sandboxes write to, were anything to run in them.
pub(crate) const POOL: &str = "pool";
/// How the groups of spare sandboxes are called.
pub(crate) const SPARE: &str = "spare-";

impl Sandboxes {
    /// How long nothing may happen until one is made ahead.
    pub(crate) fn pool_timeout(&self) -> Option<Duration> {
        self.pool.wants_more().then_some(IDLE)
    }

    /// Makes one ahead, if that is wanted and there is memory for it. To be called when there is nothing else to do.
    pub(crate) fn fill_pool(&mut self) {
        if self.pool.wants_more() {
            let may = has_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default());
            self.pool.has_failed = !may || self.make_spare().is_err();
        }
    }

    /// Ends all spare ones; [`reap`](Self::reap) will find them dead.
    pub(crate) fn end_pool(&mut self) {
        self.pool.is_wanted = false;
        for spare in &self.pool.spares {
            // SAFETY: the keeper is our child and not yet waited for, so the id is still its own.
            unsafe { libc::kill(spare.keeper, libc::SIGKILL) };
        }
    }

    /// Whether there is none.
    pub(crate) fn pool_is_empty(&self) -> bool {
        self.pool.spares.is_empty()
    }

    /// Forgets a spare one that has died, if this was its keeper.
    pub(super) fn spare_died(&mut self, pid: i32) -> bool {
        let Some(at) = self.pool.spares.iter().position(|spare| spare.keeper == pid) else { return false };
        let spare = self.pool.spares.swap_remove(at);
        self.discard(spare.group, spare.slot, &spare.dir);
        true
    }

    fn discard(&mut self, group: Group, slot: Slot, dir: &Path) {
        self.lingering.extend(group.remove());
        self.free.push(slot);
        let _ = std::fs::remove_dir_all(dir);
    }

    fn make_spare(&mut self) -> Result<(), Failure> {
        let doing = || "making a sandbox ahead".to_owned();
        crate::fences::prepare(&Spec::new(SessionId::from_bits(0)));
        let name = format!("{SPARE}{}", LayerId::random().doing(doing)?);
        let mut group = self.cgroups.create(&name, Limits::default())?;
        group.applied.note_plain(Limits::default());
        let slot = match self.take_slot() {
            Ok(slot) => slot,
            Err(failure) => {
                self.lingering.extend(group.remove());
                return Err(failure);
            }
        };
        self.boards[slot.index as usize].wipe(&group);
        let dir = self.pool.dir.join(&name);
        let mut make = || {
            std::fs::create_dir_all(&dir).and_then(|()| make_session_directory(&dir.join(CALLS))).doing(doing)?;
            let mounts = slot.mount(&dir, &Head::default(), &self.sources)?;
            let nobody = tenant(Spec::new(SessionId::from_bits(0)), &dir, 0)?;
            create(&mut self.zygote, nobody, true, mounts, &slot, &mut group)
        };
        match make() {
            Ok(Created { keeper, claim }) => {
                self.pool.spares.push(Spare { keeper, group, slot, claim, dir });
                Ok(())
            }
            Err(failure) => {
                self.discard(group, slot, &dir);
                Err(failure)
            }
        }
    }

    /// Has a spare sandbox be this session's, if there is one that can be; gives its limits. What the session's files are made of,
    /// unless it has no directory yet.
    pub(super) fn claim(
        &mut self,
        spec: &Spec,
        session_dir: &Path,
        head: Option<&Head>,
        epoch: u64,
    ) -> Option<Applied> {
        self.pool.is_wanted = true;
        self.pool.has_failed = false;
        // What is mounted in memory has the size that goes with its limit, which is the default where that can be enforced.
        let has = self.pool.spares.last()?.group.applied.memory_bytes;
        if spec.limits.memory_bytes.is_some_and(|wanted| has != Some(wanted)) {
            return None;
        }
        // What is mounted in a spare one, and isn't replaced, is right for this kind of root only.
        if head.is_some_and(|head| !matches!(head.root, Root::Host | Root::Unmade))
            || spec.env.iter().any(|(name, _)| name == "TENURE_FENCES_DOWN")
        {
            return None;
        }
        let mut spare = self.pool.spares.pop()?;
        spare.group.applied.note_plain(spec.limits);
        let limited = spare.group.change(spec.limits, spare.keeper);
        match limited.and_then(|()| self.try_claim(&spare, spec, session_dir, head, epoch)) {
            Ok(()) => {
                let Spare { keeper, group, slot, dir, .. } = spare;
                if head.is_some() {
                    let _ = std::fs::remove_dir_all(dir);
                }
                let applied = group.applied.clone();
                let layers = head.map(|head| head.layers.clone()).unwrap_or_default();
                self.live.insert(spec.session, Live { keeper, group, slot, layers, copying: None, over: None });
                Some(applied)
            }
            Err(failure) => {
                #[expect(clippy::print_stderr, reason = "its standard error is the supervisor's log")]
                {
                    eprintln!("a sandbox made ahead can't be that of {}: {failure:?}", spec.session);
                }
                // Before the session's layer is mounted again.
                // SAFETY: the keeper is our child and not yet waited for.
                unsafe {
                    libc::kill(spare.keeper, libc::SIGKILL);
                    libc::waitpid(spare.keeper, std::ptr::null_mut(), 0);
                }
                self.pool.has_failed = true;
                self.discard(spare.group, spare.slot, &spare.dir);
                if head.is_none() {
                    let _ = std::fs::remove_dir_all(session_dir);
                }
                None
            }
        }
    }

    fn try_claim(
        &self,
        spare: &Spare,
        spec: &Spec,
        session_dir: &Path,
        head: Option<&Head>,
        epoch: u64,
    ) -> Result<(), Failure> {
        let doing = || "handing a sandbox over".to_owned();
        self.boards[spare.slot.index as usize].set_limits(&spare.group.applied);
        let terms = Terms { env: spec.env.clone(), epoch };
        // A keeper that dies of this is found dead by who connects to it.
        let tell =
            |descriptors: &[BorrowedFd<'_>]| send(&spare.claim, &encode(&terms), descriptors, SendFlags::empty());
        let Some(head) = head else {
            std::fs::rename(&spare.dir, session_dir).doing(doing)?;
            crate::failpoint::pass("claim.renamed");
            return tell(&[]).doing(doing);
        };
        let tenant = tenant(spec.clone(), session_dir, epoch)?;
        let mounts = spare.slot.mount(session_dir, head, &self.sources)?;
        replace_root(spare.keeper, mounts).doing(doing)?;
        crate::failpoint::pass("claim.swapped");
        tell(&[tenant.listener.as_fd(), tenant.shell_mark.as_fd()]).doing(doing)
    }
}

/// Whether this says that the host has memory to spare.
fn has_memory(meminfo: &str) -> bool {
    let kib = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()
    };
    match (kib("MemTotal"), kib("MemAvailable")) {
        (Some(total), Some(available)) => available >= (total / 10).max(LEAST_MEMORY_KIB.min(total / 4)),
        (_, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::has_memory;

    #[test]
    fn none_is_made_while_memory_is_short() {
        let host = |total: u64, available: u64| {
            has_memory(&format!("MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n"))
        };
        assert!(host(8 << 20, 2 << 20) && host(1 << 20, 400 << 10));
        assert!(!host(8 << 20, 600 << 10) && !host(1 << 20, 100 << 10) && !has_memory(""));
    }
}
