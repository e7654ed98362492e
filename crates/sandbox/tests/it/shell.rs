//! The persistent shell.

use std::time::Duration;

use tenure_sandbox::{CallEnd, Order, Work};

use crate::host::{Host, call, exec, run, session, shell, text};
use crate::snapshots::snapshot;

#[tokio::test]
async fn it_remembers_directory_variables_functions_and_options() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("cd /tmp; x=5; f() { echo f$1; }; set -o noglob; export Y=7")).await;
    let exit = run(&sandbox, 2, shell("pwd; echo $x; f 1; echo /*; sh -c 'echo $Y'")).await;
    assert_eq!((text(&exit).as_str(), exit.code), ("/tmp\n5\nf1\n/*\n7\n", Some(0)));
    host.finish().await;
}

#[tokio::test]
async fn commands_of_every_shape_end_with_their_status() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, (command, code, output)) in [
        ("false", 1, ""),
        ("(exit 42)", 42, ""),
        ("cat <<'X'\n$not\nX\n", 0, "$not\n"),
        ("echo one\necho two # comment", 0, "one\ntwo\n"),
        ("", 0, ""),
        ("printf 'no newline'", 0, "no newline"),
        ("echo out; echo err >&2; echo out", 0, "out\nerr\nout\n"),
        ("read line; echo \"[$line]\"", 0, "[]\n"),
        ("ls /proc/self/fd | tr '\\n' ' '", 0, "0 1 2 3 "),
        ("ulimit -c", 0, "0\n"),
        ("echo é ✓ | cat", 0, "é ✓\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let exit = run(&sandbox, n as u128 + 1, shell(command)).await;
        assert_eq!((exit.code, text(&exit).as_str()), (Some(code), output), "{command}");
    }
    let exit = run(&sandbox, 100, shell("if then")).await;
    assert!(exit.code == Some(2) && text(&exit).contains("syntax error"), "{exit:?}");
    host.finish().await;
}

#[tokio::test]
async fn a_shell_that_exits_is_replaced_and_said_to_be_lost() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 1, shell("x=1; exit 7")).await;
    assert_eq!((exit.code, exit.shell_lost), (Some(7), false));
    let exit = run(&sandbox, 2, shell("echo \"[$x]\"")).await;
    assert_eq!((text(&exit).as_str(), exit.shell_lost), ("[]\n", true));
    assert!(!run(&sandbox, 3, shell("true")).await.shell_lost);
    let exit = run(&sandbox, 4, shell("exec sh -c 'echo other; exit 5'")).await;
    assert_eq!((exit.code, text(&exit).as_str()), (Some(5), "other\n"));
    assert!(run(&sandbox, 5, shell("kill -9 $$")).await.signal.is_some());
    host.finish().await;
}

#[tokio::test]
async fn a_restart_that_was_asked_for_is_no_loss() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("x=1; sleep 1000 &")).await;
    let exit =
        run(&sandbox, 2, Work::Shell { command: "echo \"[$x]\"; pgrep -c sleep".to_owned(), restart: true }).await;
    assert_eq!((text(&exit).as_str(), exit.shell_lost), ("[]\n0\n", false));
    let exit = run(&sandbox, 3, Work::Shell { command: String::new(), restart: true }).await;
    assert_eq!((exit.code, text(&exit).as_str()), (Some(0), ""));
    host.finish().await;
}

#[tokio::test]
async fn background_processes_outlive_their_call_and_hold_up_nothing() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, exec(&["mkfifo", "/tmp/go"])).await;
    let exit =
        run(&sandbox, 2, shell("{ read x < /tmp/go; echo background $x; : > /tmp/done; } & echo foreground")).await;
    assert_eq!(text(&exit), "foreground\n");
    run(&sandbox, 3, exec(&["sh", "-c", "echo later > /tmp/go; while [ ! -e /tmp/done ]; do sleep 0.01; done"])).await;
    let exit = run(&sandbox, 4, shell("echo next; wait")).await;
    assert_eq!(text(&exit), "background later\nnext\n");
    host.finish().await;
}

