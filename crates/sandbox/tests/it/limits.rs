//! Limits: enforced, reported, and refused where they can't be had.

use std::sync::Arc;

use tenure_sandbox::{CallEnd, Error, Exit, Limit, Limits, Order, Reached, Sandbox, Spec, Usage, Work};

use crate::host::{Host, call, exec, is_root, needs_cgroups, run, session, shell, text};

/// Why a test needs root.
const CGROUPS: &str = "limits take cgroups, and those of most hosts are root's";

fn spec(limits: Limits) -> Spec {
    Spec { limits, ..Spec::new(session(1)) }
}

#[tokio::test]
async fn lack_of_memory_kills_the_tool_and_not_the_record() {
    needs_cgroups(CGROUPS);
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
        assert_eq!(exit.reached, [Reached { limit: Limit::Memory, most: 64 << 20, ended: true, refused: 0 }]);
    }
    let exit = run(&sandbox, 20, shell("echo $x")).await;
    assert!(!exit.out_of_memory && text(&exit) == "kept\n", "{exit:?}");
    host.finish().await;
}

#[tokio::test]
async fn files_in_memory_count() {
    needs_cgroups(CGROUPS);
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
    needs_cgroups(CGROUPS);
    let host = Host::new();
    let limits = Limits { pids: Some(40), ..Limits::default() };
    let sandbox = host.backend.open(spec(limits)).await.expect("a sandbox").sandbox;
    let mut order = Order::new(call(1), exec(&["bash", "-c", "b() { b | b & }; b 2>/dev/null; sleep 1000"]));
    order.timeout = Some(std::time::Duration::from_millis(500));
    let end = sandbox.run(order, None).await.expect("a result");
    let is_told = |reached: &[Reached]| match reached {
        [Reached { limit: Limit::Pids, most: 40, ended: false, refused }] => *refused > 0,
        _ => false,
    };
    let told = |exit: &Exit| exit.timed_out && is_told(&exit.reached);
    assert!(matches!(&end, CallEnd::Exited(exit) if told(exit)), "{end:?}");
    let after = run(&sandbox, 2, exec(&["echo", "fine"])).await;
    assert_eq!((text(&after).as_str(), &after.reached), ("fine\n", &Vec::new()));
    host.finish().await;
}

#[tokio::test]
async fn processor_time_is_limited() {
    needs_cgroups(CGROUPS);
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
    // What an ordinary user's sandboxes count by themselves needs no cgroup.
    let missing = if is_root() { 2 } else { 1 };
    assert_eq!((opened.limits.memory_bytes, opened.limits.missing.len()), (None, missing), "{:?}", opened.limits);
    let limits = Limits { memory_bytes: Some(64 << 20), ..Limits::default() };
    let refused = host.backend.open(Spec { limits, ..Spec::new(session(2)) }).await;
    assert!(matches!(refused, Err(Error::Unenforceable { what: "memory", .. })), "{refused:?}");
    assert!(!host.backend.alive().await.expect("a list").contains(&session(2)));
    host.finish().await;
}

