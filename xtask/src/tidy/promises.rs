//! Every promise in `docs/shown.md` names a test or a script that exists.

use anyhow::Result;

use super::Findings;
use crate::repo::Repo;

const PAGE: &str = "docs/shown.md";

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    let Some(page) = repo.text(PAGE) else {
        findings.refuse(PAGE, "missing");
        return Ok(());
    };
    for (number, line) in page.lines().enumerate() {
        let place = format!("{PAGE}:{}", number + 1);
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", promise, .., by, ""] = cells[..] else { continue };
        if promise == "Promise" || promise.starts_with("--") {
            continue;
        }
        let references: Vec<&str> = by.split('`').skip(1).step_by(2).collect();
        if references.is_empty() {
            findings.refuse(&place, "a promise names no test or script");
        }
        for reference in references {
            if let Some(problem) = missing(repo, reference) {
                findings.refuse(&place, problem);
            }
        }
    }
    Ok(())
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
