//! Taking a backup, also while a server runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tenure_engine::Replayer;
use tenure_sandbox::native::{KeepLayers, save_files, save_layer};
use tenure_store::sqlite::{CheckOptions, SessionIds, SweepLock, check, copy_database, each_named_blob};
use tenure_store::{Checked, Finding, Hashing, MasterKey};

use super::copying::{Unfinished, copy, create, hash};
use super::list::{Listed, is_listable};
use super::manifest::{FORMAT, Manifest};
use super::verify::verify;
use super::{Stop, list, manifest};
use crate::failure::advised;
use crate::local::DataDir;
use crate::terminal::say;

/// Single files of a data directory that a server needs to carry on.
const SINGLE: [&str; 4] = ["config.toml", "models.toml", "master.key", "root.key"];

/// What to back up, where to, and how.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) from: DataDir,
    pub(crate) to: PathBuf,
    /// The key that seals secrets, if it isn't in a file.
    pub(crate) master_key: Option<MasterKey>,
    /// Whether to go on when something is damaged already.
    pub(crate) despite_damage: bool,
}

/// Takes a backup and reads it back. It is there whole or not at all.
pub(crate) fn take(plan: &Plan, stop: &Stop) -> Result<Manifest> {
    let Plan { from, to, .. } = plan;
    if !from.path().join("tenure.db").exists() {
        bail!("nothing to back up: {} has no tenure.db", from.path().display());
    }
    match to.symlink_metadata() {
        Ok(_) => {
            let advice = "a backup is never written over another: name a folder that isn't there";
            return Err(advised(format!("{} exists already", to.display()), advice));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("can't look at {}", to.display())),
    }
    let unfinished = Unfinished::begin(to, "partial")?;
    let mut taking = Taking {
        plan,
        stop,
        into: unfinished.path(),
        list: BufWriter::new(create(&unfinished.path().join(list::NAME))?),
        manifest: Manifest {
            format: FORMAT,
            tenure: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: Timestamp::now(),
            generation: 0,
            schema: 0,
            sessions: 0,
            facts: 0,
            blobs: 0,
            sessions_with_files: 0,
            layers: 0,
            changed_files: 0,
            files: 0,
            bytes: 0,
            master_key: false,
            missing_blobs: Vec::new(),
            damaged: 0,
        },
    };
    // Database and blobs first: what sessions' files have beyond them, the calls under way did, which count as
    // interrupted after a restore.
    taking.database_and_blobs()?;
    taking.session_files()?;
    taking.single_files()?;
    taking.check()?;
    taking.finish()?;
    unfinished.sync()?;
    say::line("reading it back …");
    let manifest = verify(unfinished.path(), stop).context("what was written doesn't read back")?;
    unfinished.finish()?;
    Ok(manifest)
}

struct Taking<'a> {
    plan: &'a Plan,
    stop: &'a Stop,
    into: &'a Path,
    list: BufWriter<File>,
    manifest: Manifest,
}