/// Each sandbox's for itself, whatever else the user runs.
#[tokio::test]
async fn without_cgroups_an_ordinary_users_processes_are_limited_too() {
    if is_root() {
        return;
    }
    let host = Host::with(|config| config.cgroups = false);
    let limits = Limits { pids: Some(40), ..Limits::default() };
    let mut counted = Vec::new();
    for n in [1, 2] {
        let opened = host.backend.open(Spec { limits, ..Spec::new(session(n)) }).await.expect("a sandbox");
        assert_eq!(opened.limits.pids, Some(40));
        // The program, what is above it and the executor are of the number; the children stay until the next call.
        let script = "$n = 0; while (defined($p = fork)) { if (!$p) { sleep 1000; exit } last if ++$n == 60 } print $n, ' ', $! + 0";
        counted.push(text(&run(&opened.sandbox, 1, exec(&["perl", "-e", script])).await));
        run(&opened.sandbox, 2, exec(&["pkill", "perl"])).await;
    }
    for counted in counted {
        let (forked, error) = counted.split_once(' ').expect("two numbers");
        let forked: u32 = forked.parse().expect("a number");
        assert!((30..40).contains(&forked) && error == "11", "{forked} {error}");
    }
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
    needs_cgroups(CGROUPS);
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

#[tokio::test]
async fn limits_are_changed_while_a_sandbox_works() {
    needs_cgroups(CGROUPS);
    let host = Host::new();
    let first = Limits { memory_bytes: Some(256 << 20), pids: Some(40), ..Limits::default() };
    let sandbox = host.backend.open(spec(first)).await.expect("a sandbox").sandbox;
    run(&sandbox, 1, shell("x=kept; head -c 60M /dev/zero > /tmp/held")).await;

    let low = host.backend.change_limits(session(1), Limits { memory_bytes: Some(32 << 20), ..first }).await;
    assert!(matches!(&low, Err(Error::Invalid(why)) if why.starts_with("memory_bytes: the sandbox uses ")), "{low:?}");
    let usage = host.backend.usage(session(1)).await.expect("told");
    assert_eq!(usage.limits.expect("they hold").memory_bytes, Some(256 << 20), "nothing has changed");
    assert!(usage.memory_bytes >= Some(60 << 20) && usage.memory_peak_bytes >= usage.memory_bytes);

    run(&sandbox, 2, exec(&["rm", "/tmp/held"])).await;
    let less = Limits {
        memory_bytes: Some(64 << 20),
        cpu_millis: Some(200),
        pids: Some(20),
        disk_bytes: Some(1 << 20),
        inodes: None,
        open_files: Some(300),
    };
    let applied = host.backend.change_limits(session(1), less).await.expect("changed").expect("it lives");
    assert_eq!((applied.memory_bytes, applied.cpu_millis, applied.pids), (Some(64 << 20), Some(200), Some(20)));
    let hog = run(&sandbox, 3, shell("perl -e 'my @a; push @a, \"x\" x (1<<20) while 1'")).await;
    assert_eq!(hog.reached, [Reached { limit: Limit::Memory, most: 64 << 20, ended: true, refused: 0 }]);
    let forks = "for (1..30) { my $p = fork; last unless defined $p; if (!$p) { sleep 100; exit } push @p, $p } kill 9, @p; waitpid $_, 0 for @p";
    let many = run(&sandbox, 4, exec(&["perl", "-e", forks])).await;
    // The first that is refused is the last that it tries.
    assert!(many.reached.contains(&Reached { limit: Limit::Pids, most: 20, ended: false, refused: 1 }), "{many:?}");
    let plain = exec(&["sh", "-c", "ulimit -Hn; truncate -s 2M long 2>/dev/null || echo refused"]);
    let plain = run(&sandbox, 5, plain).await;
    assert_eq!(text(&plain), "300\nrefused\n", "{plain:?}");
    let script = "my $c = (times)[0]; my $t = time + 2; 1 while time < $t; my $u = (times)[0] - $c; print $u < 1.2 ? \"throttled\\n\" : \"$u\\n\"";
    assert_eq!(text(&run(&sandbox, 6, exec(&["perl", "-e", script])).await), "throttled\n");

    let back = host.backend.change_limits(session(1), Limits::default()).await.expect("changed").expect("it lives");
    assert_eq!((back.memory_bytes, back.cpu_millis), (Some(Limits::DEFAULT_MEMORY_BYTES), None));
    let much = run(&sandbox, 7, shell("perl -e 'my $a = \"x\" x (100<<20); print length $a'; echo $x")).await;
    assert!(text(&much).starts_with("104857600"), "{much:?}");
    let nobody = host.backend.change_limits(session(2), less).await.expect("nothing to do");
    assert_eq!(nobody, None);
    host.finish().await;
}

#[tokio::test]
async fn what_a_session_uses_is_told() {
    needs_cgroups(CGROUPS);
    let host = Host::new();
    assert_eq!(host.backend.usage(session(1)).await.expect("told"), Usage::default(), "nothing was ever made");
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("sleep 1000 & head -c 3M /dev/zero > file")).await;
    let busy = exec(&["perl", "-e", "my $u; do { 1 for 1..10000; $u = (times)[0] } until $u > 0.3"]);
    run(&sandbox, 2, busy).await;
    let usage = host.backend.usage(session(1)).await.expect("told");
    assert!(usage.cpu_ms >= Some(300), "of what has ended, too: {usage:?}");
    assert!(usage.pids >= Some(3) && usage.memory_bytes > Some(100_000), "{usage:?}");
    let of_the_disk = |usage: &Usage| (usage.disk_bytes >= Some(3 << 20), usage.inodes > Some(2));
    assert_eq!(of_the_disk(&usage), (true, true), "{usage:?}");
    sandbox.stop(std::time::Duration::ZERO).await.expect("stopped");
    let stopped = host.backend.usage(session(1)).await.expect("told");
    assert_eq!((stopped.memory_bytes, stopped.limits.clone()), (None, None));
    assert_eq!(of_the_disk(&stopped), (true, true), "{stopped:?}");
    host.finish().await;
}

