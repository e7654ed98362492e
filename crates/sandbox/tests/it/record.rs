//! What is left in the record of a call when the disk is full, and when the executor dies.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tenure_sandbox::{CallEnd, Error, Order};

use crate::host::{Host, call, exec, first_user, is_root, judge, kill, run, session, shell, text};

/// What a keeper may write to a file: as if the disk were full beyond that.
fn leave_room(keeper: i32, bytes: Option<u64>) {
    let pid = Pid::from_raw(keeper).expect("a process");
    // Where root lacks that right, who the keeper's namespace belongs to has it. A thread's user is its own.
    let limited = std::thread::spawn(move || {
        if is_root() {
            let owner = rustix::process::Uid::from_raw(first_user(keeper));
            rustix::thread::set_thread_res_uid(None, owner, None)?;
        }
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None })
    });
    limited.join().expect("no panic").expect("limited");
}

#[tokio::test]
async fn on_a_full_disk_a_call_fails_honestly_and_the_keeper_lives() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("true")).await;
    let journal = |n| host.dir.path().join(format!("sessions/{}/calls/{}", session(1), call(n)));
    let whole = std::fs::metadata(journal(1)).expect("a journal").len();
    let keeper = host.keepers()[0];
    let script = "echo ran >> log; printf 'x%.0s' {1..5000}";
    let mut n = 10;
    for (room, expected) in [(0, "not run"), (whole / 2, "interrupted"), (whole + 100, "cut")] {
        for work in [shell(script), exec(&["bash", "-c", script])] {
            n += 10;
            let before = host.lines_of(session(1), "log");
            leave_room(keeper, Some(room));
            let end = sandbox.run(Order::new(call(n), work.clone()), None).await;
            leave_room(keeper, None);
            let shown = match &end {
                Err(Error::Failed { doing, .. }) if doing == "recording a call" => "not run",
                Ok(CallEnd::Interrupted { reason }) if reason.contains("disk") => "interrupted",
                Ok(CallEnd::Exited(exit)) if exit.code == Some(0) => {
                    assert_eq!(exit.omitted_bytes + exit.stdout.len() as u64, 5_000);
                    "cut"
                }
                _ => "something else",
            };
            assert_eq!(shown, expected, "room for {room} of {whole}: {end:?}");
            let ran = host.lines_of(session(1), "log") - before;
            assert_eq!(ran, usize::from(expected != "not run"), "room for {room}");
            if expected == "interrupted" {
                // It isn't run again now that there is room.
                let end = judge(&sandbox, n, work).await;
                assert!(matches!(end, Ok(CallEnd::Interrupted { .. })), "{end:?}");
                assert_eq!(host.lines_of(session(1), "log") - before, 1);
            }
            assert_eq!(text(&run(&sandbox, n + 1, shell("echo alive")).await), "alive\n");
        }
    }
    assert_eq!(host.keepers(), [keeper]);
    host.finish().await;
}

#[tokio::test]
async fn calls_go_on_without_the_executor_that_forked_them() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let waiting = "echo ran >> log; : > ready; while [ ! -e go ]; do sleep 0.01; done; echo done";
    for (n, work) in [(1, exec(&["sh", "-c", waiting])), (2, shell(waiting))] {
        let running = sandbox.run(Order::new(call(n), work), None);
        let killing = async {
            run(&sandbox, n + 10, exec(&["sh", "-c", "while [ ! -e ready ]; do sleep 0.01; done"])).await;
            kill(host.executor());
            // One that reaches the dying executor ends with it.
            let mut next = n + 20;
            while run(&sandbox, next, exec(&["touch", "go"])).await.code != Some(0) {
                next += 100;
            }
        };
        let (end, ()) = tokio::join!(running, killing);
        assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "done\n"), "{end:?}");
        run(&sandbox, n + 30, exec(&["rm", "ready", "go"])).await;
    }
    assert_eq!(host.lines_of(session(1), "log"), 2);
    host.finish().await;
}

/// What a server could order without end is bounded where it is kept.
#[tokio::test]
async fn too_many_calls_at_once_are_refused_and_the_others_run() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, exec(&["mkfifo", "go"])).await;
    let work = exec(&["bash", "-c", "read -n 1 < go; echo done"]);
    let calls: Vec<_> = (0..140).map(|n| sandbox.run(Order::new(call(100 + n), work.clone()), None)).collect();
    let release = async {
        let refused =
            |n: u128| std::fs::read(host.dir.path().join(format!("sessions/{}/calls/{}", session(1), call(100 + n))));
        while (0..140u128)
            .filter(|n| refused(*n).is_ok_and(|bytes| bytes.windows(9).any(|part| part == b"under way")))
            .count()
            < 12
        {
            tokio::task::yield_now().await;
        }
        // One makes room for another.
        sandbox.cancel(call(100)).await.expect("told");
        let mut n = 2;
        // It keeps the pipe open for those that have not come to it yet.
        let release = "(exec 3<>go; printf '%200s' >&3; sleep 1000) > /dev/null 2>&1 &";
        while run(&sandbox, n, exec(&["sh", "-c", release])).await.code == Some(126) {
            n += 1;
        }
    };
    let (ends, ()) = tokio::join!(futures_util::future::join_all(calls), release);
    let count = |code| {
        let has = |end: &Result<CallEnd, Error>| matches!(end, Ok(CallEnd::Exited(exit)) if exit.code == Some(code));
        ends.iter().filter(|end| has(end)).count()
    };
    assert_eq!((count(0), count(126)), (127, 12));
    // As many that leave something behind which holds their pipes open.
    for n in 0..150 {
        run(&sandbox, 1_000 + n, exec(&["sh", "-c", "sleep 1000 & sleep 1000 & exit 0"])).await;
    }
    assert_eq!(text(&run(&sandbox, 2_000, shell("echo alive")).await), "alive\n");
    host.finish().await;
}
