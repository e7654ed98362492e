//! Other runtimes, for comparison: the same program, as each is usually run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::case::{Case, Outcome, attacker, outcome};
use crate::stage::Stage;
use crate::table::{Row, Shown};

const PROGRAM: &str = "/tmp/tenure-escape";
/// What of the host is shown to programs.
const SHOWN: [&str; 6] = ["usr", "bin", "sbin", "lib", "lib32", "lib64"];

/// Makes every attempt in one of them.
pub(crate) fn run(what: &str, cases: &[Case], stage: &Stage) -> Result<Vec<Row>> {
    let input = serde_json::to_string(&stage.input)?;
    let bundle = tempfile::tempdir_in(stage.dir.path())?;
    // An attempt that they can't make is one that the suite makes of Tenure's own sandboxes alone.
    let names = cases.iter().flat_map(|case| &case.probes).map(|probe| &probe.name).filter(|name| *name != "outlive");
    names
        .enumerate()
        .map(|(n, name)| {
            let argv = [PROGRAM, "try", name, &input];
            let mut command = match what {
                "bwrap" => bwrap(&argv)?,
                _ => runc(&argv, bundle.path(), n)?,
            };
            // Not /dev/null, which runc would give to the container's root.
            let ended = command
                .stdin(std::process::Stdio::piped())
                .output()
                .with_context(|| format!("{what} is not installed"))?;
            let outcome = match outcome(&ended.stdout, &ended.stderr, &ended.status.to_string()) {
                // What it looks for isn't there: nothing to look into, and so nothing reached.
                Outcome::Broken(why) if n > 0 => Outcome::NotApplicable(why),
                Outcome::Broken(why) => bail!("it doesn't run: {why}"),
                outcome => outcome,
            };
            Ok(Row { probe: name.clone(), outcome, control: Shown::Not("for comparison".to_owned()) })
        })
        .collect()
}

fn bwrap(argv: &[&str]) -> Result<Command> {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]);
    for (at, link) in shown() {
        match link {
            Some(target) => command.args(["--symlink", &target, &at]),
            None => command.args(["--ro-bind", &at, &at]),
        };
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/mnt", "--ro-bind"]);
    command.arg(attacker()?).arg(PROGRAM).args(argv);
    Ok(command)
}

fn shown() -> Vec<(String, Option<String>)> {
    let present = SHOWN.iter().filter_map(|name| {
        let at = format!("/{name}");
        let found = std::fs::symlink_metadata(&at).ok()?;
        let link = found.is_symlink().then(|| std::fs::read_link(&at).ok()).flatten();
        Some((at, link.map(|link| link.to_string_lossy().into_owned())))
    });
    present.collect()
}

/// As `runc spec` says, but for the program and its root.
fn runc(argv: &[&str], bundle: &Path, n: usize) -> Result<Command> {
    let root = bundle.join("rootfs");
    if n == 0 {
        for name in ["proc", "dev", "sys", "tmp", "mnt", "etc"] {
            std::fs::create_dir_all(root.join(name))?;
        }
        let made = Command::new("runc").arg("spec").current_dir(bundle).output().context("runc is not installed")?;
        anyhow::ensure!(made.status.success(), "runc spec: {}", String::from_utf8_lossy(&made.stderr));
        for (at, link) in shown() {
            let at = root.join(at.trim_start_matches('/'));
            match link {
                Some(target) => std::os::unix::fs::symlink(target, at)?,
                None => std::fs::create_dir_all(at)?,
            }
        }
        std::fs::write(root.join(PROGRAM.trim_start_matches('/')), "")?;
        let mut spec: Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
        spec["process"]["terminal"] = json!(false);
        let mounts = spec["mounts"].as_array_mut().context("a list of mounts")?;
        let bind = |from: &str, to: &str| json!({"destination": to, "source": from, "type": "bind", "options": ["rbind", "ro"]});
        mounts.extend(shown().iter().filter(|(_, link)| link.is_none()).map(|(at, _)| bind(at, at)));
        mounts.push(bind(&attacker()?.to_string_lossy(), PROGRAM));
        std::fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?)?;
    }
    let mut spec: Value = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    spec["process"]["args"] = json!(argv);
    std::fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?)?;
    let mut command = Command::new("runc");
    let name = format!("tenure-escape-{}-{n}", std::process::id());
    command.arg("--root").arg(bundle.join("state")).arg("run").arg("--bundle").arg(bundle).arg(name);
    Ok(command)
}
