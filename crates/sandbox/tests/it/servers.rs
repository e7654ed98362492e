//! Servers that come and go: one after another, one too many, and of other versions.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{Backend, CallEnd, Error, LostReason, Native, Order, Sandbox, Spec};

use crate::host::{Host, call, exec, first_user, guest, judge, kill, needs_root, run, session, shell, signal, text};

/// A call that waits to be let go, and leaves one line for each time it ran.
fn waiting(host: &Host) -> tenure_sandbox::Work {
    exec(&["sh", "-c", &format!("echo ran >> log; : > ready; sleep {}; echo done", host.number())])
}

/// Starts that call and lets go of the server that ordered it.
async fn leave_running(host: &mut Host) {
    let sandbox = host.open(session(1)).await;
    let ordering = tokio::spawn({
        let (sandbox, work) = (Arc::clone(&sandbox), waiting(host));
        async move { sandbox.run(Order::new(call(1), work), None).await }
    });
    run(&sandbox, 2, exec(&["sh", "-c", "while [ ! -e ready ]; do sleep 0.01; done"])).await;
    ordering.abort();
    let _ = ordering.await;
}

/// From outside: no server need be there, and what a layer holds can't be changed under a sandbox's feet.
async fn let_go(host: &Host) {
    let sleeps = format!("sleep\0{}\0", host.number());
    loop {
        let pids = std::fs::read_dir("/proc").expect("/proc").flatten();
        let sleeping = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &i32| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == sleeps.as_bytes())
        });
        if let Some(pid) = sleeping {
            return kill(pid);
        }
        tokio::task::yield_now().await;
    }
}

async fn assert_it_ran_once(host: &Host, sandbox: &Arc<dyn Sandbox>) {
    let end = judge(sandbox, 1, waiting(host)).await;
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if exit.stdout == b"done\n"), "{end:?}");
    assert_eq!(host.lines_of(session(1), "log"), 1);
}

#[tokio::test]
async fn a_server_that_was_thought_dead_is_not_listened_to() {
    let mut host = Host::new();
    let old = Arc::clone(&host.backend);
    let held = host.open(session(1)).await;
    run(&held, 1, shell("echo first")).await;
    host.restarted();
    let sandbox = host.open(session(1)).await;
    assert_eq!(held.lost().await, LostReason::Died, "its connection has gone to the later one");
    assert!(matches!(judge(&held, 3, shell("echo ran >> log")).await, Err(Error::Lost)));
    let refused = old.open(Spec::new(session(1))).await;
    assert!(matches!(refused, Err(Error::Superseded { by: 2, ours: 1 })), "{refused:?}");
    let refused = old.open(Spec::new(session(2))).await;
    assert!(matches!(refused, Err(Error::Superseded { .. })), "{refused:?}");
    let refused = old.destroy(session(1)).await;
    assert!(matches!(refused, Err(Error::Superseded { .. })), "{refused:?}");
    assert_eq!(text(&run(&sandbox, 4, shell("cat log; echo second")).await).lines().last(), Some("second"));
    assert_eq!(host.backend.alive().await.expect("a list"), [session(1)]);
    host.finish().await;
}

#[tokio::test]
async fn a_supervisor_that_dies_before_it_speaks_is_started_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (script, mark) = (dir.path().join("dies-once"), dir.path().join("died"));
    let text = format!(
        "#!/bin/bash\n[ -e '{mark}' ] || {{ : > '{mark}'; exit 0; }}\n\
         exec -a tenure-sandbox-${{TENURE_SANDBOX_ERRAND:+errand}}${{TENURE_SANDBOX_CONFIG:+supervisor}} '{guest}' \"$@\"\n",
        mark = mark.display(),
        guest = guest().display()
    );
    std::fs::write(&script, text).expect("written");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("changed");
    let host = Host::with(|config| config.executable = Some(script));
    run(&host.open(session(1)).await, 1, shell("true")).await;
    assert!(mark.exists());
    host.finish().await;
    // What never becomes one is named.
    let host = Host::with(|config| config.executable = Some("/bin/true".into()));
    let refused = host.backend.open(Spec::new(session(1))).await.expect_err("it is no supervisor");
    let why = std::error::Error::source(&refused).expect("a cause").to_string();
    assert!(why.contains("/bin/true did not become one"), "{why}");
}