impl Taking<'_> {
    fn database_and_blobs(&mut self) -> Result<()> {
        say::line("copying the database …");
        let blobs = self.plan.from.path().join("blobs");
        let _unswept = SweepLock::keep_from_sweeping(&blobs)?;
        let database = self.into.join("tenure.db");
        // Made here, so that it is its owner's alone from the beginning.
        create(&database)?;
        let copied = copy_database(self.plan.from.path(), &database, self.stop.flag())?;
        (self.manifest.generation, self.manifest.schema) = (copied.generation, copied.schema);
        let (bytes, sha256) = hash(&database, self.stop)?;
        self.add("tenure.db".to_owned(), bytes, sha256)?;
        say::line("copying blobs …");
        each_named_blob(&database, |blob| {
            let (folder, name) = blob.as_str().split_at(2);
            let path = format!("blobs/{folder}/{name}");
            let (from, to) = (blobs.join(folder).join(name), self.into.join(&path));
            match copy(&from, &to, self.stop) {
                Ok((bytes, sha256)) if sha256 == blob.as_str() => {
                    self.manifest.blobs += 1;
                    return self.add(path, bytes, sha256);
                }
                Ok(_) => {
                    std::fs::remove_file(&to).with_context(|| format!("can't remove {}", to.display()))?;
                    say::warning(&format!("blob {blob} is damaged and left out"));
                }
                Err(_) if !from.exists() => say::warning(&format!("blob {blob} is missing")),
                Err(error) => return Err(error),
            }
            self.manifest.missing_blobs.push(blob.to_string());
            self.damage_is_no_reason()
        })
    }

    fn session_files(&mut self) -> Result<()> {
        say::line("copying the sessions' files …");
        let root = self.plan.from.sandbox();
        let _kept = KeepLayers::new(&root)?;
        let mut layers = BTreeSet::new();
        SessionIds::open(self.into, true)?.each(|session| {
            self.stop.check()?;
            let path = format!("files/{session}.tar");
            let to = self.into.join(&path);
            let mut hashing = Hashing::new(BufWriter::new(create(&to)?));
            let saved = save_files(&root, session, &mut hashing);
            let saved = saved.with_context(|| format!("can't save the files of session {session}"))?;
            hashing.flush().with_context(|| format!("can't write {}", to.display()))?;
            let Some(saved) = saved else {
                return std::fs::remove_file(&to).with_context(|| format!("can't remove {}", to.display()));
            };
            for (file, why) in &saved.left_out.first {
                say::warning(&format!("session {session}: {} is left out: {why}", file.display()));
            }
            self.manifest.sessions_with_files += 1;
            self.manifest.changed_files += saved.changed.count;
            layers.extend(saved.layers);
            let (bytes, sha256) = hashing.finish();
            self.add(path, bytes, sha256)
        })?;
        layers.iter().try_for_each(|layer| self.layer(&root, layer))
    }

    /// A sealed layer, which any number of sessions and snapshots may need.
    fn layer(&mut self, root: &Path, layer: &str) -> Result<()> {
        self.stop.check()?;
        if !root.join("layers").join(layer).is_dir() {
            say::warning(&format!("sealed layer {layer} is missing"));
            self.manifest.damaged += 1;
            return self.damage_is_no_reason();
        }
        let path = format!("layers/{layer}.tar.zst");
        let to = self.into.join(&path);
        let mut hashing = Hashing::new(BufWriter::new(create(&to)?));
        let saved = save_layer(root, layer, &mut hashing).with_context(|| format!("can't save layer {layer}"))?;
        hashing.flush().with_context(|| format!("can't write {}", to.display()))?;
        for (file, why) in &saved.left_out.first {
            say::warning(&format!("layer {layer}: {} is left out: {why}", file.display()));
        }
        self.manifest.layers += 1;
        let (bytes, sha256) = hashing.finish();
        self.add(path, bytes, sha256)
    }

    fn single_files(&mut self) -> Result<()> {
        let data = self.plan.from.path();
        for name in SINGLE {
            if data.join(name).is_file() {
                self.single(name.to_owned())?;
            }
        }
        self.manifest.master_key = data.join("master.key").is_file();
        let mut folders = vec!["scripts".to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(data.join(&folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("can't read {folder}")),
            };
            for entry in entries {
                let entry = entry.with_context(|| format!("can't read {folder}"))?;
                let name = format!("{folder}/{}", entry.file_name().display());
                // A link leads to what it names, as it does for the server.
                let kind = std::fs::metadata(entry.path()).map(|metadata| metadata.file_type());
                match kind {
                    Ok(kind) if kind.is_dir() => folders.push(name),
                    Ok(kind) if kind.is_file() && is_listable(&name) => self.single(name)?,
                    Ok(_) | Err(_) => say::warning(&format!("{name} is left out")),
                }
            }
        }
        Ok(())
    }

    fn single(&mut self, name: String) -> Result<()> {
        let (bytes, sha256) = copy(&self.plan.from.path().join(&name), &self.into.join(&name), self.stop)?;
        self.add(name, bytes, sha256)
    }

    /// The copy's logs, rows and blobs agree.
    fn check(&mut self) -> Result<()> {
        say::line("checking logs and rows …");
        let options = CheckOptions {
            dir: self.into.to_owned(),
            master_key: self.plan.master_key.clone(),
            unchanging: true,
            stop: self.stop.flag().clone(),
        };
        let missing = &self.manifest.missing_blobs;
        let mut damaged = 0;
        let mut tell = |finding: Finding| {
            let said = missing.iter().any(|blob| finding.what.contains(blob));
            if !said {
                damaged += 1;
                say::warning(&format!("{}{}", session_prefix(&finding), finding.what));
            }
        };
        let Checked { sessions, facts, .. } = check(&options, &mut Replayer::default(), &mut tell)?;
        (self.manifest.sessions, self.manifest.facts) = (sessions, facts);
        self.manifest.damaged += damaged;
        if damaged > 0 { self.damage_is_no_reason() } else { Ok(()) }
    }

    fn damage_is_no_reason(&self) -> Result<()> {
        if self.plan.despite_damage {
            return Ok(());
        }
        Err(advised(
            "something in the data directory is damaged: no backup was made",
            "`tenure check` says what is damaged and what can be done; `--despite-damage` makes a backup of the rest",
        ))
    }

    fn finish(&mut self) -> Result<()> {
        self.manifest.files += 1;
        let text = serde_json::to_vec_pretty(&self.manifest).context("can't write the manifest")?;
        let path = self.into.join(manifest::NAME);
        create(&path)?.write_all(&text).with_context(|| format!("can't write {}", path.display()))?;
        let (_, sha256) = hash(&path, self.stop)?;
        let written = Listed { sha256, path: manifest::NAME.to_owned() }.write(&mut self.list);
        written.and_then(|()| self.list.flush()).with_context(|| format!("can't write {}", list::NAME))
    }

    fn add(&mut self, path: String, bytes: u64, sha256: String) -> Result<()> {
        self.manifest.files += 1;
        self.manifest.bytes += bytes;
        let written = Listed { sha256, path }.write(&mut self.list);
        written.with_context(|| format!("can't write {}", list::NAME))
    }
}

fn session_prefix(finding: &Finding) -> String {
    finding.session.map(|session| format!("session {session}: ")).unwrap_or_default()
}
