use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
    with_one_id: Option<Control>,
}

impl Probe {
    /// How it is shown that the attempt is sound, in sandboxes that this user makes.
    pub(crate) fn control(&self) -> &Control {
        let (with_one_id, rootless) = match whose() {
            Whose::Root => (None, None),
            Whose::One => (self.with_one_id.as_ref(), self.rootless.as_ref()),
            Whose::Given(_) => (None, self.rootless.as_ref()),
        };
        with_one_id.or(rootless).unwrap_or(&self.control)
    }
}

/// Whose sandboxes are tried.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose {
    Root,
    /// An ordinary user's, with one id.
    One,
    /// An ordinary user's, with subordinate ids. Root sets the stage, and becomes that user.
    Given(Given),
}

/// An ordinary user, and the first of the ids that it was given, of users and groups alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) user: u32,
    pub(crate) first: u32,
}

static GIVEN: OnceLock<Given> = OnceLock::new();

impl Given {
    /// From here on it is about this user's.
    pub(crate) fn settle(self) {
        let _ = GIVEN.set(self);
    }
}

/// Settled before anything else.
pub(crate) fn whose() -> Whose {
    match GIVEN.get() {
        Some(given) => Whose::Given(*given),
        None if rustix::process::geteuid().is_root() => Whose::Root,
        None => Whose::One,
    }
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
