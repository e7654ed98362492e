//! `tenure check`: whether what is stored agrees with itself.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tenure_core::id::SessionId;
use tenure_engine::Replayer;
use tenure_sandbox::native::{Damage, as_owner_of_files, check_files, check_layers, strays};
use tenure_store::sqlite::{CheckOptions, SessionIds, check, repair};
use tenure_store::{Checked, Finding, MasterKey, Part};

use crate::cli::Shared;
use crate::failure::Exit;
use crate::local::DataDir;
use crate::settings::{Flags, Settings};
use crate::terminal::{out, plain, say};

/// Check whether logs, rows, feed, blobs, files and journals agree, with or without a running server
///
/// Nothing is changed. Each thing that is damaged is named, with what that means and what can be done; with --json one line
/// for each, and a last one with the totals. Exit code 1 says that something is damaged.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Write anew what follows from the logs for certain: rows, kept states, lists of named blobs. No server may run
    #[arg(long)]
    repair: bool,
}

impl Check {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let dir = DataDir::at(shared.data_dir.as_deref())?;
        as_owner_of_files(&dir.sandbox())?;
        if !dir.path().join("tenure.db").exists() {
            bail!("nothing to check: {} has no tenure.db", dir.path().display());
        }
        let master_key = Settings::load(&Flags::default(), dir.path())?.master_key()?;
        let _lease = match self.repair {
            true => Some(dir.take_lease()?),
            false => None,
        };
        let mut looked = look(&dir, master_key.clone(), shared.json)?;
        if self.repair && !looked.repairable.is_empty() {
            let sessions: Vec<SessionId> = looked.repairable.iter().copied().collect();
            let mended = repair(dir.path(), &sessions, &mut Replayer::default()).context("can't repair")?;
            say::success(&format!("Repaired {mended} of {} sessions; checking again.", sessions.len()));
            looked = look(&dir, master_key, shared.json)?;
        }
        let Looked { checked, found, .. } = looked;
        let Checked { sessions, facts, blobs, .. } = checked;
        let agreed = found.is_empty();
        if shared.json {
            out::json(&json!({"ok": agreed, "damaged": found.values().sum::<u64>(), "checked": checked}));
        } else {
            let extent = format!("{sessions} sessions, {facts} facts, {blobs} blobs");
            match agreed {
                true => out::line(&format!("all is well: {extent}")),
                false => out::line(&format!("{} damaged: {extent}", count(&found))),
            }
        }
        Ok(if agreed { Exit::Success } else { Exit::Failure })
    }
}

/// What a look through everything came to.
struct Looked {
    checked: Checked,
    found: HashMap<Part, u64>,
    repairable: BTreeSet<SessionId>,
}

fn look(dir: &DataDir, master_key: Option<MasterKey>, json: bool) -> Result<Looked> {
    let mut found: HashMap<Part, u64> = HashMap::new();
    let mut repairable = BTreeSet::new();
    let mut tell = |finding: Finding| {
        *found.entry(finding.part).or_default() += 1;
        repairable.extend(finding.session.filter(|_| finding.repairable));
        match json {
            true => out::json(&finding),
            false => print(&finding),
        }
    };
    let options =
        CheckOptions { dir: dir.path().to_owned(), master_key, unchanging: false, stop: std::sync::Arc::default() };
    let checked = check(&options, &mut Replayer::default(), &mut tell)?;
    files(dir.path(), &dir.sandbox(), &mut tell)?;
    Ok(Looked { checked, found, repairable })
}

/// The sessions' files and the journals of their calls.
fn files(dir: &Path, root: &Path, tell: &mut dyn FnMut(Finding)) -> Result<()> {
    let sessions = SessionIds::open(dir, false)?;
    sessions.each(|session| {
        let damages =
            check_files(root, session).with_context(|| format!("can't check the files of session {session}"))?;
        damages.into_iter().for_each(|damage| tell(finding(damage, Some(session))));
        anyhow::Ok(())
    })?;
    let damages = check_layers(root).context("can't check the sealed layers")?;
    damages.into_iter().for_each(|damage| tell(finding(damage, None)));
    // What can't be looked up now isn't called a stray.
    let known = |session| sessions.knows(session).unwrap_or(true);
    let strays = strays(root, &known).context("can't look through the sessions' files")?;
    strays.into_iter().for_each(|damage| tell(finding(damage, None)));
    Ok(())
}

fn finding(damage: Damage, session: Option<SessionId>) -> Finding {
    let Damage { path, what, meaning, remedy } = damage;
    Finding {
        part: Part::Files,
        session,
        seq: None,
        what: format!("{}: {what}", path.display()),
        path: Some(path),
        meaning,
        remedy: remedy.to_owned(),
        repairable: false,
    }
}

fn print(finding: &Finding) {
    let session = finding.session.map(|session| format!("session {session}: ")).unwrap_or_default();
    out::line(&plain(&format!("✗ {session}{}", finding.what)));
    out::line(&plain(&format!("    means: {}", finding.meaning)));
    out::line(&plain(&format!("    do:    {}", finding.remedy)));
}

fn count(found: &HashMap<Part, u64>) -> String {
    match found.values().sum::<u64>() {
        1 => "1 thing is".to_owned(),
        many => format!("{many} things are"),
    }
}
