//! What the source must not say.

use std::path::Path;

use anyhow::Result;

use super::Findings;
use crate::repo::Repo;

/// Modules are named by what they are about.
const NAMELESS: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    let machine = machine_paths(repo.root());
    for file in repo.files() {
        let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let folder = Path::new(file).parent().and_then(Path::file_name).and_then(|name| name.to_str());
        if file.ends_with(".rs") && (NAMELESS.contains(&stem) || folder.is_some_and(|name| NAMELESS.contains(&name))) {
            findings.refuse(file, "name a module by what it is about, and keep it beside its only user");
        }
        let Some(text) = repo.text(file) else { continue };
        for (number, line) in text.lines().enumerate() {
            let place = format!("{file}:{}", number + 1);
            if file.ends_with(".rs") {
                rust(&place, line, findings);
            }
            if let Some(path) = machine.iter().find(|path| line.contains(path.as_str())) {
                findings.refuse(&place, format_args!("`{path}` is a path of one machine"));
            }
        }
        let is_library = file.starts_with("crates/") && file.ends_with("/src/lib.rs") && !file.contains("/testkit/");
        if is_library && !text.contains("#![warn(missing_docs)]") {
            findings.refuse(file, "a library crate has `#![warn(missing_docs)]`");
        }
    }
    Ok(())
}

fn rust(place: &str, line: &str, findings: &mut Findings) {
    let code = line.trim_start();
    // In two pieces, or this line would be the first to be found.
    if code.starts_with(concat!("#[", "allow(")) || code.starts_with(concat!("#![", "allow(")) {
        findings.refuse(place, "silence a lint with `#[expect(…, reason = \"…\")]`");
    }
}

/// Where this checkout and its user live. System directories, which sandboxes have too, don't count.
fn machine_paths(root: &Path) -> Vec<String> {
    let mut paths = vec![root.display().to_string()];
    if let Some(home) = std::env::var_os("HOME").filter(|home| home != "/root" && home.len() > 1) {
        paths.push(format!("{}/", home.display()));
    }
    paths
}
