//! Files stay small enough to be read at once.

use anyhow::Result;

use super::Findings;
use crate::repo::Repo;

/// No file of code is longer.
const MOST: usize = 800;
/// A longer one says why in its head.
const ASKS_FOR_A_REASON: usize = 500;
/// What such a head says.
const REASON: &str = "Long because";
/// How many lines a head has.
const HEAD: usize = 20;
/// What counts as code.
const CODE: &[&str] = &[".rs", ".py", ".ts", ".tsx", ".sh", ".mjs"];

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    for file in repo.files() {
        let is_script = file.starts_with("scripts/") || file.starts_with(".ci/");
        if !is_script && !CODE.iter().any(|ending| file.ends_with(ending)) {
            continue;
        }
        let Some(text) = repo.text(file) else { continue };
        let lines = text.lines().count();
        if lines > MOST {
            findings.refuse(file, format_args!("{lines} lines; at most {MOST}: split it by what it is about"));
        } else if lines > ASKS_FOR_A_REASON && !text.lines().take(HEAD).any(|line| line.contains(REASON)) {
            findings.note(file, format_args!("{lines} lines and no `{REASON} …` in its head"));
        }
    }
    Ok(())
}
