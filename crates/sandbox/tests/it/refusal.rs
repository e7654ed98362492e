//! Where isolation can't be had, nothing runs, nothing is left behind, and it is said why and what to do.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use tenure_sandbox::{Backend, Native, NativeConfig};

use crate::host::{guest, left_of, needs_root};

/// Why a test needs root.
const NOWHERE: &str = "it goes where isolation can't be had";

/// Has the helper report on isolation from a place where it can't be had.
fn report_from(place: &str, dir: &Path) -> String {
    report(Command::new(guest()).arg(place).arg(dir))
}

/// As root of a user namespace of its own, with all capabilities there, after this line of shell.
fn report_from_a_user_namespace(first: &str, dir: &Path) -> String {
    let script = format!("{first} && exec {} report {}", guest().display(), dir.display());
    report(Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]))
}

fn report(command: &mut Command) -> String {
    let Output { stdout, stderr, .. } = command.output().expect("it runs");
    let report = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(report.contains("Fail a sandbox can be made"), "{report}");
    report
}

/// The directory was not there before, and nothing of ours is anywhere.
async fn assert_nothing_is_left(dir: &Path) {
    assert!(!dir.exists(), "{:?}", std::fs::read_dir(dir).map(Iterator::collect::<Vec<_>>));
    let backend: Arc<dyn Backend> = Arc::new(Native::new(NativeConfig::new(dir)));
    assert_eq!(left_of(&backend, dir).await, [] as [String; 0]);
}

#[tokio::test]
async fn user_namespaces_that_are_switched_off_are_named_with_the_remedy() {
    needs_root(NOWHERE);
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("sandbox");
    let off = "echo 0 > /proc/sys/user/max_user_namespaces";
    for report in [report_from("report-without-user-namespaces", &dir), report_from_a_user_namespace(off, &dir)] {
        assert!(report.contains("max_user_namespaces is 0"), "{report}");
        assert!(report.contains("sysctl -w user.max_user_namespaces"), "{report}");
        assert_nothing_is_left(&dir).await;
    }
}

#[tokio::test]
async fn root_of_a_user_namespace_is_not_root_of_the_host() {
    needs_root(NOWHERE);
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("sandbox");
    let report = report_from_a_user_namespace("true", &dir);
    assert!(report.contains("not the host's initial user namespace"), "{report}");
    assert!(report.contains("run Tenure as root of the host"), "{report}");
    assert!(!report.contains("max_user_namespaces"), "{report}");
    assert_nothing_is_left(&dir).await;
}

#[tokio::test]
async fn a_missing_capability_is_named() {
    needs_root(NOWHERE);
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("sandbox");
    let report = report_from("report-without-administration", &dir);
    assert!(report.contains("CAP_SYS_ADMIN is missing"), "{report}");
    assert!(report.contains("--cap-add SYS_ADMIN"), "{report}");
    assert_nothing_is_left(&dir).await;
}

#[tokio::test]
async fn a_host_on_which_ranges_of_users_cannot_be_claimed_is_refused() {
    needs_root(NOWHERE);
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("sandbox");
    let script = format!("mount -t tmpfs -o ro tmpfs /run && exec {} report {}", guest().display(), dir.display());
    let report = report(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]));
    assert!(report.contains("/run/tenure: Read-only file system"), "{report}");
    assert!(report.contains("mount a tmpfs on /run"), "{report}");
    assert_nothing_is_left(&dir).await;
}

#[tokio::test]
async fn a_data_directory_that_cannot_carry_layers_is_named() {
    needs_root(NOWHERE);
    let parent = tempfile::tempdir().expect("a directory");
    let report = report_from("report-on-an-overlay", parent.path());
    assert!(report.contains("merged/sandbox") && report.contains("(overlay)"), "{report}");
    assert!(report.contains("put the data directory on ext4, xfs or btrfs"), "{report}");
    let written: Vec<_> = std::fs::read_dir(parent.path().join("upper")).expect("a directory").collect();
    assert!(written.is_empty(), "{written:?}");
    assert_nothing_is_left(&parent.path().join("merged/sandbox")).await;
}

#[tokio::test]
async fn what_keeps_an_ordinary_user_from_namespaces_is_named() {
    needs_root(NOWHERE);
    let cases = [
        ("report-as-nobody-without-user-namespaces", "max_user_namespaces is 0", "sysctl -w user.max_user_namespaces"),
        ("report-as-nobody-in-a-chroot", "the kernel refuses (a chroot,", "outside of a chroot"),
    ];
    for (place, cause, fix) in cases {
        let parent = tempfile::tempdir().expect("a directory");
        let report = report_from(place, parent.path());
        assert!(report.contains(cause) && report.contains(fix), "{report}");
        assert!(!report.contains("root of the host"), "{report}");
        assert_nothing_is_left(&parent.path().join("sandbox")).await;
    }
}

#[tokio::test]
async fn files_of_another_standing_are_refused() {
    needs_root(NOWHERE);
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("sandbox");
    let report = report_from("report-on-files-of-nobody", &dir);
    assert!(report.contains("belong to user 65534"), "{report}");
    assert!(report.contains("run Tenure as that user"), "{report}");
}
