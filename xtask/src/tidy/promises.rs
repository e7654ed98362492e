//! Every promise in `docs/shown.md` and every control in `docs/security.md` names a test or a script that exists, and so
//! does every case of the escape suite that is shown elsewhere.

use anyhow::Result;

use super::Findings;
use crate::repo::Repo;

const PAGES: &[&str] = &["docs/shown.md", "docs/security.md"];
/// Where the cases are.
const CASES: &str = "crates/sandbox/src/bin/escape/cases.rs";

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    for page in PAGES {
        match repo.text(page) {
            Some(text) => promises(repo, page, &text, findings),
            None => findings.refuse(page, "missing"),
        }
    }
    for (number, line) in repo.text(CASES).unwrap_or_default().lines().enumerate() {
        let named = line.split('"').skip(1).step_by(2).filter(|text| text.starts_with("crates/"));
        for problem in named.filter_map(|reference| missing(repo, reference)) {
            findings.refuse(&format!("{CASES}:{}", number + 1), problem);
        }
    }
    Ok(())
}

fn promises(repo: &Repo, page: &str, text: &str, findings: &mut Findings) {
    for (number, line) in text.lines().enumerate() {
        let place = format!("{page}:{}", number + 1);
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", promise, .., by, ""] = cells[..] else { continue };
        if by == "Shown by" || promise.starts_with("--") {
            continue;
        }
        let references: Vec<&str> = by.split('`').skip(1).step_by(2).collect();
        if references.is_empty() {
            findings.refuse(&place, "a promise names no test or script");
        }
        for problem in references.into_iter().filter_map(|reference| missing(repo, reference)) {
            findings.refuse(&place, problem);
        }
    }
}

/// What is wrong with `path` or `path::test`.
fn missing(repo: &Repo, reference: &str) -> Option<String> {
    let (file, name) = match reference.split_once("::") {
        Some((file, name)) => (file, Some(name)),
        None => (reference, None),
    };
    if !repo.has(file) {
        return Some(format!("there is no `{file}`"));
    }
    let text = repo.text(file)?;
    let name = name?;
    let found = ["fn", "def", "function"].iter().any(|keyword| text.contains(&format!("{keyword} {name}(")));
    (!found).then(|| format!("`{file}` has no test `{name}`"))
}
