//! Limits of what a session has on the disk, where the file system has no quota: they are held by looking.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallEnd, Exit, Limit, Limits, Order, Reached, Sandbox, Spec, Work};

use crate::host::{Host, call, exec, run, session, shell, text, wait_for_end};

const MIB: u64 = 1 << 20;

/// How long a test waits for what ought to have happened long ago, before it fails.
const TOO_LONG: Duration = Duration::from_secs(60);

async fn open(host: &Host, limits: Limits) -> Arc<dyn Sandbox> {
    host.backend.open(Spec { limits, ..Spec::new(session(1)) }).await.expect("a sandbox").sandbox
}

/// Runs what never ends by itself.
async fn run_endless(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) -> Exit {
    let mut order = Order::new(call(n), work);
    order.timeout = Some(TOO_LONG);
    match sandbox.run(order, None).await.expect("a result") {
        CallEnd::Exited(exit) => exit,
        CallEnd::Interrupted { reason } => panic!("interrupted: {reason}"),
    }
}

fn told(limit: Limit, most: u64, ended: bool) -> [Reached; 1] {
    [Reached { limit, most, ended, refused: 0 }]
}

/// As soon as enough is removed, files may grow again; until then they may not.
const WRITE_AGAIN: &str = "until echo again > again; do sleep 0.02; done 2>/dev/null; cat again";

#[tokio::test]
async fn a_call_that_fills_the_disk_is_ended_and_files_can_then_only_be_removed() {
    let host = Host::new();
    let sandbox = open(&host, Limits { disk_bytes: Some(32 * MIB), ..Limits::default() }).await;
    run(&sandbox, 1, shell("x=kept; mkdir full; sleep 1000 & sleep=$!")).await;
    let fills = [
        shell("n=0; while :; do n=$((n+1)); head -c 1M /dev/zero > full/$n; done"),
        exec(&["perl", "-e", "while (1) { $n++; open(my $f, '>', \"full/$n\"); print $f 'x' x (1 << 20) }"]),
        // What has no name takes as much.
        exec(&[
            "perl",
            "-e",
            "while (1) { open(my $f, '>', 'full/x'); unlink('full/x'); push @f, $f; syswrite $f, 'x' x (1 << 20) }",
        ]),
    ];
    for (at, fill) in fills.into_iter().enumerate() {
        let n = 10 * (at as u128 + 1);
        let ended = run_endless(&sandbox, n, fill).await;
        assert_eq!(
            (ended.timed_out, ended.reached.as_slice()),
            (false, &told(Limit::Disk, 32 * MIB, true)[..]),
            "{ended:?}"
        );
        if at < 2 {
            let more = run(&sandbox, n + 1, exec(&["sh", "-c", "echo more > full/more"])).await;
            assert!(more.code != Some(0) && more.reached == told(Limit::Disk, 32 * MIB, false), "{more:?}");
        }
        run(&sandbox, n + 2, exec(&["rm", "-rf", "full"])).await;
        let again = run_endless(&sandbox, n + 3, exec(&["sh", "-c", WRITE_AGAIN])).await;
        assert_eq!(text(&again), "again\n", "{again:?}");
        run(&sandbox, n + 4, exec(&["mkdir", "full"])).await;
    }
    let fine = run(&sandbox, 100, shell("echo fine > file; cat file")).await;
    assert_eq!((text(&fine).as_str(), fine.reached.len()), ("fine\n", 0), "{fine:?}");
    host.finish().await;
}

#[tokio::test]
async fn so_many_files_and_no_more() {
    let host = Host::new();
    let sandbox = open(&host, Limits { inodes: Some(500), ..Limits::default() }).await;
    let ended =
        run_endless(&sandbox, 1, exec(&["perl", "-e", "mkdir 'd'; while (1) { $n++; open(my $f, '>', \"d/$n\") }"]))
            .await;
    assert_eq!((ended.timed_out, ended.reached.as_slice()), (false, &told(Limit::Inodes, 500, true)[..]), "{ended:?}");
    run(&sandbox, 2, exec(&["rm", "-rf", "d"])).await;
    assert_eq!(text(&run_endless(&sandbox, 3, exec(&["sh", "-c", WRITE_AGAIN])).await), "again\n");
    host.finish().await;
}

#[tokio::test]
async fn what_fills_the_disk_between_calls_is_ended_and_the_next_call_is_told() {
    let host = Host::new();
    let sandbox = open(&host, Limits { disk_bytes: Some(16 * MIB), ..Limits::default() }).await;
    let fill = "(n=0; while :; do n=$((n+1)); head -c 1M /dev/zero > f$n; sleep 0.02; done) & echo $! > /tmp/filler";
    run(&sandbox, 1, shell(&format!("x=kept; {fill}"))).await;
    // It is over when the process is gone.
    let wait = "while kill -0 $(cat /tmp/filler); do sleep 0.02; done 2>/dev/null";
    let gone = run_endless(&sandbox, 2, exec(&["sh", "-c", wait])).await;
    let next = run_endless(&sandbox, 3, shell("rm -f f*; echo $x")).await;
    let all: Vec<Reached> = gone.reached.iter().chain(&next.reached).copied().collect();
    assert!(all.contains(&told(Limit::Disk, 16 * MIB, true)[0]), "{gone:?} {next:?}");
    host.finish().await;
}

#[tokio::test]
async fn the_last_of_the_hosts_disk_is_left_to_it() {
    let host = Host::with(|config| config.disk_floor_bytes = Some(u64::MAX >> 8));
    let sandbox = open(&host, Limits::default()).await;
    let refused = run_endless(
        &sandbox,
        1,
        exec(&["sh", "-c", "while echo more > more; do sleep 0.02; done 2>/dev/null; echo lives"]),
    )
    .await;
    let lives = text(&refused);
    assert!(lives.ends_with("lives\n") && refused.code == Some(0), "what computes goes on: {refused:?}");
    assert_eq!(refused.reached, told(Limit::HostDisk, 0, false));
    host.finish().await;
}

/// Whether a process is stopped.
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

#[tokio::test]
async fn a_supervisor_that_ends_waits_for_no_count() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("mkdir many; echo one > many/one")).await;
    sandbox.stop(Duration::ZERO).await.expect("stopped");
    let many = host.dir.path().join(format!("sessions/{}/layer/root/workspace/many", session(1)));
    for n in 0..20_000 {
        std::fs::hard_link(many.join("one"), many.join(n.to_string())).expect("linked");
    }
    let counting = tokio::spawn({
        let backend = Arc::clone(&host.backend);
        async move { while backend.usage(session(1)).await.is_ok_and(|usage| usage.inodes.is_some()) {} }
    });
    // A count that doesn't come to an end by itself.
    let stopped = loop {
        let helpers = host.helpers();
        let stop = |pid: &i32| {
            let pid = rustix::process::Pid::from_raw(*pid)?;
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).ok()
        };
        match helpers.first().filter(|pid| stop(pid).is_some() && is_stopped(**pid)) {
            Some(pid) => break *pid,
            None => tokio::task::yield_now().await,
        }
    };
    let end = wait_for_end(stopped);
    host.backend.shutdown().await.expect("shut down");
    end.await.expect("it is no more");
    counting.await.expect("no panic");
    host.finish().await;
}