#[tokio::test]
async fn a_sandbox_for_a_larger_machine_is_refused_and_leaves_nothing() {
    let host = Host::new();
    let most = host.backend.most().await;
    let more = |number: Option<u64>| number.map(|number| number + 1);
    let small = |number: Option<u32>| number.map(|number| number + 1);
    for (field, limits) in [
        ("memory_bytes", Limits { memory_bytes: more(most.memory_bytes), ..Limits::default() }),
        ("cpu_millis", Limits { cpu_millis: small(most.cpu_millis), ..Limits::default() }),
        ("pids", Limits { pids: small(most.pids), ..Limits::default() }),
        ("disk_bytes", Limits { disk_bytes: more(most.disk_bytes), ..Limits::default() }),
        ("open_files", Limits { open_files: small(most.open_files), ..Limits::default() }),
    ] {
        match host.backend.open(spec(limits)).await {
            Err(Error::Invalid(why)) => {
                assert!(why.starts_with(&format!("limits.{field}: expected at most ")), "{why}");
                assert!(why.contains("tenure sessions limits"), "{why}");
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(host.backend.sessions().await.expect("a list"), []);
    // What a machine of that size could have limited is no hindrance to one with none.
    let sandbox = host.open(session(1)).await;
    assert_eq!(text(&run(&sandbox, 1, exec(&["echo", "fine"])).await), "fine\n");
    host.finish().await;
}

/// Ended by its time, and not by the test's patience.
async fn is_timed_out(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) {
    let mut order = Order::new(call(n), work);
    order.timeout = Some(std::time::Duration::from_millis(50));
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), sandbox.run(order, None)).await;
    let ended = ended.expect("it ends").expect("a result");
    assert!(matches!(&ended, CallEnd::Exited(exit) if exit.timed_out), "{ended:?}");
}

/// Tools are the user that what forks them is, and may stop it.
#[tokio::test]
async fn calls_end_in_time_though_a_tool_has_stopped_what_forks_them() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    // Of the fourth field of its parent's, which is above this tool alone.
    let stop = "kill -STOP $(sed 's/.*) //' /proc/$PPID/stat | cut -d' ' -f2)";
    let calls = [shell("sleep 1000"), exec(&["sleep", "1000"])];
    for (n, work) in (1..).zip(calls) {
        let stopped = run(&sandbox, 10 * n, exec(&["sh", "-c", stop])).await;
        assert_eq!(text(&stopped), "");
        is_timed_out(&sandbox, 10 * n + 1, work).await;
        assert_eq!(text(&run(&sandbox, 10 * n + 2, exec(&["echo", "fine"])).await), "fine\n");
        assert_eq!(text(&run(&sandbox, 10 * n + 3, shell("echo fine")).await), "fine\n");
    }
    host.finish().await;
}
