use std::path::Path;
use std::time::Duration;

use tenure_core::id::{ItemId, SessionId};

use super::Native;
use crate::guest::probe::{Finding, Input, NAME, STRANGERS};
use crate::supervisor::subordinate;
use crate::{Applied, Backend, CallEnd, Check, Error, Opened, Order, Outcome, Report, Spec, Work};

/// Makes a sandbox, has it try to get out, and removes it.
pub(crate) async fn run(native: &Native, dir: &Path) -> Report {
    let mut report = Report::default();
    let session = SessionId::from_bits(random_bits());
    match Backend::open(native, Spec::new(session)).await {
        Ok(opened) => {
            report.add("a sandbox can be made", Outcome::Pass, "with its own namespaces and an overlay root", "");
            report.add_limits(&opened.limits);
            let host_file = dir.join(format!("probe-{session}"));
            match std::fs::write(&host_file, b"of the host") {
                Ok(()) => report.add_findings(attempt(&opened, &host_file).await.map(|found| advised(dir, found))),
                Err(error) => {
                    report.add("attempts to get out fail", Outcome::Fail, &format!("can't prepare them: {error}"), "")
                }
            }
            let _ = std::fs::remove_file(&host_file);
        }
        Err(error) => {
            let (cause, fix) = explain(&error);
            report.add("a sandbox can be made", Outcome::Fail, &cause, &fix);
        }
    }
    match Backend::destroy(native, session).await {
        Ok(()) => report.add("a sandbox can be removed", Outcome::Pass, "nothing is left of it", ""),
        Err(error) => report.add("a sandbox can be removed", Outcome::Fail, &explain(&error).0, ""),
    }
    report
}

async fn attempt(opened: &Opened, host_file: &Path) -> Result<Vec<Finding>, String> {
    let input = Input { host_file: host_file.to_string_lossy().into_owned() };
    let input = serde_json::to_vec(&input).map_err(|error| error.to_string())?;
    let mut order = Order::new(ItemId::from_bits(random_bits()), Work::Op { name: NAME.to_owned(), input });
    order.timeout = Some(Duration::from_secs(30));
    match opened.sandbox.run(order, None).await {
        Ok(CallEnd::Exited(exit)) if exit.code == Some(0) => {
            serde_json::from_slice(&exit.stdout).map_err(|error| error.to_string())
        }
        Ok(CallEnd::Exited(exit)) => Err(format!("they ended early: {exit:?}")),
        Ok(CallEnd::Interrupted { reason }) => Err(reason),
        Err(error) => Err(explain(&error).0),
    }
}

/// What can be seen outside alone: why tools of an ordinary user aren't users of their own.
fn advised(dir: &Path, mut findings: Vec<Finding>) -> Vec<Finding> {
    let weaker = findings.iter_mut().find(|finding| finding.name == STRANGERS && !finding.stronger_by.is_empty());
    if let (Some(finding), Some(lack)) = (weaker, subordinate::advice(dir)) {
        finding.seen = format!("{}; {}", finding.seen, lack.cause);
        finding.stronger_by = format!("{}; or run Tenure as root", lack.fix);
    }
    findings
}

impl Report {
    fn add(&mut self, name: &str, outcome: Outcome, cause: &str, fix: &str) {
        self.checks.push(Check { name: name.to_owned(), outcome, cause: cause.to_owned(), fix: fix.to_owned() });
    }

    fn add_limits(&mut self, limits: &Applied) {
        for (name, value) in [
            ("memory", limits.memory_bytes.map(|bytes| format!("{} MiB by default", bytes >> 20))),
            ("pids", limits.pids.map(|pids| format!("{pids} by default"))),
            ("disk", limits.disk_bytes.map(|bytes| format!("{} GiB by default, by looking", bytes >> 30))),
            ("inodes", limits.inodes.map(|inodes| format!("{inodes} files on the disk by default, by looking"))),
            ("open files", limits.open_files.map(|files| format!("{files} of a process by default"))),
        ] {
            let check = format!("{name} can be limited");
            let missing = limits.missing.iter().find(|missing| missing.starts_with(name));
            match (value, missing) {
                (Some(value), _) => self.add(&check, Outcome::Pass, &value, ""),
                (None, Some(cause)) => {
                    let fix = match rustix::process::geteuid().is_root() {
                        true => "mount this cgroup controller where Tenure may write",
                        false => {
                            "start Tenure in a control group that is handed over to its user, as systemd does for units with \
                             `Delegate=yes` and `DelegateSubgroup=`"
                        }
                    };
                    self.add(&check, Outcome::Absent, cause, fix)
                }
                (None, None) => self.add(&check, Outcome::Absent, "not asked for", ""),
            }
        }
    }

    fn add_findings(&mut self, findings: Result<Vec<Finding>, String>) {
        match findings {
            Ok(findings) => {
                for Finding { name, holds, seen, stronger_by } in findings {
                    let (outcome, fix) = match (holds, stronger_by.is_empty()) {
                        (true, true) => (Outcome::Pass, ""),
                        (true, false) => (Outcome::Absent, stronger_by.as_str()),
                        (false, _) => {
                            (Outcome::Fail, "don't run sessions here; report this with the output of `uname -a`")
                        }
                    };
                    self.add(&name, outcome, &seen, fix);
                }
            }
            Err(cause) => {
                self.add("attempts to get out fail", Outcome::Fail, &format!("they could not be made: {cause}"), "")
            }
        }
    }
}

fn explain(error: &Error) -> (String, String) {
    match error {
        Error::Refused { cause, fix } => (cause.clone(), fix.clone()),
        Error::Failed { doing, source } => (format!("{doing}: {source}"), String::new()),
        Error::Unenforceable { .. }
        | Error::Lost
        | Error::Invalid(_)
        | Error::Superseded { .. }
        | Error::Incompatible { .. } => (error.to_string(), String::new()),
    }
}

fn random_bits() -> u128 {
    let mut bytes = [0; 16];
    // Without randomness the id is zero, which no session has either.
    let _ = getrandom::fill(&mut bytes);
    u128::from_le_bytes(bytes)
}
