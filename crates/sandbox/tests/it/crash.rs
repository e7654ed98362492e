//! What is judged of calls after a process was killed.

use std::sync::Arc;

use tenure_sandbox::{CallEnd, Leftover, LostReason, Order, Sandbox};

#[cfg(feature = "failpoints")]
use crate::host::signal;
use crate::host::{Host, call, exec, judge, kill, needs_root, run, session, shell, text, wait_for_end};

/// A call that waits to be let go, and leaves one line for each time it ran.
const WAITING: &str =
    "echo begun; echo ran >> log; : > /tmp/ready; while [ ! -e /tmp/go ]; do sleep 0.01; done; echo done";

async fn started(sandbox: &Arc<dyn Sandbox>, n: u128) {
    run(sandbox, n, exec(&["sh", "-c", "while [ ! -e /tmp/ready ]; do sleep 0.01; done"])).await;
}

/// What is alive goes on, and more can be made.
#[tokio::test]
async fn what_keepers_are_forked_from_is_replaced_when_it_was_killed() {
    let host = Host::new();
    let first = host.open(session(1)).await;
    let zygote = host.zygote();
    let ended = wait_for_end(zygote);
    kill(zygote);
    ended.await.expect("it is no more");
    let second = host.open(session(2)).await;
    for sandbox in [&first, &second] {
        assert_eq!(text(&run(sandbox, 1, exec(&["echo", "fine"])).await), "fine\n");
    }
    assert_ne!(host.zygote(), zygote);
    host.finish().await;
}

#[tokio::test]
async fn a_restarted_server_attaches_to_a_running_call() {
    for work in [exec(&["sh", "-c", WAITING]), shell(WAITING)] {
        let mut host = Host::new();
        let sandbox = host.open(session(1)).await;
        let server = tokio::spawn({
            let (sandbox, work) = (Arc::clone(&sandbox), work.clone());
            async move { sandbox.run(Order::new(call(1), work), None).await }
        });
        started(&sandbox, 2).await;
        server.abort();
        drop(sandbox);
        host.restarted();
        let sandbox = host.open(session(1)).await;
        let (sender, mut progress) = tokio::sync::mpsc::channel(16);
        let mut order = Order::new(call(1), work.clone());
        order.asked_at = Some(std::time::SystemTime::now());
        let running = sandbox.run(order, Some(sender));
        let release = run(&sandbox, 3, exec(&["touch", "/tmp/go"]));
        let (end, _) = tokio::join!(running, release);
        assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "begun\ndone\n"), "{end:?}");
        let mut shown = Vec::new();
        while let Ok(bytes) = progress.try_recv() {
            shown.extend(bytes);
        }
        assert_eq!(String::from_utf8_lossy(&shown), "begun\ndone\n", "what came before it attached, then the rest");
        // And once more, from the journal alone.
        let end = judge(&sandbox, 1, work).await;
        assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "begun\ndone\n"), "{end:?}");
        assert_eq!(text(&run(&sandbox, 4, exec(&["cat", "log"])).await), "ran\n");
        host.finish().await;
    }
}

#[tokio::test]
async fn one_who_gives_up_waiting_leaves_the_call_to_another() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let first = tokio::spawn({
        let sandbox = Arc::clone(&sandbox);
        async move { sandbox.run(Order::new(call(1), exec(&["sh", "-c", WAITING])), None).await }
    });
    started(&sandbox, 2).await;
    let second = run(&sandbox, 1, exec(&["sh", "-c", WAITING]));
    let rest = async {
        tokio::task::yield_now().await;
        first.abort();
        run(&sandbox, 3, exec(&["touch", "/tmp/go"])).await
    };
    let (exit, _) = tokio::join!(second, rest);
    assert_eq!(text(&exit), "begun\ndone\n");
    assert_eq!(text(&run(&sandbox, 4, exec(&["cat", "log"])).await), "ran\n");
    host.finish().await;
}

#[tokio::test]
async fn a_result_outlives_the_sandbox_that_made_it() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("echo result; echo ran >> log")).await;
    kill(host.keepers()[0]);
    assert_eq!(sandbox.lost().await, LostReason::Died);
    let end = judge(&sandbox, 1, shell("echo ran >> log")).await;
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "result\n"), "{end:?}");
    let sandbox = host.open(session(1)).await;
    let end = judge(&sandbox, 1, shell("echo ran >> log")).await;
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "result\n"), "{end:?}");
    host.finish().await;
}

