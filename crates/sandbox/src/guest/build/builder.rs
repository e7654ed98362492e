use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open, openat};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree, unmount,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::bits;
use super::layer::{Bounds, Refusal, unpack};
use super::packages::{ARCHIVES, install};
use super::system;
use super::tree::Tree;
use crate::Packing;
use crate::guest::executor::fork_into;
use crate::guest::mounts::{self, STAGE};
use crate::guest::privileges::{self, Capabilities};
use crate::guest::setup::forbid_core_files;
use crate::guest::{seccomp, signals};
use crate::spec::{Applied, Limits};
use crate::supervisor::{Board, Detached, Doing, Failure, allow_many_files};
use crate::wire::Step;

/// What a builder is made from.
#[derive(Debug)]
pub(crate) struct Builder {
    /// The layers so far with a writable one on top: these become its root, and the writable one the product.
    pub(crate) root: Vec<Detached>,
    pub(crate) task: Task,
    /// Any file of the file system that the product is on.
    pub(crate) disk: OwnedFd,
    pub(crate) entrances: Vec<OwnedFd>,
    pub(crate) mapped: OwnedFd,
    pub(crate) outcome: OwnedFd,
    pub(crate) limits: Applied,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Unpack a layer of an image.
    Unpack { packed: OwnedFd, packing: Packing, diff_id: String },
    /// Add what tools need.
    System,
    /// Install packages.
    Install {
        /// The directory that has their archives, as a mount that is nowhere.
        archives: OwnedFd,
        steps: Vec<Step>,
        /// What the host has installed, if that is in the root.
        hosts_database: Option<OwnedFd>,
        /// Where there is but one user, the product as a mount that is nowhere.
        product: Option<OwnedFd>,
    },
}

/// What came of it, as it is told through the pipe.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The layer is whole, and on disk.
    Done,
    /// What it was made from is at fault.
    Refused(String),
    /// This machine is.
    Failed(Failure),
}

/// How long it may take, in seconds.
const DEADLINE: u32 = 30 * 60;
/// What of it is left to clean up, and say what took too long.
const GRACE: u32 = 60;

/// Turns this fresh copy of the supervisor, PID 1 of new namespaces, into a builder, and never returns.
pub(crate) fn enter(builder: Builder) -> ! {
    // A panic must end here: above are the frames of the supervisor.
    let code = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(builder))) {
        Ok(()) => 0,
        Err(_) => 101,
    };
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

fn live(builder: Builder) {
    close_what_is_not_ours(&builder);
    if Board::leave_all().is_err() {
        return;
    }
    let Builder { root, task, disk, entrances, mapped, outcome, limits } = builder;
    let mut outcome = File::from(outcome);
    let prepared = prepare(root, &task, &entrances, mapped, &limits);
    drop(entrances);
    let worker = prepared.and_then(|tree| {
        // A clock can end a process, but not one that is PID 1.
        let work = || {
            let done = perform(task, tree, &disk);
            i32::from(outcome.write_all(&serde_json::to_vec(&done).unwrap_or_default()).is_err())
        };
        fork_into(work).doing(|| "starting a builder".to_owned())
    });
    match worker {
        Ok(worker) => {
            // What it leaves behind, if it is killed, ends with this process.
            // SAFETY: takes no pointer that matters.
            while !matches!(unsafe { libc::wait(std::ptr::null_mut()) }, ended if ended == worker || ended < 0) {}
        }
        Err(failure) => {
            let _ = outcome.write_all(&serde_json::to_vec(&Outcome::Failed(failure)).unwrap_or_default());
        }
    }
}

fn close_what_is_not_ours(builder: &Builder) {
    let Builder { root, task, disk, entrances, mapped, outcome, limits: _ } = builder;
    let mut keep: Vec<i32> = [disk, mapped, outcome].into_iter().chain(entrances).map(AsRawFd::as_raw_fd).collect();
    keep.extend(root.iter().map(|part| part.mount.as_raw_fd()));
    match task {
        Task::Unpack { packed, .. } => keep.push(packed.as_raw_fd()),
        Task::System => {}
        Task::Install { archives, hosts_database, product, steps: _ } => {
            keep.extend(std::iter::once(archives).chain(hosts_database).chain(product).map(AsRawFd::as_raw_fd));
        }
    }
    keep.extend([0, 1, 2]);
    keep.sort_unstable();
    signals::close_all_but(&keep);
}

