use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// A case, as the program that tries says it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    pub(crate) number: u8,
    pub(crate) title: String,
    pub(crate) probes: Vec<Probe>,
    pub(crate) elsewhere: Vec<String>,
    pub(crate) with_egress: Option<String>,
}

/// One attempt.
#[derive(Debug, Deserialize)]
pub(crate) struct Probe {
    pub(crate) name: String,
    pub(crate) tries: String,
    control: Control,
    rootless: Option<Control>,
}

impl Probe {
    /// How it is shown that the attempt is sound, in sandboxes that this user makes.
    pub(crate) fn control(&self) -> &Control {
        self.rootless.as_ref().filter(|_| !is_root()).unwrap_or(&self.control)
    }
}

/// Whether sandboxes are root's, and not those of an ordinary user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How it is shown that the attempt is sound.
#[derive(Debug, Deserialize)]
pub(crate) enum Control {
    Without(Vec<String>),
    None(String),
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) enum Outcome {
    Reached(String),
    Blocked(String),
    NotApplicable(String),
    Broken(String),
}

/// What the attempts act upon; the program that makes them says what each is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Input {
    pub(crate) nonce: String,
    pub(crate) host_file: String,
    pub(crate) socket_path: String,
    pub(crate) abstract_socket: String,
    pub(crate) process: i32,
    pub(crate) shared_memory: i32,
    pub(crate) device: Option<(u32, u32)>,
    pub(crate) planted: String,
    pub(crate) port: u16,
    pub(crate) other_port: u16,
}

/// The program that tries lies beside this one.
pub(crate) fn attacker() -> Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let attacker = ours.parent().unwrap_or(Path::new("/")).join("tenure-escape");
    ensure!(attacker.exists(), "{} isn't there: build it", attacker.display());
    Ok(attacker)
}

/// Every case.
pub(crate) fn all() -> Result<Vec<Case>> {
    let said = Command::new(attacker()?).arg("list").output()?;
    serde_json::from_slice(&said.stdout).context("the list of cases can't be read")
}

/// What the program said.
pub(crate) fn outcome(stdout: &[u8], stderr: &[u8], end: &str) -> Outcome {
    let last = stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
    serde_json::from_slice(last).unwrap_or_else(|_| {
        let (stdout, stderr) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
        Outcome::Broken(format!("{end}: {} {}", stdout.trim(), stderr.trim()))
    })
}
