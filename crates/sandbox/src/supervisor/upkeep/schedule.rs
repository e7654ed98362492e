use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::adopt;
use super::scan::{Report, Swap};
use super::task::{Run, Said, Work};
use super::worker::Worker;
use crate::supervisor::head::LayerId;
use crate::supervisor::live::Sandboxes;
use crate::supervisor::snapshots::{LAYERS, UNFINISHED};

/// How long after a change it is looked for what is to be done.
const AFTER_CHANGE: Duration = Duration::from_secs(2);

/// How often that is done without any change that is known of.
const AT_LEAST_EVERY: Duration = Duration::from_secs(600);

/// A scan may take one part in so many of the time of one processor.
const PART_OF_TIME: u32 = 20;

/// How many files are replaced before servers are heard again.
const SWAPS_AT_ONCE: usize = 32;

/// The supervisor's upkeep of its directory.
#[derive(Debug)]
pub(crate) struct Upkeep {
    dir: PathBuf,
    worker: Option<Worker>,
    /// When the worker was started.
    since: Instant,
    /// When to look next.
    next: Instant,
    not_before: Instant,
    /// Somebody waits until nothing is left to do.
    hurry: bool,
    swaps: VecDeque<Swap>,
    merge: Option<Run>,
    has_trash: bool,
    most_layers: usize,
    archives: bool,
    /// Layers to archive.
    unarchived: VecDeque<LayerId>,
    /// Layers that couldn't be.
    unarchivable: Vec<LayerId>,
    /// Runs that couldn't be merged.
    refused: Vec<Vec<LayerId>>,
}