#[tokio::test]
async fn who_only_looks_disturbs_nobody() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let looking = host.another();
    for _ in 0..3 {
        assert_eq!(looking.alive().await.expect("a list"), [session(1)]);
        assert_eq!(looking.leftovers(&[session(1)]).await.expect("a list").len(), 0);
    }
    assert_eq!(text(&run(&sandbox, 1, shell("echo here")).await), "here\n");
    assert!(host.backend.open(Spec::new(session(1))).await.is_ok_and(|opened| !opened.fresh));
    host.finish().await;
}

/// An order that was sent and not read, by a server that is gone, is in nobody's way, and is carried out once at most.
#[tokio::test]
async fn orders_in_flight_are_carried_out_once_or_dropped() {
    for _ in 0..4 {
        let mut host = Host::new();
        let sandbox = host.open(session(1)).await;
        let keeper = host.keepers()[0];
        signal(keeper, rustix::process::Signal::STOP);
        let work = || exec(&["sh", "-c", "echo ran >> log; echo result"]);
        let ordering = tokio::spawn(async move { sandbox.run(Order::new(call(1), work()), None).await });
        let journal = host.dir.path().join(format!("sessions/{}/calls/{}", session(1), call(1)));
        while std::fs::metadata(&journal).map_or(0, |found| found.len()) == 0 {
            tokio::task::yield_now().await;
        }
        ordering.abort();
        host.restarted();
        let backend = Arc::clone(&host.backend);
        let judging = tokio::spawn(async move {
            let sandbox = backend.open(Spec::new(session(1))).await?.sandbox;
            judge(&sandbox, 1, work()).await
        });
        tokio::task::yield_now().await;
        signal(keeper, rustix::process::Signal::CONT);
        let end = judging.await.expect("no panic");
        assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "result\n"), "{end:?}");
        assert_eq!(host.lines_of(session(1), "log"), 1);
        host.finish().await;
    }
}

#[tokio::test]
async fn calls_that_are_over_are_ended_and_forgotten_by_the_next_server() {
    let mut host = Host::new();
    leave_running(&mut host).await;
    host.restarted();
    let journals = |host: &Host| {
        let calls = host.dir.path().join(format!("sessions/{}/calls", session(1)));
        std::fs::read_dir(calls).expect("a directory").count()
    };
    assert_eq!(journals(&host), 2, "the one that runs, and one whose result was stored without being acknowledged");
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 3, shell("echo kept")).await;
    // The log says: call 1 goes on.
    sandbox.settle(&[call(1)]).await.expect("settled");
    assert_eq!(journals(&host), 2, "the one that runs, and one of this server");
    // And later, after a further restart: it was cancelled.
    host.restarted();
    let sandbox = host.open(session(1)).await;
    sandbox.settle(&[call(3)]).await.expect("settled");
    assert_eq!(journals(&host), 1);
    let left = run(&sandbox, 4, exec(&["sh", "-c", "while pgrep -c sleep > /dev/null; do :; done; cat log"])).await;
    assert_eq!(text(&left), "ran\n", "it was killed");
    let end = judge(&sandbox, 3, shell("echo again")).await;
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if text(exit) == "kept\n"), "{end:?}");
    host.finish().await;
}

#[tokio::test]
async fn a_running_call_outlasts_the_time_without_a_server() {
    let mut host = Host::with(|config| config.linger = Duration::ZERO);
    leave_running(&mut host).await;
    let supervisor = host.supervisor();
    host.alone();
    // It looks now and then whether a call is running. Let it look.
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{supervisor}/status")).expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:").map(str::trim));
        line.and_then(|count| count.parse::<u64>().ok()).expect("a number")
    };
    let before = switches();
    while switches() < before + 4 {
        tokio::task::yield_now().await;
    }
    host.restarted();
    let opened = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
    assert!(!opened.fresh);
    let_go(&host).await;
    assert_it_ran_once(&host, &opened.sandbox).await;
    drop(opened);
    let ended = crate::host::wait_for_end(supervisor);
    host.alone();
    ended.await.expect("it ends, now that nothing runs");
    host.restarted();
    host.finish().await;
}

