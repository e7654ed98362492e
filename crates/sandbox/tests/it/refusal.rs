//! Where isolation can't be had, nothing runs, and it is said why and what to do.

use std::process::{Command, Output};

/// Has the helper report on isolation from a place where it can't be had.
fn report_from(place: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let helper = env!("CARGO_BIN_EXE_tenure-sandbox-guest");
    let Output { stdout, stderr, .. } = Command::new(helper).arg(place).arg(dir.path()).output().expect("it runs");
    format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
}

#[test]
fn user_namespaces_that_are_switched_off_are_named_with_the_remedy() {
    let report = report_from("report-without-user-namespaces");
    assert!(report.contains("Fail a sandbox can be made"), "{report}");
    assert!(report.contains("max_user_namespaces is 0"), "{report}");
    assert!(report.contains("sysctl -w user.max_user_namespaces"), "{report}");
}

#[test]
fn another_user_than_root_is_refused() {
    let report = report_from("report-as-nobody");
    assert!(report.contains("Fail a sandbox can be made"), "{report}");
    assert!(report.contains("run Tenure as root"), "{report}");
}