impl Upkeep {
    /// Of this directory. Stacks of more than so many layers are made flatter; `archives` says whether there are to be archives of
    /// layers.
    pub(crate) fn new(dir: &Path, most_layers: usize, archives: bool) -> Self {
        let now = Instant::now();
        Self {
            dir: dir.to_owned(),
            worker: None,
            since: now,
            next: now + AFTER_CHANGE,
            not_before: now,
            hurry: false,
            swaps: VecDeque::new(),
            merge: None,
            has_trash: false,
            most_layers,
            archives,
            unarchived: VecDeque::new(),
            unarchivable: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Something has changed that may make layers needless or stacks deeper.
    pub(crate) fn changed(&mut self) {
        self.next = self.next.min(Instant::now() + AFTER_CHANGE);
    }

    /// Looks at once, and doesn't stop while there is something to do.
    pub(crate) fn hurry(&mut self) {
        self.hurry = true;
        self.next = Instant::now();
        self.not_before = self.next;
    }

    /// Whether all was done that [`hurry`](Self::hurry) asked for.
    pub(crate) fn is_done(&self) -> bool {
        !self.hurry
    }

    /// When to be called again, if nothing happens before.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let has_more = !self.swaps.is_empty() || self.merge.is_some() || self.has_trash || !self.unarchived.is_empty();
        match (&self.worker, has_more) {
            (Some(_), _) => None,
            (None, true) => Some(Duration::ZERO),
            (None, false) => Some(self.next.max(self.not_before).saturating_duration_since(Instant::now())),
        }
    }

    /// Hears that a child of the supervisor has ended.
    pub(crate) fn ended(&mut self, pid: i32, sandboxes: &Sandboxes) {
        let Some(worker) = self.worker.take_if(|worker| worker.pid == pid) else { return };
        match worker.said() {
            (_, Said::Scanned(report)) => self.take_up(*report, sandboxes),
            (Work::Merge { run, to }, Said::Done) => self.adopt(run, &to),
            (Work::Merge { run, to }, Said::Failed(why)) => {
                say(&format!("layers can't be merged: {why}"));
                let _ = sandboxes.files.throw_away(&self.dir.join(LAYERS).join(to));
                self.refused.push(run.of);
            }
            (Work::Archive { layer }, Said::Failed(why)) => {
                say(&format!("layer {layer} can't be archived: {why}"));
                self.unarchivable.push(layer);
            }
            (Work::Scan { .. } | Work::EmptyTrash, Said::Failed(why)) => {
                say(&format!("the upkeep of layers failed: {why}"));
                self.hurry = false;
            }
            (Work::Scan { .. } | Work::EmptyTrash | Work::Archive { .. }, Said::Done) => {}
        }
    }

    /// Does the next thing, if it is time.
    pub(crate) fn step(&mut self, sandboxes: &Sandboxes) {
        for _ in 0..SWAPS_AT_ONCE {
            let Some(swap) = self.swaps.pop_front() else { break };
            if let Err(error) = adopt::swap(&self.dir, &swap, sandboxes) {
                say(&format!("{} can't be replaced: {error}", swap.file.display()));
                self.swaps.clear();
                self.hurry = false;
            }
        }
        if self.worker.is_some() || !self.swaps.is_empty() {
            return;
        }
        // What is to be looked at comes before archives, of which there may be many, unless all is to be done anyway.
        let may_archive = self.hurry || !self.is_due();
        if let Some(run) = self.merge.take() {
            let random = LayerId::random().map(|id| format!("{UNFINISHED}{id}"));
            match random {
                Ok(to) => self.start(Work::Merge { run, to }),
                Err(error) => say(&format!("layers can't be merged: {error}")),
            }
        } else if std::mem::take(&mut self.has_trash) {
            self.start(Work::EmptyTrash);
        } else if let Some(layer) = self.unarchived.pop_front_if(|_| may_archive) {
            self.start(Work::Archive { layer });
        } else if self.is_due() {
            self.unarchived.clear();
            self.next = Instant::now() + AT_LEAST_EVERY;
            sandboxes.files.note_names();
            let (refused, unarchived) = (self.refused.clone(), self.unarchivable.clone());
            self.start(Work::Scan { refused, most_layers: self.most_layers, unarchived, archives: self.archives });
        }
    }

    /// Whether it is time to look.
    fn is_due(&self) -> bool {
        self.next.max(self.not_before) <= Instant::now()
    }

    /// Ends the worker, if there is one; what it has begun is removed by the next supervisor.
    pub(crate) fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end();
        }
    }

    fn start(&mut self, work: Work) {
        self.since = Instant::now();
        match Worker::start(&self.dir, work) {
            Ok(worker) => self.worker = Some(worker),
            Err(error) => {
                say(&format!("no worker can be started: {error}"));
                self.hurry = false;
            }
        }
    }

    fn take_up(&mut self, report: Report, sandboxes: &Sandboxes) {
        report.unread.iter().for_each(|file| say(&format!("nothing is collected, since a file can't be read: {file}")));
        let collected = adopt::collect(&self.dir, &report, sandboxes).unwrap_or_else(|error| {
            say(&format!("layers can't be collected: {error}"));
            0
        });
        let threw_away = collected > 0 || !report.unfinished.is_empty();
        self.not_before = Instant::now() + self.since.elapsed() * PART_OF_TIME;
        self.has_trash = report.has_trash || threw_away;
        let is_clear = report.swaps.is_empty() && report.merge.is_none() && collected == 0;
        self.swaps = report.swaps.into();
        self.merge = report.merge;
        self.unarchived = report.unarchived.into();
        if !is_clear {
            // What comes of that may make more needless.
            self.next = Instant::now();
            if self.hurry {
                self.not_before = self.next;
            }
        } else if !self.has_trash && self.unarchived.is_empty() {
            self.hurry = false;
        } else if self.hurry {
            self.next = Instant::now();
            self.not_before = self.next;
        }
    }

    /// Gives a merged layer its name. That stacks are to name it is found by the next look.
    fn adopt(&mut self, run: Run, to: &str) {
        let layers = self.dir.join(LAYERS);
        let named = LayerId::random()
            .and_then(|id| std::fs::rename(layers.join(to), layers.join(format!("merged-{}", &id.to_string()[..16]))));
        crate::failpoint::pass("upkeep.merged");
        if let Err(error) = named {
            say(&format!("a merged layer can't be named: {error}"));
            self.refused.push(run.of);
        }
        self.next = Instant::now();
        self.not_before = self.next;
    }
}

/// Says something to the operator, in the supervisor's log.
fn say(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{what}");
}
