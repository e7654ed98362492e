//! What every backend must do.

use std::time::Duration;

use crate::host::{Host, exec, run, session, shell, text};

#[tokio::test]
async fn a_program_runs_and_its_result_comes_back() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 1, exec(&["sh", "-c", "id -un; pwd; echo oops >&2; exit 3"])).await;
    assert_eq!((exit.code, text(&exit).as_str()), (Some(3), "agent\n/workspace\noops\n"));
    host.finish().await;
}

#[tokio::test]
async fn the_shell_remembers() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("cd /tmp; x=5; f() { echo f$1; }")).await;
    let exit = run(&sandbox, 2, shell("pwd; echo $x; f 1")).await;
    assert_eq!(text(&exit), "/tmp\n5\nf1\n");
    host.finish().await;
}

#[tokio::test]
async fn files_survive_a_stop() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("echo kept > note; echo gone > /tmp/note")).await;
    sandbox.stop(Duration::from_secs(5)).await.expect("stopped");
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 2, shell("cat note /tmp/note")).await;
    assert!(exit.shell_lost);
    assert_eq!(text(&exit), "kept\ncat: /tmp/note: No such file or directory\n");
    host.finish().await;
}
