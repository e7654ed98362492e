//! What every backend must do. Each test takes any [`Backend`](tenure_sandbox::Backend); today there is one.

use std::time::Duration;

use tenure_sandbox::{CallEnd, Error, LostReason, Order, Spec, Work};
use tokio::sync::mpsc;

use crate::host::{Host, call, exec, is_root, left_of, run, session, shell, text};

#[tokio::test]
async fn a_program_runs_and_its_result_comes_back() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 1, exec(&["sh", "-c", "id -un; pwd; echo oops >&2; exit 3"])).await;
    assert_eq!((exit.code, text(&exit).as_str()), (Some(3), "agent\n/workspace\noops\n"));
    let exit = run(&sandbox, 2, exec(&["sh", "-c", "kill -SEGV $$"])).await;
    assert_eq!((exit.code, exit.signal), (None, Some(11)));
    host.finish().await;
}

#[tokio::test]
async fn programs_get_their_input_variables_and_directory() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let env = vec![("GREETING".to_owned(), "hi there".to_owned()), ("TERM".to_owned(), "other".to_owned())];
    let argv = ["sh", "-c", "cat; echo $GREETING $TERM $HOME; pwd; cat /dev/stdin"].map(str::to_owned).to_vec();
    let work = Work::Exec { argv: argv.clone(), env: env.clone(), cwd: "/tmp".to_owned(), stdin: b"given\n".to_vec() };
    let exit = run(&sandbox, 1, work).await;
    assert_eq!(text(&exit), "given\nhi there other /home/agent\n/tmp\ngiven\n", "opened anew, it is there again");
    let exit = run(&sandbox, 2, Work::Exec { argv, env, cwd: "/tmp".to_owned(), stdin: Vec::new() }).await;
    assert_eq!(text(&exit), "hi there other /home/agent\n/tmp\n", "and there is no more than that");
    let large: Vec<u8> = (0..3_000_000u32).map(|n| n as u8).collect();
    let argv = ["sh", "-c", "cmp - /dev/stdin && wc -c < /dev/stdin"].map(str::to_owned).to_vec();
    let exit = run(&sandbox, 3, Work::Exec { argv, env: Vec::new(), cwd: "/tmp".to_owned(), stdin: large }).await;
    assert_eq!(text(&exit), "3000000\n");
    host.finish().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 1, exec(&["no-such-program"])).await;
    assert_eq!((exit.code, text(&exit).as_str()), (Some(127), "no-such-program: no such program\n"));
    let nowhere =
        Work::Exec { argv: vec!["ls".to_owned()], env: Vec::new(), cwd: "/nowhere".to_owned(), stdin: Vec::new() };
    let exit = run(&sandbox, 2, nowhere).await;
    assert_eq!(exit.code, Some(126));
    assert!(text(&exit).starts_with("can't enter /nowhere: "), "{}", text(&exit));
    let exit = run(&sandbox, 3, exec(&["/etc/passwd"])).await;
    assert_eq!(exit.code, Some(126));
    for (n, bad) in [exec(&[]), shell("a\0b"), exec(&["echo", "a\0b"])].into_iter().enumerate() {
        let refused = sandbox.run(Order::new(call(10 + n as u128), bad), None).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    host.finish().await;
}

#[tokio::test]
async fn ops_run_inside_with_input_of_any_size() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let op = |name: &str, input: Vec<u8>| Work::Op { name: name.to_owned(), input };
    let input: Vec<u8> = (0..5_000_000u32).map(|n| n as u8).collect();
    let mut order = Order::new(call(1), op("echo", input.clone()));
    order.output_cap_bytes = input.len();
    let CallEnd::Exited(exit) = sandbox.run(order, None).await.expect("a result") else { panic!("interrupted") };
    assert!(exit.stdout == input && !exit.truncated && exit.code == Some(0));
    assert_eq!(run(&sandbox, 2, op("unknown", Vec::new())).await.code, Some(127));
    let exit = run(&sandbox, 3, op("panic", Vec::new())).await;
    assert_eq!(exit.code, Some(101));
    assert!(text(&exit).contains("as asked"), "{}", text(&exit));
    host.finish().await;
}

#[tokio::test]
async fn output_keeps_its_head_and_tail() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, work) in [exec(&["seq", "1", "100000"]), shell("seq 1 100000")].into_iter().enumerate() {
        let mut order = Order::new(call(n as u128 + 1), work);
        order.output_cap_bytes = 20;
        let CallEnd::Exited(exit) = sandbox.run(order, None).await.expect("a result") else { panic!("interrupted") };
        assert_eq!(text(&exit), "1\n2\n3\n4\n5\n99\n100000\n");
        assert!(exit.truncated);
        assert_eq!(exit.omitted_bytes, 588_895 - 20);
    }
    host.finish().await;
}

#[tokio::test]
async fn progress_shows_all_output_as_it_comes() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, work) in
        [exec(&["sh", "-c", "echo one; read x < /tmp/go; echo $x"]), shell("echo one; read x < /tmp/go; echo $x")]
            .into_iter()
            .enumerate()
    {
        let n = n as u128 * 10;
        run(&sandbox, n + 1, exec(&["mkfifo", "/tmp/go"])).await;
        let (sender, mut progress) = mpsc::channel(16);
        let order = Order::new(call(n + 2), work);
        let running = sandbox.run(order, Some(sender));
        let releasing = async {
            // The call has not ended when its first output arrives.
            assert_eq!(progress.recv().await.expect("output"), b"one\n");
            run(&sandbox, n + 3, exec(&["sh", "-c", "echo two > /tmp/go"])).await;
            assert_eq!(progress.recv().await.expect("output"), b"two\n");
        };
        let (end, ()) = tokio::join!(running, releasing);
        assert!(matches!(end, Ok(CallEnd::Exited(exit)) if text(&exit) == "one\ntwo\n"));
        run(&sandbox, n + 4, exec(&["rm", "/tmp/go"])).await;
    }
    host.finish().await;
}