#[tokio::test]
async fn a_call_whose_keeper_or_supervisor_died_is_interrupted_and_not_run_again() {
    for whom in ["keeper", "supervisor"] {
        let host = Host::new();
        let sandbox = host.open(session(1)).await;
        let running = sandbox.run(Order::new(call(1), exec(&["sh", "-c", WAITING])), None);
        let killing = async {
            started(&sandbox, 2).await;
            kill(if whom == "keeper" { host.keepers()[0] } else { host.supervisor() });
        };
        let (end, ()) = tokio::join!(running, killing);
        assert!(matches!(end, Ok(CallEnd::Interrupted { .. })), "{whom}: {end:?}");
        assert_eq!(sandbox.lost().await, LostReason::Died);
        let sandbox = host.open(session(1)).await;
        let end = judge(&sandbox, 1, exec(&["sh", "-c", WAITING])).await;
        assert!(matches!(end, Ok(CallEnd::Interrupted { .. })), "{whom}: {end:?}");
        assert_eq!(text(&run(&sandbox, 3, exec(&["cat", "log"])).await), "ran\n");
        host.finish().await;
    }
}

#[tokio::test]
async fn a_call_that_was_never_asked_for_runs_however_often_things_died() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    kill(host.supervisor());
    assert_eq!(sandbox.lost().await, LostReason::Died);
    let lost = judge(&sandbox, 1, shell("echo ran")).await;
    assert!(matches!(lost, Err(tenure_sandbox::Error::Lost)), "{lost:?}");
    let sandbox = host.open(session(1)).await;
    let end = judge(&sandbox, 1, shell("echo ran")).await;
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "ran\n"), "{end:?}");
    host.finish().await;
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_sandboxes_along_and_the_next_one_sweeps() {
    let host = Host::new();
    for n in 1..4 {
        let sandbox = host.open(session(n)).await;
        run(&sandbox, 1, shell("echo kept > f; setsid sleep 1000 & sleep 1000 &")).await;
    }
    let supervisor = host.supervisor();
    kill(supervisor);
    let sandbox = host.open(session(1)).await;
    assert_eq!(host.backend.alive().await.expect("a list"), [session(1)]);
    assert_eq!(text(&run(&sandbox, 2, shell("cat f; pgrep -c sleep")).await), "kept\n0\n");
    let known = host.backend.leftovers(&[1, 2, 3].map(session)).await.expect("a list");
    assert_eq!(known.iter().find(|left| left.to_string().contains(&host.group_name())), None);
    host.finish().await;
}

#[tokio::test]
async fn groups_whose_supervisor_is_gone_are_named_and_the_next_one_removes_them() {
    needs_root("it makes cgroups, and those of most hosts are root's");
    // Also one that uses no groups itself.
    for cgroups in [true, false] {
        let mut host = Host::new();
        let sandbox = host.open(session(1)).await;
        kill(host.supervisor());
        assert_eq!(sandbox.lost().await, LostReason::Died);
        let left = host.backend.leftovers(&[session(1)]).await.expect("a list");
        let of_session = left.iter().find_map(|left| match left {
            Leftover::Cgroup(path) if path.ends_with(format!("{}/{}", host.group_name(), session(1))) => Some(path),
            _ => None,
        });
        let mut stray = std::process::Command::new("sleep").arg("1000").spawn().expect("it starts");
        let entrance = of_session.expect("a group").join("cgroup.procs");
        std::fs::write(entrance, stray.id().to_string()).expect("it enters");
        host.restarted_with(|config| config.cgroups = cgroups);
        host.open(session(2)).await;
        let ended = std::os::unix::process::ExitStatusExt::signal(&stray.wait().expect("it ends"));
        assert_eq!(ended, Some(rustix::process::Signal::KILL.as_raw()));
        host.finish().await;
    }
}

#[tokio::test]
async fn a_supervisor_without_server_and_work_ends_everything() {
    let host = Host::with(|config| config.linger = std::time::Duration::ZERO);
    let sandbox = host.open(session(1)).await;
    let supervisor = host.supervisor();
    drop((sandbox, host.backend));
    let dir = host.dir;
    let pid = rustix::process::Pid::from_raw(supervisor).expect("a process");
    if let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let mut polled = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).expect("it ends");
    }
    Host::at(dir).finish().await;
}

/// What it has just forked, with all that it had open, must not keep the next one from the directory.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_supervisor_that_dies_while_it_prepares_users_leaves_nobody() {
    needs_root("only root's sandboxes have users of their own on disk");
    // The first two are those of the first sandbox.
    let host = Host::with(|config| config.failpoint = Some("supervisor.shifting:3".to_owned()));
    drop(host.open(session(1)).await);
    let first = host.supervisor();
    let sandbox = host.open(session(2)).await;
    assert_ne!(host.supervisor(), first, "the place was reached");
    assert_eq!(text(&run(&sandbox, 1, shell("echo fine")).await), "fine\n");
    host.finish().await;
}

