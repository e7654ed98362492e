//! Sandboxes that are made ahead.

use std::time::Duration;

use tenure_sandbox::{Limits, LostReason, Spec, Taken};

use crate::host::{Host, exec, is_root, kill, needs_cgroups, run, session, shell, text};
use crate::snapshots::snapshot;

fn with_pool(size: usize) -> Host {
    Host::with(|config| config.pool = size)
}

impl Host {
    /// Waits until there are so many sandboxes, spare ones included; gives their keepers, newest last.
    async fn wait_for_keepers(&self, count: usize) -> Vec<i32> {
        loop {
            // A supervisor has other children for moments.
            let mut keepers = self.keepers();
            keepers.retain(|pid| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
                pids.is_some_and(|pids| pids.split_whitespace().count() > 1)
            });
            if keepers.len() == count {
                return keepers;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_session_gets_a_sandbox_that_was_made_ahead() {
    let host = with_pool(1);
    let first = host.open(session(1)).await;
    assert_eq!(text(&run(&first, 1, shell("echo secret > f; echo secret > /tmp/f; cat f")).await), "secret\n");
    let spare = *host.wait_for_keepers(2).await.last().expect("the spare one");
    let mut spec = Spec::new(session(2));
    spec.env = vec![("GIVEN".to_owned(), "a value".to_owned())];
    // An ordinary user's sandbox keeps the limit of processes that it was made with.
    spec.limits.pids = is_root().then_some(77);
    let pids = if is_root() { 77 } else { Limits::DEFAULT_PIDS };
    let opened = host.backend.open(spec).await.expect("a sandbox");
    assert!(opened.fresh && opened.limits.pids == Some(pids), "{opened:?}");
    let second = opened.sandbox;
    // It is that one: when it dies, so does this sandbox, and it is no copy of the first.
    let look = r"echo $GIVEN; pwd; find . /tmp ~ -mindepth 1 ! -name '.bash*' ! -name .profile; id -u; hostname; echo mine > f";
    assert_eq!(text(&run(&second, 1, shell(look)).await), "a value\n/workspace\n1000\nsandbox\n");
    let mounts = "grep -c '' /proc/mounts; cut -d' ' -f2 /proc/mounts | sort | sha256sum";
    let [one, other] = [
        text(&run(&first, 3, exec(&["sh", "-c", mounts])).await),
        text(&run(&second, 2, exec(&["sh", "-c", mounts])).await),
    ];
    assert_eq!(one, other, "its mounts are those of one that was made for its session");
    // It can do what any can.
    assert_eq!(host.backend.snapshot(session(2), snapshot(10), None).await.expect("taken"), Taken::Sealed);
    assert_eq!(text(&run(&second, 3, shell("cat f; echo $GIVEN")).await), "mine\na value\n");
    host.wait_for_keepers(3).await;
    kill(spare);
    assert_eq!(second.lost().await, LostReason::Died);
    let left = host.backend.leftovers(&[session(1), session(2)]).await.expect("a list");
    assert!(!left.iter().any(|left| left.to_string().contains(&host.group_name())), "{left:?}");
    host.finish().await;
}

/// One that has files already gets one with its files in it.
#[tokio::test]
async fn a_session_that_has_files_gets_one_too() {
    let host = with_pool(1);
    let first = host.open(session(1)).await;
    assert_eq!(text(&run(&first, 1, shell("echo kept > f; echo gone > /tmp/f; cat f")).await), "kept\n");
    let spare = *host.wait_for_keepers(2).await.last().expect("the spare one");
    first.stop(Duration::ZERO).await.expect("stopped");
    let again = host.open(session(1)).await;
    let look = "cat f; ls -A /tmp; echo more >> f; mkdir d; mv d e; ls -d e; cat f";
    let exit = run(&again, 2, shell(look)).await;
    assert_eq!((text(&exit).as_str(), exit.shell_lost), ("kept\ne\nkept\nmore\n", true));
    kill(spare);
    assert_eq!(again.lost().await, LostReason::Died);
    host.finish().await;
}

/// One whose memory is limited is made for it, and so is one that finds none ready.
#[tokio::test]
async fn a_limit_of_memory_needs_a_sandbox_of_its_own() {
    needs_cgroups("a limit of memory takes cgroups, and those of most hosts are root's");
    let host = with_pool(1);
    let _first = host.open(session(1)).await;
    let spare = *host.wait_for_keepers(2).await.last().expect("the spare one");
    let mut spec = Spec::new(session(2));
    spec.limits.memory_bytes = Some(512 << 20);
    let opened = host.backend.open(spec).await.expect("a sandbox");
    assert_eq!(opened.limits.memory_bytes, Some(512 << 20));
    assert!(host.keepers().contains(&spare), "it is still spare");
    let ended = crate::host::wait_for_end(spare);
    kill(spare);
    ended.await.expect("it ends");
    // Its place is free, and another is made after the next.
    let third = host.open(session(3)).await;
    assert_eq!(text(&run(&third, 1, shell("echo fine")).await), "fine\n");
    host.wait_for_keepers(4).await;
    host.finish().await;
}

/// That somebody has written the default down is no reason to have one made.
#[tokio::test]
async fn the_default_limit_of_memory_is_no_limit_of_its_own() {
    needs_cgroups("a limit of memory takes cgroups, and those of most hosts are root's");
    let host = with_pool(1);
    let _first = host.open(session(1)).await;
    let keepers = host.wait_for_keepers(2).await;
    let spare = *keepers.last().expect("the spare one");
    let mut spec = Spec::new(session(2));
    spec.limits.memory_bytes = Some(Limits::DEFAULT_MEMORY_BYTES);
    let opened = host.backend.open(spec).await.expect("a sandbox");
    assert_eq!(opened.limits.memory_bytes, Some(Limits::DEFAULT_MEMORY_BYTES));
    let ended = crate::host::wait_for_end(spare);
    opened.sandbox.stop(Duration::ZERO).await.expect("stopped");
    ended.await.expect("it was the spare one that ended");
    host.finish().await;
}

/// All end with the supervisor, whether that is asked to or killed; what they leave goes with the next.
#[tokio::test]
async fn spare_sandboxes_end_with_their_supervisor() {
    let mut host = with_pool(2);
    drop(host.open(session(1)).await);
    host.wait_for_keepers(3).await;
    kill(host.supervisor());
    host.restarted_with(|config| config.pool = 1);
    drop(host.open(session(1)).await);
    host.wait_for_keepers(2).await;
    assert_eq!(std::fs::read_dir(host.dir.path().join("pool")).expect("a directory").count(), 1);
    host.finish().await;
}

/// Wherever a supervisor dies while it hands one over, the session's files are its own, and the next one makes it a sandbox.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_supervisor_that_dies_while_it_hands_one_over_takes_nothing_along() {
    for place in ["claim.renamed", "claim.swapped"] {
        let host = Host::with(|config| {
            config.pool = 1;
            config.failpoint = Some(format!("{place}:1"));
        });
        let has_files = place == "claim.swapped";
        let first = host.open(session(1)).await;
        run(&first, 1, shell("echo one > f")).await;
        host.wait_for_keepers(2).await;
        let before = host.supervisor();
        if has_files {
            first.stop(Duration::ZERO).await.expect("stopped");
        }
        let claimed = if has_files { session(1) } else { session(2) };
        let sandbox = host.open(claimed).await;
        assert_ne!(host.supervisor(), before, "{place} was reached");
        let expected = if has_files { "one\n" } else { "none\n" };
        assert_eq!(text(&run(&sandbox, 2, shell("cat f 2> /dev/null || echo none; echo two > f")).await), expected);
        sandbox.stop(Duration::ZERO).await.expect("stopped");
        let again = host.open(claimed).await;
        assert_eq!(text(&run(&again, 3, shell("cat f")).await), "two\n", "{place}");
        host.finish().await;
    }
}