#[tokio::test]
async fn a_timed_out_command_dies_and_the_shell_lives() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("x=kept; sleep 1000 & echo $! > /tmp/before")).await;
    let mut order =
        Order::new(call(2), shell("setsid sh -c 'echo $$ > /tmp/within; sleep 1000' & sleep 1000; echo after"));
    order.timeout = Some(Duration::from_millis(300));
    let CallEnd::Exited(exit) = sandbox.run(order, None).await.expect("a result") else { panic!("interrupted") };
    assert!(exit.timed_out && text(&exit).ends_with("after\n"), "{exit:?}");
    let exit = run(
        &sandbox,
        3,
        shell(
            "echo $x; kill -0 $(cat /tmp/before) && echo spared; kill -0 $(cat /tmp/within) 2>/dev/null || echo killed",
        ),
    )
    .await;
    // Bash may remark on the end of its child here or before.
    let shown: Vec<String> = text(&exit).lines().filter(|line| !line.contains("Killed")).map(str::to_owned).collect();
    assert_eq!((shown.join(" ").as_str(), exit.shell_lost), ("kept spared killed", false));
    host.finish().await;
}

#[tokio::test]
async fn a_loop_that_will_not_end_takes_the_shell_with_it() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, command) in
        ["while :; do sleep 0.01; done", "while :; do :; done", "trap '' TERM INT HUP; while :; do sleep 1; done"]
            .into_iter()
            .enumerate()
    {
        let mut order = Order::new(call(10 * n as u128 + 1), shell(command));
        order.timeout = Some(Duration::from_millis(50));
        let CallEnd::Exited(exit) = sandbox.run(order, None).await.expect("a result") else { panic!("interrupted") };
        assert!(exit.timed_out, "{exit:?}");
        let exit = run(&sandbox, 10 * n as u128 + 2, shell("echo fine")).await;
        assert!(text(&exit).ends_with("fine\n") && exit.shell_lost, "{exit:?}");
    }
    host.finish().await;
}

#[tokio::test]
async fn a_long_command_gets_through() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let long = "x".repeat(200_000);
    let exit = run(&sandbox, 1, shell(&format!("y={long}; echo ${{#y}}"))).await;
    assert_eq!(text(&exit), "200000\n");
    host.finish().await;
}

#[tokio::test]
async fn what_is_printed_can_be_opened_by_its_name() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let script = "echo one > /dev/stdout; echo two > /dev/stderr; echo three | tee /dev/stderr; echo four >> /proc/self/fd/1; \
                  ln -sf /dev/stdout /tmp/log; echo five >> /tmp/log; perl -e 'open(my $f, \">>\", \"/dev/stderr\") or die $!; print $f \"six\\n\"'";
    let all = ["one", "two", "three", "three", "four", "five", "six"];
    for (n, work) in [shell(script), exec(&["sh", "-c", script])].into_iter().enumerate() {
        let exit = run(&sandbox, 1 + n as u128, work).await;
        let mut printed: Vec<String> = text(&exit).lines().map(str::to_owned).collect();
        // What goes to which of two pipes is in order only there.
        let mut expected = all.map(str::to_owned).to_vec();
        expected.sort_unstable();
        printed.sort_unstable();
        assert_eq!(printed, expected, "{exit:?}");
    }
    let errors = run(&sandbox, 10, exec(&["sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr"])).await;
    assert_eq!((errors.stdout.as_slice(), errors.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    host.finish().await;
}

/// A keeper may write to its shell's mark, and so make it as long as a file can be.
#[tokio::test]
async fn of_the_mark_of_a_shell_a_fork_gets_no_more_than_that_there_was_one() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("echo one > a")).await;
    sandbox.stop(Duration::ZERO).await.expect("stopped");
    host.backend.snapshot(session(1), snapshot(10), None).await.expect("taken");
    let mark = |n| host.dir.path().join(format!("sessions/{}/shell", session(n)));
    std::fs::write(mark(1), [b'1'; 4096]).expect("written");
    host.backend.fork(session(1), snapshot(10), &[], session(2)).await.expect("forked");
    assert_eq!(std::fs::metadata(mark(2)).expect("there").len(), 1);
    host.finish().await;
}