/// Each place where a keeper can die, and what is then said of the call and seen of its effect.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn wherever_a_keeper_dies_the_call_is_judged_rightly() {
    for (place, expected) in
        [("guest.started", "interrupted"), ("guest.forked", "interrupted"), ("guest.exited", "result")]
    {
        for work in [exec(&["sh", "-c", "echo ran >> log; echo result"]), shell("echo ran >> log; echo result")] {
            let host = Host::with(|config| config.failpoint = Some(format!("{place}:1")));
            let sandbox = host.open(session(1)).await;
            let end = sandbox.run(Order::new(call(1), work.clone()), None).await;
            assert_eq!(shown(&end), expected, "{place}: {end:?}");
            // A keeper of its own again: it dies at its first call, if that gets there.
            let sandbox = host.open(session(1)).await;
            let end = judge(&sandbox, 1, work).await;
            assert_eq!(shown(&end), expected, "{place}, judged again: {end:?}");
            let ran = host.lines_of(session(1), "log");
            assert!(if place == "guest.started" { ran == 0 } else { ran <= 1 }, "{place}: ran {ran} times");
            host.finish().await;
        }
    }
}

#[cfg(feature = "failpoints")]
fn shown(end: &Result<CallEnd, tenure_sandbox::Error>) -> &'static str {
    match end {
        Ok(CallEnd::Exited(exit)) if text(exit) == "result\n" => "result",
        Ok(CallEnd::Exited(_)) => "another result",
        Ok(CallEnd::Interrupted { .. }) => "interrupted",
        Err(_) => "error",
    }
}

/// A keeper that stands still is one more thing that a server must not take for dead.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_keeper_that_stands_still_at_a_place_can_be_let_go_on_or_killed() {
    for (place, killed) in ["guest.ordered", "guest.started", "guest.forked", "guest.exited"]
        .into_iter()
        .flat_map(|place| [(place, false), (place, true)])
    {
        let mut host = Host::with(|config| config.failpoint = Some(format!("{place}:1:pause")));
        let sandbox = host.open(session(1)).await;
        let work = || exec(&["sh", "-c", "echo ran >> log; echo result"]);
        let first = tokio::spawn(async move { sandbox.run(Order::new(call(1), work()), None).await });
        let keeper = host.keepers()[0];
        while std::fs::read_to_string(format!("/proc/{keeper}/comm")).expect("it lives") != "tenure-paused\n" {
            tokio::task::yield_now().await;
        }
        // The server that ordered it is gone, and another comes while nothing moves.
        first.abort();
        host.restarted();
        let backend = Arc::clone(&host.backend);
        let second = tokio::spawn(async move {
            let sandbox = backend.open(tenure_sandbox::Spec::new(session(1))).await?.sandbox;
            judge(&sandbox, 1, work()).await
        });
        signal(keeper, if killed { rustix::process::Signal::KILL } else { rustix::process::Signal::CONT });
        let mut end = second.await.expect("no panic");
        if matches!(end, Err(tenure_sandbox::Error::Lost)) {
            end = judge(&host.open(session(1)).await, 1, work()).await;
        }
        let expected = match (killed, place) {
            (true, "guest.started" | "guest.forked") => "interrupted",
            (true, _) | (false, _) => "result",
        };
        assert_eq!(shown(&end), expected, "{place}, killed: {killed}: {end:?}");
        let ran = host.lines_of(session(1), "log");
        assert!(
            ran == 1 || expected == "interrupted" && ran == 0 || place == "guest.forked" && ran <= 1,
            "{place}: {ran}"
        );
        host.finish().await;
    }
}

/// Each place where a supervisor can die: nothing of it stays in the way, and the next one makes the sandbox.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn wherever_a_supervisor_dies_the_next_one_goes_on() {
    for place in ["supervisor.grouped", "supervisor.forked", "supervisor.made"] {
        let mut host = Host::with(|config| config.failpoint = Some(format!("{place}:1")));
        // It dies at its first sandbox, and so does each that is started in its place.
        let refused = host.backend.open(tenure_sandbox::Spec::new(session(1))).await;
        assert!(matches!(&refused, Err(tenure_sandbox::Error::Failed { .. })), "{place}: {refused:?}");
        std::fs::create_dir(host.dir.path().join("trial-4000000")).expect("made");
        host.restarted();
        let left = host.backend.leftovers(&[session(1)]).await.expect("a list");
        assert!(left.iter().any(|left| left.to_string().contains("trial-4000000")), "{left:?}");
        // Of one that is dead but not yet waited for, or whose number is somebody else's.
        let unclear = host.dir.path().join(format!("trial-{}", std::process::id()));
        std::fs::create_dir(&unclear).expect("made");
        let sandbox = host.open(session(1)).await;
        assert_eq!(text(&run(&sandbox, 1, shell("echo ran")).await), "ran\n", "{place}");
        assert_eq!(host.keepers().len(), 1, "{place}");
        assert!(!unclear.exists(), "{place}");
        let left = host.backend.leftovers(&[session(1)]).await.expect("a list");
        let ours: Vec<_> = left
            .iter()
            .filter(|left| !left.to_string().starts_with("cgroup") || left.to_string().contains(&host.group_name()))
            .collect();
        assert_eq!(ours, [] as [&Leftover; 0], "{place}");
        host.finish().await;
    }
}
