//! Data directories in which no server can start: it says why, and what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::home::{Home, Ran, finish};

/// Runs `tenure` after a script of root's in a mount namespace of its own; `None` where there can't be one.
fn mounted(home: &Home, script: &str, args: &[&str]) -> Option<Ran> {
    let unshare = ["--map-root-user", "--user", "--mount"];
    if !Command::new("unshare").args(unshare).arg("true").status().is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "this needs user namespaces");
        return None;
    }
    let script = format!("set -e; {script}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_tenure")]).args(args);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TENURE_DATA_DIR", home.data());
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command.env("DATA", home.data());
    Some(finish(command.spawn().expect("started")))
}

fn assert_refused(ran: &Ran, why: &str, what_to_do: &str) {
    assert_eq!(ran.code, 1, "{ran:#?}");
    let said = ran.stderr.split("\n").collect::<Vec<_>>();
    assert!(said.iter().any(|line| line.contains(why)), "expected `{why}`: {ran:#?}");
    assert!(ran.stderr.contains(what_to_do), "expected `{what_to_do}`: {ran:#?}");
}

#[test]
fn one_on_a_full_file_system() {
    let home = Home::new();
    let fill = "mount -t tmpfs -o size=64k tmpfs \"$DATA\"";
    // In the foreground, and by a command that starts a server in the background.
    for args in [["up", "--json"], ["sessions", "list"]] {
        let Some(ran) = mounted(&home, fill, &args) else { return };
        assert_refused(&ran, "there is no room left for", "df -h");
    }
}

#[test]
fn one_that_is_mounted_read_only() {
    let home = Home::new();
    let freeze = "mount -t tmpfs -o size=4m tmpfs \"$DATA\"; mount -o remount,ro \"$DATA\"";
    for args in [["up", "--json"], ["sessions", "list"]] {
        let Some(ran) = mounted(&home, freeze, &args) else { return };
        assert_refused(&ran, "is on a file system that can't be written", "another --data-dir");
    }
}

#[test]
fn one_that_is_somebody_else_s_or_may_not_be_written() {
    let home = Home::new();
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere; someone who isn't may not write root's.
        std::fs::create_dir_all(home.data()).expect("made");
        let program = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", env!("CARGO_BIN_EXE_tenure")];
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args(["up"]).env_clear().env("TENURE_DATA_DIR", "/root");
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ran = finish(command.spawn().expect("started"));
        assert_refused(&ran, "belongs to another user (uid 0)", "run Tenure as that user");
        return;
    }
    std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o500)).expect("changed");
    let ran = home.run(&["up"]);
    std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o700)).expect("changed");
    assert_refused(&ran, "can't be written, though it is this user's", "chmod u+rwx");
}