/// Gives the root as it is without what is mounted in it.
fn prepare(
    root: Vec<Detached>,
    task: &Task,
    entrances: &[OwnedFd],
    mapped: OwnedFd,
    limits: &Applied,
) -> Result<OwnedFd, Failure> {
    signals::reset();
    File::from(mapped).read_exact(&mut [0]).doing(|| "waiting for the supervisor".to_owned())?;
    privileges::become_user(0).doing(|| "becoming the builder's root".to_owned())?;
    privileges::die_with_parent().doing(|| "tying the builder to its supervisor".to_owned())?;
    privileges::hide_from_peers().doing(|| "hiding the builder".to_owned())?;
    let enter_limits = |entrance: &OwnedFd| rustix::io::write(entrance, b"0").map(drop);
    entrances.iter().try_for_each(enter_limits).doing(|| "applying the builder's limits".to_owned())?;
    let (tree, capabilities) = match task {
        Task::Unpack { .. } | Task::System => {
            change_root(&root)?;
            let root = open("/", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            (root.doing(|| "opening the builder's root".to_owned())?, Capabilities::BUILDER)
        }
        Task::Install { archives, .. } => {
            let tree = mounts::build_over(root, limits, bare)?;
            show(archives).doing(|| "showing the archives of packages".to_owned())?;
            privileges::leave_keys().doing(|| "leaving the host's keys".to_owned())?;
            let longest = Some(Limits::DEFAULT_DISK_BYTES);
            setrlimit(Resource::Fsize, Rlimit { current: longest, maximum: longest })
                .doing(|| "limiting the length of files".to_owned())?;
            (tree, Capabilities::INSTALLER)
        }
    };
    allow_many_files();
    forbid_core_files();
    let _ = rustix::process::setsid();
    privileges::gain_nothing_by_exec().doing(|| "forbidding new privileges".to_owned())?;
    privileges::bound(capabilities).doing(|| "dropping capabilities".to_owned())?;
    privileges::set_capabilities(capabilities).doing(|| "dropping capabilities".to_owned())?;
    seccomp::install().doing(|| "filtering system calls".to_owned())?;
    Ok(tree)
}

/// The same root, through which nothing is reached that will be mounted in it: what lies under that can be seen to.
fn bare(root: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let bare = open_tree(root, "", flags)?;
    Ok(openat(bare, ".", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Mounts the archives where managers are told to look.
fn show(archives: &OwnedFd) -> io::Result<()> {
    let run = open("/run", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    mkdirat(&run, ARCHIVES, Mode::from_raw_mode(0o755))?;
    Ok(move_mount(archives.as_fd(), "", run.as_fd(), ARCHIVES, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// The layers become the root: there is no `/proc`, no device, nothing else.
fn change_root(root: &[Detached]) -> Result<(), Failure> {
    let change = || -> io::Result<()> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        for part in root {
            move_mount(part.mount.as_fd(), "", CWD, STAGE, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        }
        rustix::process::chdir(STAGE)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    };
    change().doing(|| "changing the builder's root".to_owned())
}

fn perform(task: Task, root: OwnedFd, disk: &OwnedFd) -> Outcome {
    // SAFETY: takes a number only.
    unsafe { libc::alarm(DEADLINE) };
    let done = root.try_clone().map_err(Refusal::Here).and_then(|again| {
        let tree = Tree::new(root);
        match task {
            Task::Unpack { packed, packing, diff_id } => {
                unpack(&tree, File::from(packed), packing, &diff_id, Bounds::OURS)
            }
            Task::System => system::add(&tree, &again).map_err(Refusal::Here),
            Task::Install { archives: _, steps, hosts_database, product } => {
                let time = Duration::from_secs((DEADLINE - GRACE).into());
                install(&tree, &steps, hosts_database.as_ref(), time)?;
                product.as_ref().map_or(Ok(()), bits::clear).map_err(Refusal::Here)?;
                // Their scripts may have done anything to it.
                system::add(&tree, &again).map_err(Refusal::Here)
            }
        }
    });
    // What is sealed is shared and never written again, so it has to outlast a crash of the machine.
    let kept = done.and_then(|()| rustix::fs::syncfs(disk).map_err(|error| Refusal::Here(error.into())));
    match kept {
        Ok(()) => Outcome::Done,
        Err(Refusal::Layer(why)) => Outcome::Refused(why),
        Err(Refusal::Here(error)) => {
            Outcome::Failed(Failure::Failed { doing: "making a layer".to_owned(), cause: error.to_string() })
        }
    }
}
