//! Every command of the core has a fixture in every state.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::Findings;
use crate::repo::Repo;

const COMMANDS: &str = "crates/core/src/command.rs";
const FIXTURES: &str = "crates/core/tests/fixtures/";

pub(super) fn check(repo: &Repo, findings: &mut Findings) -> Result<()> {
    let names = command_names(&repo.read(COMMANDS)?);
    if names.is_empty() {
        findings.refuse(COMMANDS, "no commands found; `commands!` is expected to list `Name = \"word\";`");
    }
    let cells = Cell::all(repo)?;
    let states: BTreeSet<&str> = cells.iter().map(|cell| cell.state.as_str()).collect();
    for name in &names {
        let of_command = cells.iter().filter(|cell| cell.command == *name);
        let variants: BTreeSet<&str> = of_command.clone().map(|cell| cell.variant.as_str()).collect();
        if variants.is_empty() {
            findings.refuse(FIXTURES, format_args!("the command `{name}` has no fixture"));
        }
        for variant in variants {
            let seen: BTreeSet<&str> =
                of_command.clone().filter(|cell| cell.variant == variant).map(|cell| cell.state.as_str()).collect();
            for missing in states.difference(&seen) {
                findings.refuse(FIXTURES, format_args!("no fixture for `given {missing} when {name} {variant} then`"));
            }
        }
    }
    Ok(())
}

/// One fixture: what follows from a command in a state.
pub(crate) struct Cell {
    pub(crate) state: String,
    pub(crate) command: String,
    pub(crate) variant: String,
    /// The kinds of facts that follow.
    pub(crate) kinds: Vec<String>,
}

impl Cell {
    /// Every fixture of the core.
    pub(crate) fn all(repo: &Repo) -> Result<Vec<Self>> {
        let mut cells: Vec<Self> = Vec::new();
        for file in repo.files().filter(|file| file.starts_with(FIXTURES) && file.ends_with(".txt")) {
            for line in repo.read(file)?.lines() {
                if let Some(rest) = line.strip_prefix("given ") {
                    let words: Vec<&str> = rest.split(' ').collect();
                    let [state, "when", command, variant, "then"] = words[..] else {
                        anyhow::bail!("{file}: expected `given <state> when <command> <variant> then`, got `{line}`");
                    };
                    let [state, command, variant] = [state, command, variant].map(str::to_owned);
                    cells.push(Self { state, command, variant, kinds: Vec::new() });
                } else if let Some(kind) = fact_kind(line) {
                    let cell = cells.last_mut().with_context(|| format!("{file}: a fact before any `given`"))?;
                    cell.kinds.push(kind.to_owned());
                }
            }
        }
        Ok(cells)
    }
}

/// The kind of a line such as `  thread_idle {"item":…}`.
fn fact_kind(line: &str) -> Option<&str> {
    let (kind, _) = line.strip_prefix("  ")?.split_once(" {")?;
    kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(kind)
}

fn command_names(source: &str) -> Vec<String> {
    let entries = source.lines().filter_map(|line| line.trim().strip_suffix(';')?.split_once(" = \""));
    entries.filter_map(|(_, word)| word.strip_suffix('"')).map(str::to_owned).collect()
}