#[tokio::test]
async fn a_repeated_order_gives_the_result_it_had() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let append = || shell("echo x >> log; wc -l < log");
    assert_eq!(text(&run(&sandbox, 1, append()).await), "1\n");
    assert_eq!(text(&run(&sandbox, 1, append()).await), "1\n");
    sandbox.acknowledge(call(1)).await.expect("acknowledged");
    sandbox.acknowledge(call(1)).await.expect("twice is no error");
    assert_eq!(text(&run(&sandbox, 2, append()).await), "2\n");
    // Two at once wait for one run.
    let (one, other) = tokio::join!(run(&sandbox, 3, append()), run(&sandbox, 3, append()));
    assert_eq!((text(&one), text(&other)), ("3\n".to_owned(), "3\n".to_owned()));
    host.finish().await;
}

#[tokio::test]
async fn calls_run_side_by_side() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, exec(&["mkfifo", "/tmp/p"])).await;
    let (read, wrote) =
        tokio::join!(run(&sandbox, 2, exec(&["cat", "/tmp/p"])), run(&sandbox, 3, shell("echo across > /tmp/p")));
    assert_eq!((text(&read).as_str(), wrote.code), ("across\n", Some(0)));
    host.finish().await;
}

#[tokio::test]
async fn files_survive_a_stop_and_memory_does_not() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("x=1; echo kept > note; echo kept > ~/note; echo gone > /tmp/note")).await;
    sandbox.stop(Duration::from_secs(5)).await.expect("stopped");
    assert_eq!(sandbox.lost().await, LostReason::Stopped);
    assert_eq!(host.backend.alive().await.expect("a list"), []);
    let opened = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
    assert!(opened.fresh);
    let exit = run(&opened.sandbox, 2, shell("cat note ~/note; cat /tmp/note; echo $x")).await;
    assert!(exit.shell_lost);
    assert_eq!(text(&exit), "kept\nkept\ncat: /tmp/note: No such file or directory\n\n");
    host.finish().await;
}

/// As a layer with packages will have it.
#[tokio::test]
async fn a_layer_can_change_what_the_host_has() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::new();
    host.open(session(1)).await.stop(Duration::ZERO).await.expect("stopped");
    let upper = host.dir.path().join(format!("sessions/{}/layer/usr", session(1)));
    std::fs::create_dir(&upper).expect("an upper");
    std::fs::write(upper.join("added"), "by a layer\n").expect("a file in it");
    // An ordinary user's own files are the agent's as they are.
    for path in [&upper, &upper.join("added")].into_iter().filter(|_| is_root()) {
        std::os::unix::fs::chown(path, Some(101_000), Some(101_000)).expect("the agent's");
    }
    let sandbox = host.open(session(1)).await;
    let exit =
        run(&sandbox, 1, shell("cat /usr/added; stat -c %U /usr/added /usr/bin; echo more > /usr/more; cat /usr/more"))
            .await;
    let owner = if is_root() { "root" } else { "nobody" };
    assert_eq!(text(&exit), format!("by a layer\nagent\n{owner}\nmore\n"));
    assert!(!std::path::Path::new("/usr/more").exists() && upper.join("more").exists());
    host.finish().await;
}

#[tokio::test]
async fn opening_again_attaches() {
    let mut host = Host::new();
    let opened = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
    assert!(opened.fresh);
    run(&opened.sandbox, 1, shell("x=here")).await;
    let again = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
    assert!(!again.fresh);
    assert_eq!(again.limits, opened.limits);
    drop((again, opened));
    host.restarted();
    assert_eq!(host.backend.alive().await.expect("a list"), [session(1)]);
    let opened = host.backend.open(Spec::new(session(1))).await.expect("a sandbox");
    assert!(!opened.fresh);
    let exit = run(&opened.sandbox, 2, shell("echo $x")).await;
    assert_eq!((text(&exit).as_str(), exit.shell_lost), ("here\n", false));
    host.finish().await;
}

#[tokio::test]
async fn destroying_leaves_nothing_and_may_be_repeated() {
    let host = Host::new();
    host.backend.destroy(session(9)).await.expect("nothing to do");
    for n in 0..20 {
        let sandbox = host.open(session(n)).await;
        run(&sandbox, 1, shell("echo x > f; sleep 1000 & setsid sleep 1000 &")).await;
        host.backend.destroy(session(n)).await.expect("destroyed");
        host.backend.destroy(session(n)).await.expect("nothing to do");
        assert_eq!(sandbox.lost().await, LostReason::Stopped);
        assert!(matches!(
            sandbox.run(Order::new(call(2), shell("true")), None).await,
            Err(Error::Lost | Error::Failed { .. })
        ));
    }
    assert_eq!(left_of(&host.backend, host.dir.path()).await, [] as [String; 0]);
    host.finish().await;
}

#[tokio::test]
async fn a_session_nobody_knows_is_a_leftover() {
    let host = Host::new();
    host.open(session(1)).await;
    let known = host.backend.leftovers(&[session(1)]).await.expect("a list");
    let of_ours = |left: &&tenure_sandbox::Leftover| left.to_string().contains(&host.group_name());
    assert_eq!(known.iter().find(of_ours), None);
    assert!(!left_of(&host.backend, host.dir.path()).await.is_empty());
    host.finish().await;
}
