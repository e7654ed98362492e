//! How a server's process lives and ends: signals, terminals, logs that nobody reads.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::home::{Home, find, finish, has_sandboxes, read_until, signal, until};

/// A server in the foreground, ready, in a process group of its own as a shell gives it one.
fn up(home: &Home, args: &[&str]) -> Child {
    let mut server = home.command(&[&["up"], args].concat()).process_group(0).spawn().expect("started");
    let _ = read_until(server.stdout.take().expect("piped"), "root key");
    server
}

/// Begins a call that goes on until its gate is opened; gives the session's id and the gate.
fn call_under_way(home: &Home) -> (String, std::path::PathBuf) {
    let args = ["run", "assistant", "go", "--json", "--model", "script/gate"];
    let mut run = home.command(&args).spawn().expect("started");
    let (_, said) = read_until(run.stdout.take().expect("piped"), "agent.tool_use");
    let begun: serde_json::Value = serde_json::from_str(said.lines().next().expect("a line")).expect("it is JSON");
    let id = begun["data"]["id"].as_str().expect("an id").to_owned();
    let session = tenure_core::id::SessionId::parse(&id).expect("an id");
    let gate = until("the call's beginning", || find(&home.data().join(format!("sandbox/sessions/{session}")), "gate"));
    run.kill().expect("it runs");
    run.wait().expect("it ends");
    (id, gate)
}

/// Lets the call end; gives what the model was told of it.
fn open_gate(home: &Home, id: &str, gate: &std::path::Path) -> String {
    File::options().append(true).open(gate).expect("there").write_all(b"open\n").expect("written");
    until("the end of the turn", || {
        let log = home.ok(&["sessions", "get", id]);
        log.contains("idle").then_some(())
    });
    home.ok(&["sessions", "get", id])
}

#[test]
fn a_server_that_is_told_to_end_leaves_calls_running_for_the_next() {
    if !has_sandboxes("a_server_that_is_told_to_end_leaves_calls_running_for_the_next") {
        return;
    }
    // By SIGTERM; by Ctrl-C and by closing the terminal, both of which tell every process of the foreground group.
    for wanted in [Signal::TERM, Signal::INT, Signal::HUP] {
        let home = Home::new();
        let server = up(&home, &["--sandbox-linger", "30s"]);
        let (id, gate) = call_under_way(&home);
        let group = Pid::from_child(&server);
        kill_process_group(group, wanted).expect("it is there");
        let ran = finish(server);
        assert_eq!(ran.code, 0, "{wanted:?}: {ran:#?}");
        assert!(!home.data().join("server.json").exists());

        let shown = open_gate(&home, &id, &gate);
        // The turn's end may be sealing the layer that it is in.
        let lines =
            until("what the call wrote", || std::fs::read_to_string(find(&home.data().join("sandbox"), "log")?).ok());
        assert_eq!(lines, "line\n", "{wanted:?}: it ran once: {shown}");
    }
}

#[test]
fn a_second_signal_ends_a_server_at_once() {
    for (second, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let home = Home::new();
        let mut server = up(&home, &["--shutdown-grace", "10m", "--model", "script/slow"]);
        // A model that doesn't answer for minutes: the first signal waits for it.
        let mut run = home.command(&["run", "assistant", "go", "--json"]).spawn().expect("started");
        let _ = read_until(run.stdout.take().expect("piped"), "session.status_running");
        signal(server.id(), Signal::TERM);
        let (_, said) = read_until(server.stderr.take().expect("piped"), "a second signal ends it at once");
        assert!(server.try_wait().expect("it is ours").is_none(), "{said}");
        signal(server.id(), second);
        assert_eq!(server.wait().expect("it ends").code(), Some(code), "{second:?}");
        run.kill().expect("it runs");
        run.wait().expect("it ends");
    }
}

#[test]
fn a_closing_terminal_ends_no_server_that_was_told_to_stay() {
    let home = Home::new();
    home.ok(&["sessions", "list"]);
    let pid = u32::try_from(home.server()["pid"].as_u64().expect("a number")).expect("a process");
    signal(pid, Signal::HUP);
    home.ok(&["sessions", "list"]);
    assert_eq!(home.server()["pid"], pid, "the one in the background stays");
    home.ok(&["down"]);

    let mut shell = std::process::Command::new("sh");
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.args(["-c", "trap '' HUP; exec \"$0\" up", env!("CARGO_BIN_EXE_tenure")]);
    shell.env("TENURE_DATA_DIR", home.data()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = shell.spawn().expect("started");
    let _ = read_until(server.stdout.take().expect("piped"), "root key");
    signal(server.id(), Signal::HUP);
    home.ok(&["sessions", "list"]);
    signal(server.id(), Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0), "as with nohup");
}

