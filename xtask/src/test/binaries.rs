//! The test programs and what is in them.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::repo::Repo;

/// A test program.
pub(crate) struct Binary {
    /// Package and target, for people.
    pub(crate) label: String,
    pub(crate) path: PathBuf,
    /// Where cargo would run it.
    pub(crate) folder: PathBuf,
}

/// What a program has.
pub(crate) struct Tests {
    pub(crate) names: Vec<String>,
    /// How many are switched off in the source.
    pub(crate) ignored: usize,
}

/// Builds every test and every program. The features are those of all builds for tests, so that nothing is built twice.
pub(crate) fn build(repo: &Repo) -> Result<Vec<Binary>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--workspace", "--all-features", "--no-run", "--message-format", "json-render-diagnostics"]);
    // What `cargo run` says of this tool must not reach the build: some build scripts watch these, and would run anew.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    let built = cargo.current_dir(repo.root()).stderr(Stdio::inherit()).output().context("running cargo")?;
    ensure!(built.status.success(), "the tests don't build");
    let text = String::from_utf8(built.stdout).context("reading what cargo built")?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
    let tests = messages.filter(|artifact| artifact.profile.test);
    tests.filter_map(|artifact| artifact.binary().transpose()).collect()
}

impl Binary {
    pub(crate) fn tests(&self) -> Result<Tests> {
        let names = self.list(&[])?;
        let ignored = self.list(&["--ignored"])?;
        let names = names.into_iter().filter(|name| !ignored.contains(name)).collect();
        Ok(Tests { names, ignored: ignored.len() })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).stdin(Stdio::null());
        command
    }

    fn list(&self, more: &[&str]) -> Result<Vec<String>> {
        let mut command = self.command();
        command.args(["--list", "--format", "terse"]).args(more);
        let listed = command.output().with_context(|| format!("listing the tests of {}", self.label))?;
        ensure!(listed.status.success(), "{} doesn't list its tests", self.label);
        let text = String::from_utf8_lossy(&listed.stdout);
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

/// The part of cargo's message that matters here.
#[derive(Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

impl Artifact {
    fn binary(self) -> Result<Option<Binary>> {
        let Some(path) = self.executable else { return Ok(None) };
        let folder = self.manifest_path.parent().context("a manifest lies in a folder")?.to_owned();
        let package = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        Ok(Some(Binary { label: format!("{package}/{}", self.target.name), path, folder }))
    }
}
