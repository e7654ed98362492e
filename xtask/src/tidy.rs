//! `cargo xtask tidy`: what no compiler checks.

mod cells;
mod drift;
mod promises;
mod sizes;
mod walls;
mod words;

use anyhow::{Result, bail};

use crate::repo::Repo;

pub(crate) use cells::Cell;

/// Looks for one kind of trouble.
type Check = fn(&Repo, &mut Findings) -> Result<()>;

/// Every check, in the order in which they run.
const CHECKS: &[(&str, Check)] = &[
    ("file sizes", sizes::check),
    ("crate walls", walls::check),
    ("words", words::check),
    ("fixtures of every command in every state", cells::check),
    ("generated pages", drift::check),
    ("promises and their tests", promises::check),
];

/// What the checks have found.
#[derive(Default)]
pub(crate) struct Findings {
    refused: Vec<String>,
    noted: Vec<String>,
}

impl Findings {
    /// This has to be mended.
    pub(crate) fn refuse(&mut self, place: &str, what: impl std::fmt::Display) {
        self.refused.push(format!("{place}: {what}"));
    }

    /// This should be looked at.
    pub(crate) fn note(&mut self, place: &str, what: impl std::fmt::Display) {
        self.noted.push(format!("{place}: {what}"));
    }
}

pub(crate) fn run(repo: &Repo) -> Result<()> {
    let mut findings = Findings::default();
    for (name, check) in CHECKS {
        let before = findings.refused.len();
        check(repo, &mut findings)?;
        if findings.refused.len() > before {
            println!("tidy: {name}: {} refused", findings.refused.len() - before);
        }
    }
    for noted in &findings.noted {
        println!("note: {noted}");
    }
    for refused in &findings.refused {
        println!("error: {refused}");
    }
    if !findings.refused.is_empty() {
        bail!("not tidy: {} to mend", findings.refused.len());
    }
    println!("tidy");
    Ok(())
}
