//! Data directories in which no server can start: it says why, and what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command};

use std::io::Write as _;

use rustix::process::Signal;

use crate::home::{Home, Ran, finish, read_until, signal, until};
use crate::http::send;

/// Runs `tenure` after a script of root's in a mount namespace of its own; `None` where there can't be one.
fn mounted(home: &Home, script: &str, args: &[&str]) -> Option<Ran> {
    Some(finish(begin(home, script, args)?))
}

fn begin(home: &Home, script: &str, args: &[&str]) -> Option<Child> {
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
    Some(command.spawn().expect("started"))
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

#[test]
fn one_that_fills_up_is_told_of_and_gets_over_it() {
    let home = Home::new();
    let small = "mount -t tmpfs -o size=8m tmpfs \"$DATA\"";
    let Some(mut server) = begin(&home, small, &["up", "--listen", "127.0.0.1:0", "--model", "script/demo"]) else {
        return;
    };
    let (_, said) = read_until(server.stdout.take().expect("piped"), "root key");
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).expect("its address").to_owned();
    // The file system as the server sees it.
    let inside = std::path::PathBuf::from(format!("/proc/{}/root{}", server.id(), home.data().display()));
    let key = std::fs::read_to_string(inside.join("root.key")).expect("there");
    let headers = format!("x-api-key: {}\r\n", key.trim());
    let ready = || send(&url, "GET", "/readyz", "", "");
    assert!(ready().head.starts_with("HTTP/1.1 200"));

    let mut filler = std::fs::File::create(inside.join("filler")).expect("made");
    while filler.write_all(&[0; 4_096]).is_ok() {}
    let make = || send(&url, "POST", "/v1/agents", &headers, r#"{"name": "a", "model": "script/demo"}"#);
    let refused = until("the first that isn't stored", || {
        let answer = make();
        (!answer.head.starts_with("HTTP/1.1 200")).then_some(answer)
    });
    let body = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.head.starts_with("HTTP/1.1 503"), "{} {body}", refused.head);
    assert!(refused.head.to_ascii_lowercase().contains("retry-after:"), "{}", refused.head);
    let amiss = ready();
    assert!(amiss.head.starts_with("HTTP/1.1 503"), "{}", amiss.head);
    assert!(String::from_utf8_lossy(&amiss.body).contains("nothing can be stored"));
    let status = send(&url, "GET", "/v1/tenure/status", &headers, "");
    let status: serde_json::Value = serde_json::from_slice(&status.body).expect("it is JSON");
    assert_eq!(status["ready"], false, "{status}");
    assert!(status["degraded"][0].as_str().is_some_and(|reason| reason.contains("stored")), "{status}");
    assert!(send(&url, "GET", "/v1/agents", &headers, "").head.starts_with("HTTP/1.1 200"), "it can still be read");

    drop(filler);
    std::fs::remove_file(inside.join("filler")).expect("removed");
    until("it to be ready again", || ready().head.starts_with("HTTP/1.1 200").then_some(()));
    let made = make();
    assert!(made.head.starts_with("HTTP/1.1 200"), "{}{}", made.head, String::from_utf8_lossy(&made.body));
    signal(server.id(), Signal::TERM);
    assert_eq!(finish(server).code, 0);
}

#[test]
fn settings_beyond_the_machine_are_named() {
    let home = Home::new();
    for (name, much) in [
        ("max-sandboxes", "4096"),
        ("sandbox-pool", "100000"),
        ("sandbox-disk-floor", "18446744073709551615"),
        ("tool-output", "999999999999999999"),
    ] {
        let ran = home.run(&["up", &format!("--{name}"), much]);
        let expected = format!("{name}: expected at most ");
        assert_refused(&ran, &expected, "set a smaller one");
        assert!(ran.stderr.contains(&format!("got {much}")), "{ran:#?}");
    }
    for (name, wrong) in
        [("max-sandboxes", "0"), ("tool-timeout-max", "0s"), ("tool-timeout", "-1s"), ("tool-output", "-1")]
    {
        let ran = home.run(&["up", &format!("--{name}={wrong}")]);
        assert_refused(&ran, &format!("--{name}: expected "), name);
    }
}
