//! Commands and files in the real sandbox of a session.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use rustix::process::Signal;
use rustix::termios::{Winsize, tcsetwinsize};

use crate::home::{Home, finish, has_sandboxes, read_until, signal};

#[test]
fn a_command_runs_in_a_sessions_sandbox() {
    if !has_sandboxes("a_command_runs_in_a_sessions_sandbox") {
        return;
    }
    let home = Home::new();
    let id = home.session("hello");
    let exec = |args: &[&str]| home.run(&[&["sessions", "exec", &id][..], args].concat());
    let ran = exec(&["--", "sh", "-c", "id -un; pwd; echo oops >&2; exit 7"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.code), ("agent\n/workspace\n", "oops\n", 7));
    let ran = exec(&["-e", "WORD=two words", "-w", "/tmp", "--", "sh", "-c", "pwd; echo $WORD; kill -TERM $$"]);
    assert_eq!((ran.stdout.as_str(), ran.code), ("/tmp\ntwo words\n", 143));
    let ran = exec(&["--", "no-such-program"]);
    assert_eq!((ran.stderr.as_str(), ran.code), ("no-such-program: no such program\n", 127));
    assert_eq!(exec(&["-t", "--", "true"]).code, 1, "there is no terminal here");
    let ran = exec(&["--timeout", "1", "--", "sleep", "1000"]);
    assert!(ran.code == 137 && ran.stderr.contains("took longer"), "{ran:#?}");
    // Bytes go through as they are, both ways.
    let given: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    let ran = home.run_with(&["sessions", "exec", &id, "--", "sh", "-c", "tee copy | sha256sum; wc -c < copy"], &given);
    assert!(ran.code == 0 && ran.stdout.ends_with(&format!("{}\n", given.len())), "{ran:#?}");
    let ran = home.run(&["sessions", "exec", &id, "--", "cat", "copy"]);
    assert!(ran.stdout == given, "{} bytes", ran.stdout.len());
    // What is after the dashes is the command's.
    assert_eq!(home.ok(&["sessions", "exec", &id, "--", "echo", "--json"]), "--json\n");
    let told = home.run(&["--json", "sessions", "exec", &id, "--", "sh", "-c", "echo told; exit 3"]);
    let value: serde_json::Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!((told.code, value["exit_code"].as_u64(), value["stdout"].as_str()), (3, Some(3), Some("told\n")));
    // The conversation knows nothing of it.
    assert_eq!(home.json(&["sessions", "get", &id])["tenure"]["sandbox"], "not_yet");
}

#[test]
fn a_command_that_a_limit_ended_says_so() {
    if !has_sandboxes("a_command_that_a_limit_ended_says_so") {
        return;
    }
    let home = Home::new();
    let id = home.session("hello");
    home.ok(&["sessions", "limits", &id, "--disk", "32MiB"]);
    let fill = ["sh", "-c", "n=0; while :; do n=$((n+1)); head -c 1048576 /dev/zero > f$n; done"];
    let ran = home.run(&[&["sessions", "exec", &id, "--"][..], &fill].concat());
    assert!(ran.code == 137 && ran.stderr.contains("killed: disk limit 32 MiB"), "{ran:#?}");
}

#[test]
fn an_interrupt_ends_the_command() {
    if !has_sandboxes("an_interrupt_ends_the_command") {
        return;
    }
    let home = Home::new();
    let id = home.session("hello");
    let script = "trap 'echo interrupted; exit 4' INT; echo begun; while :; do sleep 0.05; done";
    let mut command = home.command(&["sessions", "exec", &id, "--", "bash", "-c", script]);
    let mut child = command.spawn().expect("started");
    let (mut rest, _) = read_until(child.stdout.take().expect("piped"), "begun");
    signal(child.id(), Signal::INT);
    let mut shown = String::new();
    rest.read_to_string(&mut shown).expect("text");
    assert_eq!((child.wait().expect("it ends").code(), shown.as_str()), (Some(130), "interrupted\n"));
    // One that ends otherwise takes its command along.
    let mut child = home
        .command(&["sessions", "exec", &id, "--", "sh", "-c", "echo begun; exec sleep 1002"])
        .spawn()
        .expect("started");
    let _ = read_until(child.stdout.take().expect("piped"), "begun");
    signal(child.id(), Signal::KILL);
    child.wait().expect("it ends");
    let gone = "while pgrep -f 'sleep 1002' | grep -qv $$; do sleep 0.02; done; echo gone";
    assert_eq!(home.ok(&["sessions", "exec", &id, "--", "sh", "-c", gone]), "gone\n");
}

