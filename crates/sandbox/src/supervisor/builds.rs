//! Layers that come into being: each in a sandbox of its own that is nothing but a root, and sealed when it is whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::pipe::{PipeFlags, pipe_with};
use tenure_core::id::SessionId;
use tenure_core::packages::Manager;

use super::create::namespaces;
use super::layers::{Detached, ROOT, Slot, Sources};
use super::mirror::Mirror;
use super::ownership::Ownership;
use super::requirements::refuse_user_namespace;
use super::snapshots::{Files, make_directory, make_session_directory};
use super::{Doing, Failure, Group, LayerId, Root, Standing, idmap, subdirectories};
use crate::guest::build::{self, Builder, Outcome, Task};
use crate::spec::Limits;
use crate::wire::{Build, BuildTask};

/// Where hosts of Debian's kind note which packages they have.
const HOSTS_DATABASE: &str = "/var/lib/dpkg";

/// The layers that are being made, and what became of those that were.
#[derive(Debug)]
pub(crate) struct Builds {
    under_way: HashMap<i32, UnderWay>,
    ended: HashMap<LayerId, Result<(), Failure>>,
}

#[derive(Debug)]
struct UnderWay {
    begun: Begun,
    group: Group,
    slot: Slot,
    /// It was ended since the host's disk is low.
    no_room: bool,
}

/// What the end of a process means for the layers that are being made.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It had nothing to do with them.
    Another,
    /// The next one is at work.
    GoesOn,
    /// A layer is made, or can't be; what its builder had is free.
    Over(Box<(Group, Slot)>),
}

/// A process that has been started, and works in this directory for this layer.
#[derive(Debug)]
pub(crate) struct Begun {
    pid: i32,
    layer: LayerId,
    dir: PathBuf,
    outcome: OwnedFd,
    /// What is to be built, and over what, when it has ended well: then it only prepares that.
    then: Option<(Build, Mirror)>,
}

