//! Limits: enforced, reported, and refused where they can't be had.

use tenure_sandbox::{Error, Limits, Spec, Work};

use crate::host::{Host, exec, run, session, shell, text};

fn spec(limits: Limits) -> Spec {
    Spec { limits, ..Spec::new(session(1)) }
}

#[tokio::test]
async fn lack_of_memory_kills_the_tool_and_not_the_record() {
    let host = Host::new();
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let opened = host.backend.open(spec(limits)).await.expect("a sandbox");
    assert_eq!(opened.limits.memory_bytes, Some(64 << 20));
    let sandbox = opened.sandbox;
    run(&sandbox, 1, shell("x=kept")).await;
    let hogs = [
        Work::Op { name: "hog".to_owned(), input: Vec::new() },
        exec(&["perl", "-e", "my @a; push @a, 'x' x (1<<20) while 1"]),
        shell("perl -e 'my @a; push @a, \"x\" x (1<<20) while 1'"),
    ];
    for (n, hog) in hogs.into_iter().enumerate() {
        let exit = run(&sandbox, 10 + n as u128, hog).await;
        assert!(exit.out_of_memory && exit.code != Some(0), "{exit:?}");
    }
    let exit = run(&sandbox, 20, shell("echo $x")).await;
    assert!(!exit.out_of_memory && text(&exit) == "kept\n", "{exit:?}");
    host.finish().await;
}

#[tokio::test]
async fn files_in_memory_count() {
    let host = Host::new();
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let sandbox = host.backend.open(spec(limits)).await.expect("a sandbox").sandbox;
    let exit = run(
        &sandbox,
        1,
        exec(&["sh", "-c", "head -c 200m /dev/zero > /tmp/big || head -c 200m /dev/zero > /dev/shm/big"]),
    )
    .await;
    assert_ne!(exit.code, Some(0));
    run(&sandbox, 2, exec(&["rm", "-f", "/tmp/big", "/dev/shm/big"])).await;
    assert_eq!(text(&run(&sandbox, 3, exec(&["echo", "fine"])).await), "fine\n");
    host.finish().await;
}

#[tokio::test]
async fn a_fork_bomb_is_contained_and_can_be_cancelled() {
    let host = Host::new();
    let limits = Limits { pids: Some(40), ..Limits::default() };
    let sandbox = host.backend.open(spec(limits)).await.expect("a sandbox").sandbox;
    let mut order = tenure_sandbox::Order::new(
        crate::host::call(1),
        exec(&["bash", "-c", "b() { b | b & }; b 2>/dev/null; sleep 1000"]),
    );
    order.timeout = Some(std::time::Duration::from_millis(500));
    let end = sandbox.run(order, None).await.expect("a result");
    assert!(matches!(&end, tenure_sandbox::CallEnd::Exited(exit) if exit.timed_out), "{end:?}");
    assert_eq!(text(&run(&sandbox, 2, exec(&["echo", "fine"])).await), "fine\n");
    host.finish().await;
}

#[tokio::test]
async fn processor_time_is_limited() {
    let host = Host::new();
    let limits = Limits { cpu_millis: Some(200), ..Limits::default() };
    let opened = host.backend.open(spec(limits)).await.expect("a sandbox");
    assert_eq!(opened.limits.cpu_millis, Some(200));
    // What a test may not measure, a program inside may: a fifth of the time at most, with room for noise.
    let script = "my $c = (times)[0]; my $t = time + 2; 1 while time < $t; my $u = (times)[0] - $c; print $u < 1.2 ? \"throttled\\n\" : \"$u\\n\"";
    let exit = run(&opened.sandbox, 1, exec(&["perl", "-e", script])).await;
    assert_eq!(text(&exit), "throttled\n");
    host.finish().await;
}

#[tokio::test]
async fn a_limit_that_cannot_be_had_is_an_error_and_a_default_is_said_to_be_missing() {
    let host = Host::with(|config| config.cgroups = false);
    let opened = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
    assert_eq!((opened.limits.memory_bytes, opened.limits.missing.len()), (None, 2), "{:?}", opened.limits);
    let limits = Limits { pids: Some(10), ..Limits::default() };
    let refused = host.backend.open(Spec { limits, ..Spec::new(session(2)) }).await;
    assert!(matches!(refused, Err(Error::Unenforceable { what: "pids", .. })), "{refused:?}");
    assert!(!host.backend.alive().await.expect("a list").contains(&session(2)));
    host.finish().await;
}
