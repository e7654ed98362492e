use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Child;

use rustix::process::Signal;

use crate::home::{Home, finish, read_until, signal, until};

/// A server in the foreground, ready.
fn up(home: &Home, args: &[&str]) -> (Child, String) {
    let mut all = vec!["up"];
    all.extend(args);
    let mut server = home.command(&all).spawn().expect("started");
    let (_, said) = read_until(server.stdout.take().expect("piped"), "root key");
    (server, said)
}

#[test]
fn a_server_says_where_it_is_and_ends_when_asked() {
    let home = Home::new();
    let (server, said) = up(&home, &[]);
    let file = home.server();
    let url = file["url"].as_str().expect("a text");
    assert!(said.contains(url), "{said}");
    assert!(said.contains(&home.data().join("root.key").display().to_string()), "{said}");
    assert_eq!(file["pid"], server.id());

    let status = home.json(&["status"]);
    assert_eq!(status["url"], url);
    assert_eq!(status["default_model"], "script/talk");
    assert!(home.ok(&["status"]).contains(&format!("running at {url}")));

    for name in ["", "root.key", "master.key", "tenure.db", "server.json", "lock"] {
        let mode = std::fs::metadata(home.data().join(name)).expect("there").permissions().mode();
        assert!(name.is_empty() || mode & 0o077 == 0, "others may look at {name}: {mode:o}");
    }

    signal(server.id(), Signal::TERM);
    let ran = finish(server);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(!home.data().join("server.json").exists());
    let status = home.run(&["status"]);
    assert_eq!(status.code, 1);
    assert!(status.stdout.contains("not running"), "{status:#?}");
}

#[test]
fn a_server_outlives_whoever_was_to_hear_where_it_is() {
    let home = Home::new();
    let mut server = home.command(&["up"]).spawn().expect("started");
    drop(server.stdout.take());
    until("it to serve", || (home.run(&["status"]).code == 0).then_some(()));
    signal(server.id(), Signal::TERM);
    assert_eq!(finish(server).code, 0);
}

#[test]
fn a_directory_has_one_server() {
    let home = Home::new();
    let (server, _) = up(&home, &[]);
    let refused = home.run(&["up"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains(&format!("already served by pid {}", server.id())), "{refused:#?}");
    signal(server.id(), Signal::INT);
    assert_eq!(finish(server).code, 0);
}

#[test]
fn down_stops_a_server_in_the_foreground_too() {
    let home = Home::new();
    let (server, _) = up(&home, &[]);
    let down = home.run(&["down"]);
    assert_eq!(down.code, 0);
    assert!(down.stderr.contains(&format!("Stopped the server (pid {})", server.id())), "{down:#?}");
    assert_eq!(finish(server).code, 0);
    assert!(home.run(&["down"]).stderr.contains("No server runs"));
}

#[test]
fn ten_commands_at_once_start_one_server() {
    let home = Home::new();
    let commands: Vec<_> =
        (0..10).map(|_| home.command(&["sessions", "list", "--json"]).spawn().expect("started")).collect();
    let ran: Vec<_> = commands.into_iter().map(finish).collect();
    assert!(ran.iter().all(|ran| ran.code == 0 && ran.stdout == "{\"sessions\":[]}\n"), "{ran:#?}");
    let started = ran.iter().filter(|ran| ran.stderr.contains("Started a server")).count();
    assert_eq!(started, 1, "{ran:#?}");
}

#[test]
fn a_killed_server_is_replaced_by_the_next_command() {
    let home = Home::new();
    let id = home.session("hello");
    let before = home.server()["pid"].as_u64().expect("a number");
    signal(u32::try_from(before).expect("a process"), Signal::KILL);
    until("the end of the server", || (!std::path::Path::new(&format!("/proc/{before}/exe")).exists()).then_some(()));
    assert!(home.ok(&["sessions", "list"]).contains(&id));
    assert_ne!(home.server()["pid"], before);
}

#[test]
fn a_busy_port_is_an_error_in_the_foreground_and_none_in_the_background() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound");
    home.configure(&format!("listen = '{address}'\n"));
    let refused = home.run(&["up"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains(&format!("another program listens on {address}")), "{refused:#?}");
    home.ok(&["sessions", "list"]);
    assert_ne!(home.server()["url"], format!("http://{address}"));
}

#[test]
fn wrong_settings_keep_the_server_from_starting_and_say_why() {
    let home = Home::new();
    let refused = |args: &[&str], env: &[(&str, &str)], expected: &str| {
        let mut command = home.command(args);
        let ran = finish(command.envs(env.iter().copied()).spawn().expect("started"));
        assert_eq!(ran.code, 1, "{args:?} {env:?}: {ran:#?}");
        assert!(ran.stderr.contains(expected), "expected `{expected}`: {ran:#?}");
    };
    refused(&["up", "--listen", "0.0.0.0:0"], &[], "say --expose");
    refused(&["up", "--retry-base", "soon"], &[], "--retry-base: expected a time");
    refused(&["up"], &[("TENURE_LISTEN", "here")], "TENURE_LISTEN: expected an IP address");
    refused(&["up"], &[("TENURE_LOG", "a=b=c")], "log: expected a level");
    refused(&["up"], &[("TENURE_MASTER_KEY", "short")], "expected a master key of 64 hex digits");

    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let (listen, itself) = (free.to_string(), format!("http://localhost:{}", free.port()));
    refused(&["up", "--listen", &listen], &[("ANTHROPIC_BASE_URL", &itself)], "this server itself");

    home.configure("lisen = '127.0.0.1:0'\n");
    refused(&["up"], &[], "unknown key `lisen`; the nearest is `listen`");
    // A command that starts one in the background says the same.
    refused(&["sessions", "list"], &[], "unknown key `lisen`; the nearest is `listen`");
    home.configure("listen = '127.0.0.1:0'\n");
}
