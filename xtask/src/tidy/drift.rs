//! Generated pages equal what their generators print.

use anyhow::Result;

use super::Findings;
use crate::facts;
use crate::repo::Repo;

/// Prints a page anew.
type Generator = fn(&Repo) -> Result<String>;

/// Every generated page with its generator and how to write it. Pages that the binary generates are compared by a test of
/// that crate instead, since this tool builds without it.
const PAGES: &[(&str, Generator, &str)] = &[(facts::PATH, facts::page, "cargo xtask facts --write")];

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    for (path, generate, command) in PAGES {
        match generate(repo) {
            Ok(page) if repo.text(path).is_some_and(|written| written == page) => {}
            Ok(_) => findings.refuse(path, format_args!("out of date; run `{command}`")),
            Err(error) => findings.refuse(path, format_args!("{error:#}")),
        }
    }
    Ok(())
}