#[test]
fn a_server_whose_terminal_is_gone_ends_in_order() {
    let home = Home::new();
    let terminal = rustix::pty::openpt(
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC,
    )
    .expect("one");
    rustix::pty::grantpt(&terminal).expect("granted");
    rustix::pty::unlockpt(&terminal).expect("unlocked");
    let name = rustix::pty::ptsname(&terminal, Vec::new()).expect("it has one");
    let end = File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("opened");
    // It makes the terminal that of a new session, and becomes the server.
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", env!("CARGO_BIN_EXE_tenure"), "up"]).env("TENURE_DATA_DIR", home.data());
    command.stdin(end.try_clone().expect("cloned")).stdout(end.try_clone().expect("cloned")).stderr(end);
    let mut server = command.spawn().expect("started");
    drop(command);
    let mut terminal = File::from(terminal);
    let mut said = String::new();
    let mut chunk = [0; 1_024];
    while !said.contains("root key") {
        let count = terminal.read(&mut chunk).expect("it is there");
        said.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    drop(terminal);
    let ended = server.wait().expect("it ends");
    assert_eq!((ended.code(), ended.signal()), (Some(0), None), "SIGHUP is like SIGTERM");
    assert!(!home.data().join("server.json").exists());
}

#[test]
fn a_log_that_nobody_reads_neither_ends_nor_holds_up_a_server() {
    // Closed: writing to it fails. Open and full: writing to it would wait for ever.
    for closed in [true, false] {
        let home = Home::new();
        let mut server = up(&home, &["--log", "trace"]);
        let mut log = server.stderr.take();
        if closed {
            log = None;
        }
        for _ in 0..200 {
            home.ok(&["status"]);
        }
        drop(log);
        home.ok(&["status"]);
        signal(server.id(), Signal::TERM);
        assert_eq!(server.wait().expect("it ends").code(), Some(0), "closed: {closed}");
    }
}

#[test]
fn a_server_needs_no_standard_files() {
    let home = Home::new();
    let mut shell = std::process::Command::new("sh");
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    shell.args(["-c", "exec \"$0\" up <&- >&- 2>&-", env!("CARGO_BIN_EXE_tenure")]);
    let mut server = shell.env("TENURE_DATA_DIR", home.data()).spawn().expect("started");
    home.server();
    home.ok(&["sessions", "list"]);
    signal(server.id(), Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
}

#[test]
fn down_ends_a_server_that_hangs() {
    let home = Home::new();
    let mut server = up(&home, &["--shutdown-grace", "10ms"]);
    signal(server.id(), Signal::STOP);
    let down = home.run(&["down"]);
    assert_eq!(down.code, 0, "{down:#?}");
    assert!(down.stderr.contains(&format!("Killed the server (pid {})", server.id())), "{down:#?}");
    assert_eq!(server.wait().expect("it ends").signal(), Some(9));
    assert!(home.run(&["status"]).stdout.contains("not running"));
}

#[test]
fn what_a_killed_server_left_says_nothing() {
    let home = Home::new();
    let mut server = up(&home, &[]);
    signal(server.id(), Signal::KILL);
    server.wait().expect("it ends");
    // Its file names a process that is alive and another's: this one.
    let mut file = home.server();
    file["pid"] = std::process::id().into();
    std::fs::write(home.data().join("server.json"), file.to_string()).expect("written");
    std::fs::write(home.data().join("lock"), std::process::id().to_string()).expect("written");
    assert_eq!(home.run(&["status"]).code, 1);
    let down = home.run(&["down"]);
    assert_eq!(down.code, 0, "{down:#?}");
    assert!(down.stderr.contains("No server runs"), "{down:#?}");
    let server = up(&home, &[]);
    assert_eq!(home.server()["pid"], server.id());
    signal(server.id(), Signal::TERM);
    assert_eq!(finish(server).code, 0);
}

#[test]
fn a_server_takes_all_the_files_it_may_have_and_keeps_some_for_itself() {
    let home = Home::new();
    let mut shell = std::process::Command::new("sh");
    shell.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("TENURE_DATA_DIR", home.data());
    shell.args(["-c", "ulimit -Sn 64; ulimit -Hn 1024; exec \"$0\" up", env!("CARGO_BIN_EXE_tenure")]);
    let mut server = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    let _ = read_until(server.stdout.take().expect("piped"), "root key");
    let (_, log) = read_until(server.stderr.take().expect("piped"), "fewer connections than wanted");
    assert!(log.contains("room=512"), "{log}");

    let address = home.server()["url"].as_str().expect("a text").trim_start_matches("http://").to_owned();
    let mut open: Vec<_> = (0..512).map(|_| std::net::TcpStream::connect(&address).expect("there is room")).collect();
    let mut refused = String::new();
    let mut one_more = std::net::TcpStream::connect(&address).expect("the system takes it");
    one_more.read_to_string(&mut refused).expect("it is told");
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
    // Those that are in can still do what needs files: make a session, which is stored.
    let key = std::fs::read_to_string(home.data().join("root.key")).expect("there");
    let body = "{\"agent\":\"assistant\",\"environment_id\":\"default\"}";
    let request = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: {address}\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        key.trim(),
        body.len()
    );
    let mut answer = String::new();
    let last = open.last_mut().expect("some");
    last.write_all(request.as_bytes()).expect("sent");
    last.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(open);
    signal(server.id(), Signal::TERM);
    assert_eq!(server.wait().expect("it ends").code(), Some(0));
}
