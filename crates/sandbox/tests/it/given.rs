//! Sandboxes of an ordinary user that has ids besides its own.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tenure_core::id::SessionId;
use tenure_sandbox::Outcome;

use crate::host::{Host, exec, guest, has_given_ids, needs_given_ids, run, session, text};

/// Ends a test that is of such a user; true if this isn't one.
fn is_another() -> bool {
    if !has_given_ids() {
        needs_given_ids();
    }
    !has_given_ids()
}

/// The first of the ids that were given.
fn first() -> u32 {
    let given = std::fs::read_to_string("/etc/subuid").expect("ids are given");
    let line = given.lines().find(|line| line.starts_with("tenure-test:")).expect("to this user");
    line.split(':').nth(1).and_then(|first| first.parse().ok()).expect("a number")
}

/// Has another process do this with the files of a session, and gives what it printed.
pub(crate) fn files(what: &str, dir: &Path, of: SessionId, input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(guest());
    command.args([what, &dir.to_string_lossy(), &of.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("started");
    child.stdin.take().expect("an input").write_all(input).expect("it reads");
    let ended = child.wait_with_output().expect("ended");
    assert!(ended.status.success(), "{what}: {}", ended.status);
    ended.stdout
}

#[tokio::test]
async fn tools_are_nobody_who_has_files() {
    if is_another() {
        return;
    }
    let own = rustix::process::geteuid().as_raw();
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit =
        run(&sandbox, 1, exec(&["sh", "-c", "id -u; id -G; echo mine > f; chmod 600 f; stat -c %U /etc /usr"])).await;
    assert_eq!(text(&exit), "1000\n1000\nroot\nnobody\n");
    let file = host.dir.path().join(format!("sessions/{}/layer/root/workspace/f", session(1)));
    let found = std::fs::metadata(&file).expect("it is there");
    assert_eq!((found.uid(), found.gid()), (first() + 1000, first() + 1000));
    assert_ne!(found.uid(), own);
    std::fs::read(&file).expect_err("it is another's");
    let seen = std::fs::metadata(host.dir.path().join("layers")).expect("layers");
    assert_eq!(seen.uid(), own);
    host.finish().await;
}

#[tokio::test]
async fn files_of_given_ids_are_saved_restored_and_checked() {
    if is_another() {
        return;
    }
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let script = "mkdir d; echo text > d/f; chmod 600 d/f; chmod 700 d; ln -s f d/l; rm -rf gone";
    assert_eq!(text(&run(&sandbox, 1, exec(&["sh", "-c", script])).await), "");
    assert_eq!(text(&run(&sandbox, 2, exec(&["rm", "-rf", "/tmp/none"])).await), "");
    let dir = host.dir.path();
    assert_eq!(String::from_utf8_lossy(&files("check-files", dir, session(1), b"")), "");
    let stream = files("save-files", dir, session(1), b"");
    let mut archive = tar::Archive::new(stream.as_slice());
    let mut of_tools = 0;
    for entry in archive.entries().expect("entries").raw(true) {
        let entry = entry.expect("an entry");
        if entry.header().entry_type() == tar::EntryType::XHeader {
            continue;
        }
        let (path, owner) = (entry.path().expect("a path").into_owned(), entry.header().uid().expect("a number"));
        // As root's have it.
        match path.starts_with("layer") {
            true => assert!(owner == 100_000 || owner == 101_000, "{} is {owner}'s", path.display()),
            false => assert_eq!(owner, 0, "{}", path.display()),
        }
        of_tools += usize::from(owner == 101_000);
    }
    assert!(of_tools >= 3, "{of_tools}");

    let place = tempfile::tempdir().expect("a directory");
    let to = place.path().join("sandbox");
    files("load-files", &to, session(1), &stream);
    assert_eq!(String::from_utf8_lossy(&files("check-files", &to, session(1), b"")), "");
    let restored = std::fs::metadata(to.join(format!("sessions/{}/layer/root/workspace/d", session(1))));
    let restored = restored.expect("it is there");
    assert_eq!((restored.uid(), restored.mode() & 0o777), (first() + 1000, 0o700));
    host.finish().await;
}

#[tokio::test]
async fn the_report_says_whose_tools_are() {
    if is_another() {
        return;
    }
    let host = Host::new();
    let report = host.backend.probe().await;
    let found = report.checks.iter().find(|check| check.name.starts_with("to the host")).expect("a finding");
    assert_eq!(found.outcome, Outcome::Pass);
    assert!(found.cause.contains("given to this user"), "{found:?}");
    assert!(report.checks.iter().all(|check| check.outcome != Outcome::Fail), "{report:?}");
    host.finish().await;
}
