//! Limits: enforced, reported, and refused where they can't be had.

use tenure_sandbox::{Error, Exit, Limit, Limits, Reached, Spec, Work};

use crate::host::{Host, exec, needs_root, run, session, shell, text};

/// Why a test needs root.
const CGROUPS: &str = "limits take cgroups, and those of most hosts are root's";

fn spec(limits: Limits) -> Spec {
    Spec { limits, ..Spec::new(session(1)) }
}

#[tokio::test]
async fn lack_of_memory_kills_the_tool_and_not_the_record() {
    needs_root(CGROUPS);
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
        assert_eq!(exit.reached, [Reached { limit: Limit::Memory, most: 64 << 20, ended: true }]);
    }
    let exit = run(&sandbox, 20, shell("echo $x")).await;
    assert!(!exit.out_of_memory && text(&exit) == "kept\n", "{exit:?}");
    host.finish().await;
}

#[tokio::test]
async fn files_in_memory_count() {
    needs_root(CGROUPS);
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
    needs_root(CGROUPS);
    let host = Host::new();
    let limits = Limits { pids: Some(40), ..Limits::default() };
    let sandbox = host.backend.open(spec(limits)).await.expect("a sandbox").sandbox;
    let mut order = tenure_sandbox::Order::new(
        crate::host::call(1),
        exec(&["bash", "-c", "b() { b | b & }; b 2>/dev/null; sleep 1000"]),
    );
    order.timeout = Some(std::time::Duration::from_millis(500));
    let end = sandbox.run(order, None).await.expect("a result");
    let reached = Reached { limit: Limit::Pids, most: 40, ended: false };
    let told = |exit: &Exit| exit.timed_out && exit.reached == [reached];
    assert!(matches!(&end, tenure_sandbox::CallEnd::Exited(exit) if told(exit)), "{end:?}");
    let after = run(&sandbox, 2, exec(&["echo", "fine"])).await;
    assert_eq!((text(&after).as_str(), &after.reached), ("fine\n", &Vec::new()));
    host.finish().await;
}

#[tokio::test]
async fn processor_time_is_limited() {
    needs_root(CGROUPS);
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

#[tokio::test]
async fn a_process_has_so_many_files_open_and_cannot_raise_it() {
    let host = Host::new();
    let limits = Limits { open_files: Some(300), ..Limits::default() };
    let opened = host.backend.open(spec(limits)).await.expect("a sandbox");
    assert_eq!(opened.limits.open_files, Some(300));
    let script = "my @f; while (open(my $f, '<', '/dev/null')) { push @f, $f } print scalar(@f), \" $!\\n\"";
    let raised =
        shell("ulimit -n 301 2>/dev/null || echo refused; ulimit -Hn 301 2>/dev/null || echo refused; ulimit -Hn");
    for (n, work, expected) in
        [(1, exec(&["perl", "-e", script]), "297 Too many open files\n"), (2, raised, "refused\nrefused\n300\n")]
    {
        assert_eq!(text(&run(&opened.sandbox, n, work).await), expected);
    }
    let usual = host.backend.open(Spec::new(session(2))).await.expect("a sandbox");
    let most = usual.limits.open_files.expect("there is a default");
    let said = text(&run(&usual.sandbox, 1, shell("ulimit -Sn; ulimit -Hn")).await);
    assert_eq!(said, format!("1024\n{most}\n"));
    host.finish().await;
}

#[tokio::test]
async fn files_in_memory_are_so_many() {
    needs_root(CGROUPS);
    let host = Host::new();
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let sandbox = host.backend.open(spec(limits)).await.expect("a sandbox").sandbox;
    for (n, (dir, most)) in [("/tmp", 8192), ("/dev/shm", 4096)].into_iter().enumerate() {
        let script = format!(
            "my $n = 0; while (open(my $f, '>', \"{dir}/$n\")) {{ $n++ }} print \"$!\\n\"; unlink <{dir}/*>; exit($n < {most} ? 0 : 1)"
        );
        let exit = run(&sandbox, n as u128, exec(&["perl", "-e", &script])).await;
        assert_eq!((text(&exit).as_str(), exit.code), ("No space left on device\n", Some(0)), "{dir}");
    }
    host.finish().await;
}

#[tokio::test]
async fn a_file_is_no_longer_than_all_may_be_and_who_writes_it_lives() {
    let host = Host::new();
    let limits = Limits { disk_bytes: Some(1 << 20), ..Limits::default() };
    let opened = host.backend.open(spec(limits)).await.expect("a sandbox");
    assert_eq!(opened.limits.disk_bytes, Some(1 << 20));
    let long = "truncate -s 1M sparse && echo made; truncate -s 1048577 longer || echo refused; echo alive";
    let exit = run(&opened.sandbox, 1, shell(&format!("exec 2>/dev/null; {long}"))).await;
    assert_eq!(text(&exit), "made\nrefused\nalive\n", "{exit:?}");
    host.finish().await;
}
