//! What fences must leave alone: the work that tools do.

use crate::host::{Host, exec, run, session, shell, text};

/// Everything that a file may be made, renamed, linked and written as, within a directory and across directories.
const FILES: &str = r#"
set -e
for place in /workspace /home/agent /tmp /var/tmp /dev/shm; do
    cd $place; mkdir -p one/deep two
    echo a >one/file; mv one/file two/file; ln two/file one/hard; ln -s two/file soft; mv soft one/
    mv one/deep two/; rm -r two/deep; mkfifo pipe; truncate -s 3 two/file; : >two/file; echo b >>one/hard
    cp /bin/true true; ./true; chmod 700 true; rm -r one two pipe true
done
echo x >/home/agent/from; mv /home/agent/from /workspace/to; mv /workspace/to /tmp/to; rm /tmp/to
echo x >/dev/null; head -c1 /dev/urandom >/dev/zero; echo x >&2
cat </proc/self/status >/dev/null; readlink /proc/self/exe >/dev/null; kill -0 $PPID; kill -0 $$
sleep 1000 & readlink /proc/$!/cwd >/dev/null; kill -9 $!
echo done
"#;

/// A program that gives up writing, as programs do that have a fence of their own.
const OWN_RULES: &str = r#"
    my ($write, $rules) = (pack("Q", 2), undef);
    ($rules = syscall(444, $write, 8, 0)) >= 0 or die "no rules: $!\n";
    syscall(446, $rules, 0) == 0 or die "not restricted: $!\n";
    open(my $file, ">", "/workspace/own") and die "written\n";
    print "refused\n";
"#;

#[tokio::test]
async fn the_second_fence_leaves_tools_their_files() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    for (n, work) in [shell(&format!("({FILES})")), exec(&["bash", "-c", FILES])].into_iter().enumerate() {
        let exit = run(&sandbox, n as u128 + 1, work).await;
        assert_eq!((exit.code, text(&exit).contains("done\n")), (Some(0), true), "{}", text(&exit));
    }
    host.finish().await;
}

#[tokio::test]
async fn tools_may_have_rules_of_their_own() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let exit = run(&sandbox, 1, exec(&["perl", "-e", OWN_RULES])).await;
    assert!(["refused\n", "no rules: Function not implemented\n"].contains(&text(&exit).as_str()), "{}", text(&exit));
    host.finish().await;
}

#[tokio::test]
async fn calls_see_and_end_one_another() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("sleep 1000 & echo $! >/workspace/pid")).await;
    // It is a copy of the shell for a moment.
    let ended = "pid=$(cat /workspace/pid); until readlink /proc/$pid/exe | grep '/sleep$'; do :; done; kill $pid && while [ -e /proc/$pid/exe ]; do :; done && echo ended";
    let exit = run(&sandbox, 2, exec(&["sh", "-c", ended])).await;
    assert!(text(&exit).ends_with("/sleep\nended\n"), "{}", text(&exit));
    host.finish().await;
}