/// One version apart, everything goes on.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn neighbouring_versions_work_together() {
    for (first, second) in [("2-2", "2-3"), ("2-3", "2-2"), ("2-3", "3-4"), ("3-4", "2-3")] {
        let mut host = Host::with(|config| config.versions = Some(first.to_owned()));
        leave_running(&mut host).await;
        host.restarted_with(|config| config.versions = Some(second.to_owned()));
        assert_eq!(host.backend.alive().await.expect("a list"), [session(1)], "{first} and {second}");
        let opened = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
        assert!(!opened.fresh, "{first} and {second}");
        let_go(&host).await;
        assert_it_ran_once(&host, &opened.sandbox).await;
        host.finish().await;
    }
}

/// Further apart, a sandbox ends once its call has come to its end, and the call's result is taken up.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn sandboxes_of_a_strange_version_are_drained_at_idle() {
    for strange in ["4-5", "2-2"] {
        let mut host = Host::with(|config| config.versions = Some(strange.to_owned()));
        leave_running(&mut host).await;
        drop(host.open(session(2)).await);
        host.restarted_with(|config| {
            config.versions = (strange == "2-2").then(|| "4-5".to_owned());
        });
        assert_eq!(host.backend.alive().await.expect("a list"), [], "none that could be used");
        let old = host.supervisor();
        let backend = Arc::clone(&host.backend);
        let opening = tokio::spawn(async move { backend.open(Spec::new(session(2))).await });
        // The idle one ends at once, the other doesn't.
        let group = format!("sessions/{}/keeper.sock", session(2));
        while host.keepers().len() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(host.dir.path().join(group).exists(), "its files stay");
        assert!(!opening.is_finished());
        let_go(&host).await;
        let opened = opening.await.expect("no panic").expect("a sandbox");
        assert!(opened.fresh && host.supervisor() != old);
        let sandbox = host.open(session(1)).await;
        assert_it_ran_once(&host, &sandbox).await;
        host.finish().await;
    }
}

/// A supervisor that is too old to be drained is left alone, and named; `tenure down` can end it.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_supervisor_too_old_to_be_drained_is_named() {
    let mut host = Host::with(|config| config.versions = Some("1-1".to_owned()));
    leave_running(&mut host).await;
    host.restarted_with(|config| config.versions = Some("3-4".to_owned()));
    let refused = host.backend.open(Spec::new(session(1))).await;
    assert!(matches!(refused, Err(Error::Incompatible { theirs_min: 1, theirs_max: 1, .. })), "{refused:?}");
    assert_eq!(host.keepers().len(), 1);
    host.backend.shutdown().await.expect("shut down");
    let sandbox = host.open(session(1)).await;
    let end = judge(&sandbox, 1, exec(&["false"])).await;
    assert!(matches!(end, Ok(CallEnd::Interrupted { .. })), "{end:?}");
    host.finish().await;
}

/// A new server on the directory of another.
impl Host {
    fn another(&self) -> Arc<dyn Backend> {
        Arc::new(Native::new(self.config()))
    }
}

#[tokio::test]
async fn sandboxes_of_two_supervisors_are_different_users() {
    needs_root("an ordinary user's sandboxes have no users of their own");
    let hosts = [Host::new(), Host::new()];
    let mut users = Vec::new();
    for host in &hosts {
        for n in 1..3 {
            host.open(session(n)).await;
        }
        users.extend(host.keepers().into_iter().map(first_user));
    }
    assert_eq!(users.len(), 4);
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 4, "{users:?}");
    for host in hosts {
        host.finish().await;
    }
}
