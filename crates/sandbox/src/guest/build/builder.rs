use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use serde::{Deserialize, Serialize};

use super::layer::{Bounds, Refusal, unpack};
use super::system;
use super::tree::Tree;
use crate::Packing;
use crate::guest::executor::fork_into;
use crate::guest::mounts::STAGE;
use crate::guest::privileges::{self, Capabilities};
use crate::guest::{seccomp, signals};
use crate::supervisor::{Doing, Failure, allow_many_files};

/// What a builder is made from.
#[derive(Debug)]
pub(crate) struct Builder {
    /// The layers so far with a writable one on top: this becomes its root, and the writable one the product.
    pub(crate) root: OwnedFd,
    pub(crate) task: Task,
    /// Any file of the file system that the product is on.
    pub(crate) disk: OwnedFd,
    pub(crate) entrances: Vec<OwnedFd>,
    pub(crate) mapped: OwnedFd,
    pub(crate) outcome: OwnedFd,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// Unpack a layer of an image.
    Unpack { packed: OwnedFd, packing: Packing, diff_id: String },
    /// Add what tools need.
    System,
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
    let Builder { root, task, disk, entrances, mapped, outcome } = builder;
    let mut outcome = File::from(outcome);
    let prepared = prepare(&root, &entrances, mapped);
    drop((root, entrances));
    let worker = prepared.and_then(|()| {
        // A clock can end a process, but not one that is PID 1.
        let work = || {
            let done = perform(task, &disk);
            i32::from(outcome.write_all(&serde_json::to_vec(&done).unwrap_or_default()).is_err())
        };
        fork_into(work).doing(|| "starting a builder".to_owned())
    });
    match worker {
        Ok(_) => {
            // SAFETY: takes no pointer that matters. It ends when no child is left.
            while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
        }
        Err(failure) => {
            let _ = outcome.write_all(&serde_json::to_vec(&Outcome::Failed(failure)).unwrap_or_default());
        }
    }
}

fn close_what_is_not_ours(builder: &Builder) {
    let Builder { root, task, disk, entrances, mapped, outcome } = builder;
    let mut keep: Vec<i32> =
        [root, disk, mapped, outcome].into_iter().chain(entrances).map(AsRawFd::as_raw_fd).collect();
    match task {
        Task::Unpack { packed, .. } => keep.push(packed.as_raw_fd()),
        Task::System => {}
    }
    keep.extend([0, 1, 2]);
    keep.sort_unstable();
    signals::close_all_but(&keep);
}

fn prepare(root: &OwnedFd, entrances: &[OwnedFd], mapped: OwnedFd) -> Result<(), Failure> {
    signals::reset();
    File::from(mapped).read_exact(&mut [0]).doing(|| "waiting for the supervisor".to_owned())?;
    privileges::become_user(0).doing(|| "becoming the builder's root".to_owned())?;
    privileges::die_with_parent().doing(|| "tying the builder to its supervisor".to_owned())?;
    privileges::hide_from_peers().doing(|| "hiding the builder".to_owned())?;
    let enter_limits = |entrance: &OwnedFd| rustix::io::write(entrance, b"0").map(drop);
    entrances.iter().try_for_each(enter_limits).doing(|| "applying the builder's limits".to_owned())?;
    change_root(root)?;
    allow_many_files();
    let _ = rustix::process::setsid();
    privileges::gain_nothing_by_exec().doing(|| "forbidding new privileges".to_owned())?;
    privileges::empty_bounding_set().doing(|| "dropping capabilities".to_owned())?;
    privileges::set_capabilities(Capabilities::BUILDER).doing(|| "dropping capabilities".to_owned())?;
    seccomp::install().doing(|| "filtering system calls".to_owned())
}

/// The layers become the root: there is no `/proc`, no device, nothing else.
fn change_root(root: &OwnedFd) -> Result<(), Failure> {
    let change = || -> io::Result<()> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        move_mount(root.as_fd(), "", CWD, STAGE, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        rustix::process::chdir(STAGE)?;
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    };
    change().doing(|| "changing the builder's root".to_owned())
}

fn perform(task: Task, disk: &OwnedFd) -> Outcome {
    // SAFETY: takes a number only.
    unsafe { libc::alarm(DEADLINE) };
    let root = open("/", OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let done = root.map_err(|error| Refusal::Here(error.into())).and_then(|root| {
        let again = root.try_clone().map_err(Refusal::Here)?;
        let tree = Tree::new(root);
        match task {
            Task::Unpack { packed, packing, diff_id } => {
                unpack(&tree, File::from(packed), packing, &diff_id, Bounds::OURS)
            }
            Task::System => system::add(&tree, &again).map_err(Refusal::Here),
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
