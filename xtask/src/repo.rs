//! The checkout this runs in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The checkout, and the files in it that are tracked or could be.
pub(crate) struct Repo {
    root: PathBuf,
    files: Vec<String>,
}

impl Repo {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?.to_owned();
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&root);
        let listed = git.output().context("running git")?;
        ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).context("reading file names from git")?;
        let mut files: Vec<String> = listed.split_terminator('\0').map(str::to_owned).collect();
        files.retain(|file| root.join(file).is_file());
        files.sort_unstable();
        files.dedup();
        Ok(Self { root, files })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Paths from the root, in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str)
    }

    /// The Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &str> {
        self.files().filter(|file| file.ends_with(".rs"))
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.root.join(file).is_file()
    }

    pub(crate) fn read(&self, file: &str) -> Result<String> {
        fs::read_to_string(self.root.join(file)).with_context(|| format!("reading {file}"))
    }

    /// The text of a file, unless it isn't text.
    pub(crate) fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.root.join(file)).ok()
    }

    pub(crate) fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.root.join(file), text).with_context(|| format!("writing {file}"))
    }
}