#[test]
fn a_shell_has_a_terminal() {
    if !has_sandboxes("a_shell_has_a_terminal") {
        return;
    }
    let home = Home::new();
    let id = home.session("hello");
    let refused = home.run(&["sessions", "shell", &id]);
    assert!(refused.code == 1 && refused.stderr.contains("needs a terminal"), "{refused:#?}");

    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let terminal = rustix::pty::openpt(flags).expect("one");
    rustix::pty::grantpt(&terminal).expect("granted");
    rustix::pty::unlockpt(&terminal).expect("unlocked");
    let size = |columns, rows| Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size(101, 33)).expect("sized");
    let name = rustix::pty::ptsname(&terminal, Vec::new()).expect("it has one");
    let end = File::options().read(true).write(true).open(name.to_str().expect("a path")).expect("opened");
    let tenure = home.command(&["sessions", "shell", &id]);
    let mut command = std::process::Command::new("setsid");
    command.arg("--ctty").arg(tenure.get_program()).args(tenure.get_args()).env_clear();
    command.envs(tenure.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(end.try_clone().expect("cloned")).stdout(end.try_clone().expect("cloned")).stderr(end);
    let mut child = command.spawn().expect("started");
    drop(command);
    let mut terminal = File::from(terminal);
    let mut shown = String::new();
    let mut until = |terminal: &mut File, expected: &str| {
        let mut chunk = [0; 4096];
        while !shown.contains(expected) {
            let count = terminal.read(&mut chunk).unwrap_or(0);
            assert!(count > 0, "it ended without {expected}: {shown}");
            shown.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
        shown.clear();
    };
    until(&mut terminal, "$ ");
    terminal.write_all(b"stty size; tty; id -un\r").expect("typed");
    until(&mut terminal, "33 101\r\n/dev/pts/0\r\nagent\r\n");
    // What is typed passes this terminal as it is: an interrupt ends what runs there, and nothing here.
    terminal.write_all(b"sh -c 'echo be\"\"gun; exec sleep 1003'\r").expect("typed");
    until(&mut terminal, "begun\r\n");
    terminal.write_all(b"\x03").expect("typed");
    until(&mut terminal, "$ ");
    tcsetwinsize(&terminal, size(60, 20)).expect("sized");
    terminal.write_all(b"until [ \"$(stty size)\" = '20 60' ]; do sleep 0.02; done; echo re''sized\r").expect("typed");
    until(&mut terminal, "resized\r\n");
    terminal.write_all(b"exit 5\r").expect("typed");
    drop(std::thread::spawn(move || std::io::copy(&mut terminal, &mut std::io::sink())));
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
}

#[test]
fn files_come_and_go() {
    if !has_sandboxes("files_come_and_go") {
        return;
    }
    let home = Home::new();
    let id = home.session("hello");
    let here = tempfile::tempdir().expect("a directory");
    let local = here.path().join("notes.txt");
    std::fs::write(&local, "some words\n").expect("written");
    let local = local.to_str().expect("a path");
    assert_eq!(home.ok(&["sessions", "files", "ls", &id]), "");
    home.ok(&["sessions", "upload", &id, local, "docs/"]);
    home.ok(&["sessions", "upload", &id, local, "b"]);
    let listed = home.ok(&["sessions", "files", "ls", &id, "-R"]);
    let names: Vec<&str> = listed.lines().map(|line| line.rsplit(' ').next().expect("a name")).collect();
    assert_eq!(names, ["b", "docs", "docs/notes.txt"], "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("-rw-r--r--       11 B ")), "{listed}");
    assert_eq!(home.ok(&["sessions", "files", "cat", &id, "docs/notes.txt"]), "some words\n");
    home.ok(&["sessions", "files", "mv", &id, "b", "c/d"]);
    home.ok(&["sessions", "files", "rm", &id, "-r", "docs"]);
    let gone = home.run(&["sessions", "files", "cat", &id, "docs/notes.txt"]);
    assert!(gone.code == 1 && gone.stderr.contains("no such file"), "{gone:#?}");
    let target = here.path().join("copy");
    home.ok(&["sessions", "download", &id, "c/d", "-o", target.to_str().expect("a path")]);
    assert_eq!(std::fs::read_to_string(&target).expect("there"), "some words\n");
    assert_eq!(home.ok(&["sessions", "download", &id, "c/d", "-o", "-"]), "some words\n");
    // What isn't a file of its own is written to, as a device is, and never replaced. Nor is a pipe without a writer waited for.
    let (link, pipe) = (here.path().join("link"), here.path().join("pipe"));
    std::os::unix::fs::symlink("linked", &link).expect("a link");
    home.ok(&["sessions", "download", &id, "c/d", "-o", link.to_str().expect("a path")]);
    assert_eq!(std::fs::read_to_string(here.path().join("linked")).expect("there"), "some words\n");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    let refused = home.run(&["sessions", "upload", &id, pipe.to_str().expect("a path"), "x"]);
    assert!(refused.code == 1 && refused.stderr.contains("is no regular file"), "{refused:#?}");
    // A directory goes as a whole, or nothing of it does.
    let mixed = here.path().join("mixed");
    std::fs::create_dir(&mixed).expect("made");
    std::fs::write(mixed.join("file"), "words").expect("written");
    drop(std::os::unix::net::UnixListener::bind(mixed.join("socket")).expect("bound"));
    let refused = home.run(&["sessions", "upload", &id, mixed.to_str().expect("a path"), "mixed"]);
    assert!(refused.code == 1 && refused.stderr.contains("socket can not be archived"), "{refused:#?}");
    let gone = home.run(&["sessions", "files", "ls", &id, "mixed"]);
    assert!(gone.code == 1 && gone.stderr.contains("no such file"), "{gone:#?}");
    let mut held = File::options().read(true).write(true).open(&pipe).expect("opened");
    home.ok(&["sessions", "download", &id, "c/d", "-o", pipe.to_str().expect("a path")]);
    assert!(!std::fs::symlink_metadata(&pipe).expect("there").is_file(), "it stays what it is");
    let mut come = [0; 11];
    std::io::Read::read_exact(&mut held, &mut come).expect("read");
    assert_eq!(&come, b"some words\n");
    // Who reads only the beginning is no fault; what can't be printed is one.
    let mut endless = home.command(&["sessions", "exec", &id, "--", "yes"]).spawn().expect("started");
    std::io::Read::read_exact(&mut endless.stdout.take().expect("piped"), &mut come[..2]).expect("read");
    let ran = finish(endless);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let long = here.path().join("long");
    std::fs::write(&long, "x".repeat(300_000)).expect("written");
    home.ok(&["sessions", "upload", &id, long.to_str().expect("a path"), "long"]);
    let (_held, full) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).expect("a pipe");
    let cut = home.command(&["sessions", "files", "cat", &id, "long"]).stdout(full).spawn().expect("started");
    let ran = finish(cut);
    assert!(ran.code == 1 && ran.stderr.contains("standard output can't be written"), "{ran:#?}");
    // The sandbox's user can't do what a tool couldn't.
    let denied = home.run(&["sessions", "upload", &id, local, "/usr/bin/true"]);
    assert_eq!(denied.code, 1, "{denied:#?}");
    // Stopped or not, they are there.
    home.ok(&["sessions", "stop", &id]);
    assert_eq!(home.ok(&["sessions", "files", "cat", &id, "c/d"]), "some words\n");
    let mut cut = home.command(&["sessions", "files", "cat", &id, "/dev/zero"]);
    let ran = cut.stdout(Stdio::piped()).output().expect("it ran");
    assert_eq!(ran.status.code(), Some(1), "no device is read");
}
