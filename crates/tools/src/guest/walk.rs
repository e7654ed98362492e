//! A walk over a directory tree that ends: in order of names, without following symbolic links, within bounds of number
//! and time.

use std::ffi::OsString;
use std::fs::{self, FileType};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use crate::guest::ignored::Rules;

const MOST_ENTRIES: usize = 500_000;
const VERSION_CONTROL: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// How to walk. The root itself is never passed over, nor handed to the visitor.
#[derive(Debug)]
pub(crate) struct Walk {
    /// Whether ignore files are heeded.
    pub(crate) heed_ignore_files: bool,
    /// How deep to go; 1 is the root's own entries.
    pub(crate) deepest: usize,
    /// When to stop.
    pub(crate) give_up_at: Instant,
}

/// Something found on a walk.
#[derive(Debug)]
pub(crate) struct Entry<'e> {
    /// Its path, the root's included.
    pub(crate) path: &'e Path,
    /// What it is, symbolic links not followed.
    pub(crate) kind: FileType,
}

/// What came of a walk.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// Files and directories that ignore files excluded.
    pub(crate) ignored: usize,
    /// Directories that could not be read.
    pub(crate) unreadable: usize,
    /// Why the walk ended before everything was seen, if it did.
    pub(crate) stopped: Option<Stopped>,
}

/// Why a walk ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It took too long.
    OutOfTime,
    /// There was too much to see.
    TooManyEntries,
    /// The visitor had enough.
    Enough,
}

impl Stopped {
    /// A line for the model; `None` where the visitor speaks for itself.
    pub(crate) fn note(self) -> Option<String> {
        match self {
            Self::OutOfTime => {
                Some("[stopped: out of time; there may be more. Name a smaller directory as `path`]".to_owned())
            }
            Self::TooManyEntries => Some(format!(
                "[stopped after {MOST_ENTRIES} files and directories; there may be more. Name a smaller directory as `path`]"
            )),
            Self::Enough => None,
        }
    }
}

struct Level {
    directory: PathBuf,
    rules: Option<Rc<Rules>>,
    /// In reverse order, so that the next is popped.
    names: Vec<(OsString, FileType)>,
}

impl Walk {
    /// Shows everything under `root` to `visit`, which ends the walk by a reason to stop.
    pub(crate) fn run(&self, root: &Path, visit: &mut dyn FnMut(Entry<'_>) -> Option<Stopped>) -> Walked {
        let mut walked = Walked::default();
        let mut budget = MOST_ENTRIES;
        let rules = self.heed_ignore_files.then(|| Rules::above(root));
        let mut levels = Vec::new();
        match self.list(root, rules, &mut budget) {
            Ok(level) => levels.push(level),
            Err(Some(stopped)) => walked.stopped = Some(stopped),
            Err(None) => walked.unreadable += 1,
        }
        while let Some(level) = levels.last_mut() {
            let Some((name, kind)) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if Instant::now() >= self.give_up_at {
                walked.stopped = Some(Stopped::OutOfTime);
                break;
            }
            let path = level.directory.join(&name);
            if kind.is_dir() && VERSION_CONTROL.iter().any(|skipped| name == *skipped) {
                continue;
            }
            let rules = level.rules.clone();
            if rules.as_ref().is_some_and(|rules| rules.ignore(&path, kind.is_dir())) {
                walked.ignored += 1;
                continue;
            }
            if let Some(stopped) = visit(Entry { path: &path, kind }) {
                walked.stopped = Some(stopped);
                break;
            }
            if kind.is_dir() && levels.len() < self.deepest {
                let rules = rules.map(|rules| Rules::enter(Some(&rules), &path));
                match self.list(&path, rules, &mut budget) {
                    Ok(level) => levels.push(level),
                    Err(Some(stopped)) => {
                        walked.stopped = Some(stopped);
                        break;
                    }
                    Err(None) => walked.unreadable += 1,
                }
            }
        }
        walked
    }

    /// The names in a directory, or why there are none: a reason to stop, or nothing but a failure to read it.
    fn list(&self, directory: &Path, rules: Option<Rc<Rules>>, budget: &mut usize) -> Result<Level, Option<Stopped>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(|_| None)? {
            let Ok(entry) = entry else { break };
            let Ok(kind) = entry.file_type() else { continue };
            *budget = budget.checked_sub(1).ok_or(Some(Stopped::TooManyEntries))?;
            if Instant::now() >= self.give_up_at {
                return Err(Some(Stopped::OutOfTime));
            }
            names.push((entry.file_name(), kind));
        }
        names.sort_unstable_by(|one, other| other.0.cmp(&one.0));
        Ok(Level { directory: directory.to_owned(), rules, names })
    }
}
