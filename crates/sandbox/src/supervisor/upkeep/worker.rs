use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use super::scan::scan;
use super::task::{Run, Said, Task, Work};
use crate::native::{archive, cgroup_name};
use crate::supervisor::Standing;
use crate::supervisor::merge::{Marks, merge};
use crate::supervisor::snapshots::{LAYERS, MERGED, TRASH};

/// The first argument (`argv[0]`) of a worker; the second is the name that its supervisor has as well.
pub(crate) const WORKER: &str = "tenure-sandbox-worker";
/// A process that does something that takes long, so that the supervisor need not. It is a program of its own, started anew, so
/// that it holds nothing of the supervisor's; it ends with it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: i32,
    pub(super) work: Work,
    said: File,
}

impl Worker {
    /// Starts one.
    pub(super) fn start(dir: &Path, work: Work) -> io::Result<Self> {
        let task = Task { dir: dir.to_owned(), work };
        let said = File::from(memfd_create("tenure-worker", MemfdFlags::CLOEXEC)?);
        // It may name any number of layers, for which arguments and variables have no room.
        let mut told = File::from(memfd_create("tenure-task", MemfdFlags::CLOEXEC)?);
        told.write_all(&serde_json::to_vec(&task)?)?;
        told.rewind()?;
        let child = Command::new("/proc/self/exe")
            .arg0(WORKER)
            .arg(cgroup_name(dir))
            .stdin(told)
            .stdout(said.try_clone()?)
            .spawn()?;
        // The supervisor waits for all its children in one place.
        let pid = child.id().try_into().map_err(io::Error::other)?;
        Ok(Self { pid, work: task.work, said })
    }

    /// What it said, once it has ended.
    pub(super) fn said(mut self) -> (Work, Said) {
        let mut text = Vec::new();
        let read = self.said.rewind().and_then(|()| self.said.read_to_end(&mut text));
        let said = match read.map(|_| serde_json::from_slice(&text)) {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Said::Failed("the worker died".to_owned()),
            Err(error) => Said::Failed(error.to_string()),
        };
        (self.work, said)
    }

    /// Ends it and waits for that.
    pub(super) fn end(self) {
        // SAFETY: it is our child and not yet waited for, so the id is still its own.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

/// Plays the worker: does its task at the lowest priority, says what came of it, and ends.
pub(crate) fn play() -> ! {
    // SAFETY: takes no pointer; concerns this process alone.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let supervisor = rustix::process::getppid();
    step_back();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    crate::supervisor::allow_many_files();
    let mut told = Vec::new();
    let task = io::stdin().read_to_end(&mut told).ok().and_then(|_| serde_json::from_slice::<Task>(&told).ok());
    let Some(task) = task else { std::process::exit(2) };
    // It may have died before its death was ours.
    if rustix::process::getppid() != supervisor || supervisor.is_none_or(rustix::process::Pid::is_init) {
        std::process::exit(1);
    }
    let said = carry_out(&task).unwrap_or_else(|error| Said::Failed(error.to_string()));
    let written = io::stdout().write_all(&serde_json::to_vec(&said).unwrap_or_default());
    std::process::exit(i32::from(written.and_then(|()| io::stdout().flush()).is_err()))
}

/// Whatever else wants the processor or the disk comes first.
fn step_back() {
    const IDLE: libc::c_long = 3 << 13;
    const THIS_PROCESS: libc::c_long = 1;
    // SAFETY: both take numbers and concern this process alone.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, THIS_PROCESS, 0 as libc::c_long, IDLE);
    }
}

fn carry_out(task: &Task) -> io::Result<Said> {
    match &task.work {
        Work::Scan { refused, most_layers, unarchived, archives } => {
            let mut report = scan(&task.dir, *most_layers, refused)?;
            report.look_at_archives(&task.dir, *archives, unarchived)?;
            Ok(Said::Scanned(Box::new(report)))
        }
        Work::Archive { layer } => archive::make(&task.dir, layer).map(|()| Said::Done),
        Work::Merge { run, to } => make(&task.dir.join(LAYERS), run, to).map(|()| Said::Done),
        Work::EmptyTrash => empty(&task.dir.join(TRASH)).map(|()| Said::Done),
    }
}

fn make(layers: &Path, run: &Run, to: &str) -> io::Result<()> {
    let of: Vec<_> = run.of.iter().rev().map(|layer| layers.join(layer.to_string())).collect();
    let of: Vec<&Path> = of.iter().map(AsRef::as_ref).collect();
    merge(&of, Marks::of_this_process(), &layers.join(to))?;
    let mut note = File::create(layers.join(to).join(MERGED))?;
    note.write_all(&serde_json::to_vec(&super::scan::MergedOf::new(run))?)?;
    let root = Standing::ours().on_disk(0);
    std::os::unix::fs::fchown(&note, Some(root), Some(root))?;
    note.sync_all()
}

/// What one can't delete is tried again another time.
fn empty(trash: &Path) -> io::Result<()> {
    let mut failed = None;
    for entry in std::fs::read_dir(trash)? {
        match crate::removal::remove_all(&entry?.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => failed = Some(error),
            Ok(()) | Err(_) => {}
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::{Work, Worker};
    use crate::supervisor::head::LayerId;

    #[test]
    fn a_worker_is_started_however_many_layers_it_is_told_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let run: Vec<LayerId> = (0..30).map(|_| LayerId::random().expect("a name")).collect();
        let refused = vec![run; 1_000];
        let work = Work::Scan { refused, most_layers: 20, unarchived: Vec::new(), archives: false };
        // What it becomes here is another process of this test, which finds no test of the name that it is given.
        Worker::start(dir.path(), work).expect("started").end();
    }
}
