//! Killing everything that a call started.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallEnd, Exit, Order, Sandbox, Work};

use crate::host::{Host, call, exec, run, session, shell, text};

/// Starts daemons that leave their parent, process group and session, and says when they are there.
const DAEMONS: &str = "for i in 1 2 3; do (setsid sh -c 'echo $$ >> /tmp/pids; exec sleep 1000' &) ; done; \
                       while [ \"$(wc -l < /tmp/pids 2>/dev/null)\" != 3 ]; do sleep 0.01; done; : > /tmp/ready; sleep 1000";

const SURVIVORS: &str = "for p in $(cat /tmp/pids); do grep -qs '^State:.[^ZX]' /proc/$p/status && echo alive; done; rm -f /tmp/pids /tmp/ready; true";

async fn ready(sandbox: &Arc<dyn Sandbox>, n: u128) {
    run(sandbox, n, exec(&["sh", "-c", "while [ ! -e /tmp/ready ]; do sleep 0.01; done"])).await;
}

async fn cancelled(sandbox: &Arc<dyn Sandbox>, n: u128, work: Work) -> Exit {
    let running = sandbox.run(Order::new(call(n), work), None);
    let cancelling = async {
        ready(sandbox, n + 1).await;
        sandbox.cancel(call(n)).await.expect("cancelled");
    };
    match tokio::join!(running, cancelling).0.expect("a result") {
        CallEnd::Exited(exit) => exit,
        CallEnd::Interrupted { reason } => panic!("interrupted: {reason}"),
    }
}

#[tokio::test]
async fn a_cancel_kills_escaped_daemons_too() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, work) in [exec(&["sh", "-c", DAEMONS]), shell(DAEMONS)].into_iter().enumerate() {
        let n = n as u128 * 10;
        let exit = cancelled(&sandbox, n + 1, work).await;
        assert!(exit.cancelled && !exit.timed_out, "{exit:?}");
        let exit = run(&sandbox, n + 5, exec(&["sh", "-c", SURVIVORS])).await;
        assert_eq!(text(&exit), "");
    }
    host.finish().await;
}

/// A tool may have come far before the process above it gets to run again.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_cancel_needs_nothing_of_the_process_above_the_tool() {
    for work in [exec(&["sleep", "1000"]), shell("sleep 1000")] {
        let host = Host::with(|config| config.failpoint = Some("tool.forked:1:pause".to_owned()));
        let sandbox = host.open(session(1)).await;
        let running = sandbox.run(Order::new(call(1), work), None);
        let cancelling = async {
            while !host.family().into_iter().any(|(pid, _)| is_paused(pid)) {
                tokio::task::yield_now().await;
            }
            sandbox.cancel(call(1)).await.expect("cancelled");
        };
        let end = tokio::join!(running, cancelling).0.expect("a result");
        assert!(matches!(&end, CallEnd::Exited(exit) if exit.cancelled && !exit.timed_out), "{end:?}");
        host.finish().await;
    }
}

#[cfg(feature = "failpoints")]
fn is_paused(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "tenure-paused\n")
}

#[tokio::test]
async fn a_time_out_kills_escaped_daemons_too() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let mut order = Order::new(call(1), exec(&["sh", "-c", DAEMONS]));
    order.timeout = Some(Duration::from_millis(700));
    let CallEnd::Exited(exit) = sandbox.run(order, None).await.expect("a result") else { panic!("interrupted") };
    assert!(exit.timed_out && exit.signal == Some(9), "{exit:?}");
    assert_eq!(text(&run(&sandbox, 2, exec(&["sh", "-c", SURVIVORS])).await), "");
    host.finish().await;
}

#[tokio::test]
async fn a_cancel_that_comes_first_is_remembered() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, work) in [exec(&["touch", "ran"]), shell("touch ran")].into_iter().enumerate() {
        let n = n as u128 + 1;
        sandbox.cancel(call(n)).await.expect("remembered");
        let exit = run(&sandbox, n, work).await;
        assert!(exit.cancelled && exit.code.is_none(), "{exit:?}");
    }
    assert_eq!(text(&run(&sandbox, 5, shell("ls")).await), "");
    host.finish().await;
}

#[tokio::test]
async fn a_queued_shell_call_can_be_cancelled() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, exec(&["mkfifo", "/tmp/go"])).await;
    let first = sandbox.run(Order::new(call(2), shell(": > /tmp/ready; read x < /tmp/go; echo first")), None);
    let second = async {
        ready(&sandbox, 3).await;
        let second = sandbox.run(Order::new(call(4), shell("touch ran")), None);
        let rest = async {
            sandbox.cancel(call(4)).await.expect("cancelled");
            run(&sandbox, 5, exec(&["sh", "-c", "echo x > /tmp/go"])).await;
        };
        tokio::join!(second, rest).0
    };
    let (first, second) = tokio::join!(first, second);
    assert!(matches!(first, Ok(CallEnd::Exited(exit)) if text(&exit) == "first\n"));
    assert!(matches!(second, Ok(CallEnd::Exited(exit)) if exit.cancelled));
    assert_eq!(text(&run(&sandbox, 6, shell("ls ran 2>/dev/null")).await), "");
    host.finish().await;
}

#[tokio::test]
async fn a_stop_lets_processes_finish_and_records_the_calls() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let script = "trap 'echo saved > saved; exit 0' TERM; : > /tmp/ready; while :; do sleep 0.05; done";
    let running = sandbox.run(Order::new(call(1), exec(&["bash", "-c", script])), None);
    let stopping = async {
        ready(&sandbox, 2).await;
        sandbox.stop(Duration::from_secs(10)).await.expect("stopped");
    };
    let (end, ()) = tokio::join!(running, stopping);
    assert!(matches!(&end, Ok(CallEnd::Exited(exit)) if exit.code == Some(0)), "{end:?}");
    let sandbox = host.open(session(1)).await;
    assert_eq!(text(&run(&sandbox, 3, shell("cat saved")).await), "saved\n");
    host.finish().await;
}
