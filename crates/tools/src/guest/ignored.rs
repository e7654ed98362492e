//! Which files a search passes over: the rules of `.gitignore`, `.ignore` and `.rgignore`, as ripgrep reads them.
//!
//! The `ignore` crate's own walk opens such files without looking at what they are, and a FIFO named `.gitignore` would
//! hold it for ever. So only its matcher is used, and the files are opened here.

use std::path::Path;
use std::rc::Rc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::guest::file::{Content, open_regular, read_whole};

/// The rules that hold in one directory: its own, then its parents'.
#[derive(Debug)]
pub(crate) struct Rules {
    outer: Option<Rc<Rules>>,
    /// From `.gitignore` and `.git/info/exclude`; empty outside a repository.
    git: Gitignore,
    /// From `.ignore` and `.rgignore`, which win over git's.
    own: Gitignore,
    in_repository: bool,
    repository_root: bool,
}

impl Rules {
    /// The rules in `directory`, those of all its parents included.
    pub(crate) fn above(directory: &Path) -> Rc<Self> {
        let ancestors: Vec<&Path> = directory.ancestors().collect();
        let mut rules = None;
        for ancestor in ancestors.into_iter().rev() {
            rules = Some(Self::enter(rules.as_ref(), ancestor));
        }
        rules.unwrap_or_else(|| Self::enter(None, directory))
    }

    /// The rules in `directory`, given those of its parent.
    pub(crate) fn enter(outer: Option<&Rc<Self>>, directory: &Path) -> Rc<Self> {
        let repository_root = std::fs::symlink_metadata(directory.join(".git")).is_ok();
        let in_repository = repository_root || outer.is_some_and(|outer| outer.in_repository);
        let git =
            if in_repository { read(directory, &[".git/info/exclude", ".gitignore"]) } else { Gitignore::empty() };
        let own = read(directory, &[".ignore", ".rgignore"]);
        match outer {
            // Most directories have no rules of their own.
            Some(outer) if git.is_empty() && own.is_empty() && !repository_root => Rc::clone(outer),
            _ => Rc::new(Self { outer: outer.cloned(), git, own, in_repository, repository_root }),
        }
    }

    /// Whether a search passes over `path`.
    pub(crate) fn ignore(&self, path: &Path, is_dir: bool) -> bool {
        for rules in self.outwards() {
            match rules.own.matched(path, is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        for rules in self.outwards() {
            match rules.git.matched(path, is_dir) {
                Match::None if rules.repository_root => return false,
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }

    fn outwards(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |rules| rules.outer.as_deref())
    }
}

fn read(directory: &Path, names: &[&str]) -> Gitignore {
    const CAP_BYTES: u64 = 128 * 1024;
    let mut builder = GitignoreBuilder::new(directory);
    let mut found = false;
    for name in names {
        let Ok((file, metadata)) = open_regular(&directory.join(name)) else { continue };
        let Ok(Content::Whole(bytes)) = read_whole(&file, &metadata, CAP_BYTES) else { continue };
        for line in String::from_utf8_lossy(&bytes).lines() {
            // A line that is no pattern is passed over, as git does.
            found |= builder.add_line(None, line).is_ok();
        }
    }
    if found { builder.build().unwrap_or_else(|_| Gitignore::empty()) } else { Gitignore::empty() }
}