impl Builds {
    /// None so far. What an earlier supervisor left half done is thrown away.
    pub(crate) fn new(files: &Files) -> io::Result<Self> {
        subdirectories(&files.builds_dir()).iter().try_for_each(|left| files.throw_away(left))?;
        Ok(Self { under_way: HashMap::new(), ended: HashMap::new() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(crate) fn is_under_way(&self, layer: &LayerId) -> bool {
        self.under_way.values().any(|under_way| under_way.begun.layer == *layer)
    }

    /// Starts a builder, or what has to be done before.
    pub(crate) fn begin(
        &self,
        id: SessionId,
        build: Build,
        slot: &Slot,
        group: &mut Group,
        files: &Files,
        sources: &Sources,
    ) -> Result<Begun, Failure> {
        let dir = files.builds_dir().join(id.to_string());
        let made = make_directory(&files.builds_dir()).and_then(|()| make_session_directory(&dir).map(drop));
        let begun = made.doing(|| format!("making {}", dir.display())).and_then(|()| match needs_mirror(&build) {
            true => mirror(build, dir.clone(), sources),
            false => start(build, dir.clone(), slot, group, sources, None),
        });
        if begun.is_err() {
            // It has a few directories and nothing in them.
            let _ = std::fs::remove_dir_all(&dir);
        }
        begun
    }

    /// Remembers a process until it has ended.
    pub(crate) fn keep(&mut self, begun: Begun, group: Group, slot: Slot) {
        self.ended.remove(&begun.layer);
        self.under_way.insert(begun.pid, UnderWay { begun, group, slot, no_room: false });
    }

    /// Takes over what a process has made that was waited for, if it was of these.
    pub(crate) fn ended(&mut self, pid: i32, files: &Files, sources: &Sources) -> Ended {
        let Some(UnderWay { begun, mut group, slot, no_room: lacked_room }) = self.under_way.remove(&pid) else {
            return Ended::Another;
        };
        let Begun { pid: _, layer, dir, outcome, then } = begun;
        let judged = if lacked_room { Err(no_room()) } else { judge(outcome) };
        let kept = match (judged, then) {
            (Ok(()), Some((build, mirror))) => {
                match start(build, dir.clone(), &slot, &mut group, sources, Some(&mirror)) {
                    Ok(begun) => {
                        self.keep(begun, group, slot);
                        return Ended::GoesOn;
                    }
                    Err(failure) => Err(failure),
                }
            }
            (Ok(()), None) => {
                crate::failpoint::pass("build.done");
                forget_untouched(&dir.join("layer"));
                let sealed = std::fs::rename(dir.join("layer"), files.layers_dir().join(layer.to_string()));
                sealed.doing(|| format!("sealing the {layer:?}"))
            }
            (Err(failure), _) => Err(failure),
        };
        crate::failpoint::pass("build.sealed");
        if let Err(error) = files.throw_away(&dir) {
            // It goes with the next supervisor's start.
            drop(error);
        }
        self.ended.insert(layer, kept);
        Ended::Over(Box::new((group, slot)))
    }

    pub(crate) fn outcome(&self, layer: &LayerId) -> Option<Result<(), Failure>> {
        if self.is_under_way(layer) {
            return None;
        }
        let lost = || Err(failed("making a layer", "what became of it is not known any more"));
        Some(self.ended.get(layer).cloned().unwrap_or_else(lost))
    }

    pub(crate) fn forget_but(&mut self, asked: &[LayerId]) {
        self.ended.retain(|layer, _| asked.contains(layer));
    }

    /// Ends those under way, as the host's disk has too little left for what they write.
    pub(crate) fn end_for_room(&mut self) {
        self.under_way.values_mut().for_each(|under_way| under_way.no_room = true);
        self.kill();
    }

    pub(crate) fn kill(&self) {
        for pid in self.under_way.keys() {
            // SAFETY: the builder is our child and not yet waited for, so the id is still its own.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
    }
}

/// File systems in which nothing was changed are the host's again, as they are.
fn forget_untouched(layer: &Path) {
    let parts = subdirectories(layer);
    for part in parts.iter().filter(|part| !part.ends_with(ROOT)) {
        // Only if there is nothing in it.
        let _ = std::fs::remove_dir(part);
    }
}

/// Whether packages are installed over directories of the host that nobody could write to, as they are.
fn needs_mirror(build: &Build) -> bool {
    let is_installed = matches!(build.task, BuildTask::Install { .. });
    is_installed && build.root == Root::Host && !Standing::ours().shifts_owners()
}

/// Has these made once more, for when it is built.
fn mirror(build: Build, dir: PathBuf, sources: &Sources) -> Result<Begun, Failure> {
    let (outcome, say_outcome) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let (pid, mirror) = Mirror::start(&sources.skeleton.host_dirs, say_outcome, &sources.reach)
        .doing(|| "having the directories of the host made once more".to_owned())?;
    Ok(Begun { pid, layer: build.layer.clone(), dir, outcome, then: Some((build, mirror)) })
}

fn start(
    build: Build,
    dir: PathBuf,
    slot: &Slot,
    group: &mut Group,
    sources: &Sources,
    mirror: Option<&Mirror>,
) -> Result<Begun, Failure> {
    let Build { layer, root: below, base, task } = build;
    let root = match &task {
        BuildTask::Unpack { .. } | BuildTask::System => {
            vec![Detached { target: String::new(), mount: slot.mount_build(&dir, &below, &base)? }]
        }
        BuildTask::Install { .. } => slot.mount_install(&dir, &below, &base, sources, mirror)?,
    };
    let disk = File::create(dir.join("disk")).doing(|| "making a file".to_owned())?;
    let task = match task {
        BuildTask::Unpack { packed, packing, diff_id } => {
            let packed = File::open(&packed).doing(|| format!("opening {}", packed.display()))?;
            Task::Unpack { packed: packed.into(), packing, diff_id }
        }
        BuildTask::System => Task::System,
        BuildTask::Install { archives, steps } => {
            let is_hosts = below == Root::Host && steps.iter().any(|step| step.manager == Manager::Apt);
            let hosts_database = is_hosts.then(|| File::open(HOSTS_DATABASE).ok()).flatten().map(OwnedFd::from);
            let product = (!Standing::ours().has_own_users()).then(|| slot.mount_product(&dir)).transpose()?;
            Task::Install { archives: slot.mount_archives(&archives)?, steps, hosts_database, product }
        }
    };
    let mut limits = group.applied.clone();
    limits.note_plain(Limits::default());
    let (mapped, say_mapped) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let (outcome, say_outcome) = pipe_with(PipeFlags::CLOEXEC).doing(|| "making a pipe".to_owned())?;
    let ownership = Ownership::of(slot.base()).doing(|| "acting as the builder's user".to_owned())?;
    // SAFETY: this process has one thread, so its copy finds every lock open; the child only goes on to `build::enter`, which
    // never returns.
    let pid = unsafe { libc::syscall(libc::SYS_clone, namespaces() | libc::SIGCHLD, 0, 0, 0, 0) };
    if pid < 0 {
        let error = io::Error::last_os_error();
        drop(ownership);
        return Err(refuse_user_namespace(error));
    }
    if pid == 0 {
        let entrances = std::mem::take(&mut group.entrances);
        build::enter(Builder { root, task, disk: disk.into(), entrances, mapped, outcome: say_outcome, limits });
    }
    drop((ownership, mapped, say_outcome, root, task, disk));
    group.entrances.clear();
    let mapped = idmap::write_map(pid, &Standing::ours().builders_map(slot.base()))
        .and_then(|()| File::from(say_mapped).write_all(b"1"));
    if let Err(error) = mapped {
        // SAFETY: the child is ours and not yet waited for.
        unsafe {
            libc::kill(pid as i32, libc::SIGKILL);
            libc::waitpid(pid as i32, std::ptr::null_mut(), 0);
        }
        return Err(error).doing(|| "mapping the builder's users".to_owned());
    }
    Ok(Begun { pid: pid as i32, layer, dir, outcome, then: None })
}

/// A builder that has ended said what came of it, or was ended.
fn judge(outcome: OwnedFd) -> Result<(), Failure> {
    let mut said = Vec::new();
    File::from(outcome).read_to_end(&mut said).doing(|| "hearing of a builder".to_owned())?;
    match serde_json::from_slice(&said) {
        Ok(Outcome::Done) => Ok(()),
        Ok(Outcome::Refused(why)) => Err(Failure::Invalid { why }),
        Ok(Outcome::Failed(failure)) => Err(failure),
        Err(_) => Err(failed("making a layer", "it took too long, or needed too much memory, and was ended")),
    }
}

/// Why no layer is made while the host's disk is low.
pub(super) fn no_room() -> Failure {
    failed(
        "making a layer",
        "the disk of the host has less left than sandboxes leave it (--sandbox-disk-floor): make room, or lower that",
    )
}

fn failed(doing: &str, cause: &str) -> Failure {
    Failure::Failed { doing: doing.to_owned(), cause: cause.to_owned() }
}
