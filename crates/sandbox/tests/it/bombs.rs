//! Whatever a session tries to use up: the call comes to an end and says why, its sandbox takes the next one, and another
//! sandbox answers meanwhile. Everything is small, and each bomb ends by itself or by its time.

use std::sync::Arc;
use std::time::Duration;

use tenure_sandbox::{CallEnd, Exit, Limit, Limits, Order, Sandbox, Spec, Work};

use crate::host::{Host, call, exec, is_root, needs_cgroups, run, session, shell, text};

const MIB: u64 = 1 << 20;

/// What each sandbox here may use.
const SMALL: Limits = Limits {
    memory_bytes: Some(64 * MIB),
    cpu_millis: Some(500),
    pids: Some(40),
    disk_bytes: Some(32 * MIB),
    inodes: Some(1_000),
    open_files: Some(300),
};

/// A sandbox that is bombed, and another one.
struct Pair {
    host: Host,
    bombed: Arc<dyn Sandbox>,
    other: Arc<dyn Sandbox>,
    calls: u128,
}

impl Pair {
    async fn new() -> Self {
        needs_cgroups("an ordinary user may not have cgroups");
        let host = Host::new();
        let open = async |n| host.backend.open(Spec { limits: SMALL, ..Spec::new(session(n)) }).await;
        let (bombed, other) = (open(1).await.expect("a sandbox"), open(2).await.expect("a sandbox"));
        Self { bombed: bombed.sandbox, other: other.sandbox, host, calls: 0 }
    }

    /// Sets a bomb off. While it works, the other sandbox answers; after it, this one does, and the journal has its end.
    async fn bomb(&mut self, work: Work, timeout: Duration) -> Exit {
        self.calls += 10;
        let mut order = Order::new(call(self.calls), work);
        (order.timeout, order.output_cap_bytes) = (Some(timeout), 64 * 1024);
        let again = order.clone();
        let running = tokio::spawn({
            let bombed = Arc::clone(&self.bombed);
            async move { bombed.run(order, None).await.expect("a result") }
        });
        let mut answers = 0;
        while !running.is_finished() || answers < 3 {
            answers += 1;
            let answer =
                run(&self.other, self.calls * 1_000 + answers, exec(&["sh", "-c", "echo fine > f; cat f"])).await;
            assert_eq!((text(&answer).as_str(), answer.reached.len()), ("fine\n", 0), "{answer:?}");
        }
        let end = running.await.expect("no panic");
        assert_eq!(self.bombed.run(again, None).await.expect("a result"), end, "the journal tells the same");
        // What the bomb left is the sandbox's own to remove; `/tmp` may be too full for anything else.
        run(&self.bombed, self.calls + 1, exec(&["sh", "-c", "rm -rf /tmp/* /dev/shm/* /workspace/*"])).await;
        let next = run(&self.bombed, self.calls + 2, exec(&["echo", "next"])).await;
        assert_eq!(text(&next), "next\n", "{next:?}");
        match end {
            CallEnd::Exited(exit) => exit,
            CallEnd::Interrupted { reason } => panic!("interrupted: {reason}"),
        }
    }

    async fn perl(&mut self, script: &str) -> Exit {
        self.bomb(exec(&["perl", "-e", script]), LONG).await
    }
}

/// For what is ended by a limit, and not by its time.
const LONG: Duration = Duration::from_secs(120);
/// For what goes on until its time is over.
const SHORT: Duration = Duration::from_secs(2);

fn reached(exit: &Exit) -> Vec<Limit> {
    exit.reached.iter().map(|reached| reached.limit).collect()
}

#[tokio::test]
async fn processes() {
    let mut pair = Pair::new().await;
    let fork_bomb = exec(&["bash", "-c", "b() { b | b & }; b 2>/dev/null; wait; sleep 1000"]);
    let exit = pair.bomb(fork_bomb, SHORT).await;
    assert!(exit.timed_out && reached(&exit).contains(&Limit::Pids), "{exit:?}");
    let exit = pair.bomb(shell("while :; do sleep 1000 & done 2>/dev/null"), SHORT).await;
    assert!(exit.timed_out && reached(&exit).contains(&Limit::Pids), "{exit:?}");
    pair.host.finish().await;
}

#[tokio::test]
async fn memory() {
    let mut pair = Pair::new().await;
    let anonymous = pair.perl("my @a; push @a, 'x' x (1<<20) while 1").await;
    assert_eq!(reached(&anonymous), [Limit::Memory], "{anonymous:?}");
    // The file system in memory is full before all memory is.
    let files = pair.perl("for my $d ('/tmp', '/dev/shm') { open(my $f, '>', \"$d/big\"); 1 while syswrite $f, 'x' x (1<<20) } print $!").await;
    assert!(text(&files).ends_with("No space left on device") && reached(&files).is_empty(), "{files:?}");
    // Pages of files are let go of.
    let cached = pair.perl("open(my $f, '>', 'f'); for (1..10) { sysseek $f, 0, 0; syswrite $f, 'x' x (1<<20) for 1..20 } print 'read'").await;
    assert_eq!(text(&cached), "read", "{cached:?}");
    // What is in pipes that nobody reads is the writer's.
    let pipes = "my @p; while (pipe(my $r, my $w)) { fcntl($w, 1031, 1<<20); fcntl($w, 4, 2048); 1 while syswrite $w, 'x' x 65536; push @p, $r, $w } print $!";
    let pipes = pair.perl(pipes).await;
    assert!(reached(&pipes) == [Limit::Memory] || text(&pipes).starts_with("Too many open files"), "{pipes:?}");
    pair.host.finish().await;
}

#[tokio::test]
async fn the_disk() {
    let mut pair = Pair::new().await;
    // In files so large that there are never too many of them.
    let bytes =
        pair.perl("while (1) { $n++; open(my $f, '>', \"full$n\"); syswrite $f, 'x' x (1<<20) for 1..64 }").await;
    assert_eq!(reached(&bytes), [Limit::Disk], "{bytes:?}");
    let inodes = pair.perl("while (1) { $n++; mkdir \"d$n\" }").await;
    assert_eq!(reached(&inodes), [Limit::Inodes], "{inodes:?}");
    let in_memory = pair.perl("my $n = 1; while (open(my $f, '>', \"/tmp/$n\")) { $n++ } print $!").await;
    assert_eq!(text(&in_memory), "No space left on device", "{in_memory:?}");
    pair.host.finish().await;
}

#[tokio::test]
async fn descriptors() {
    let mut pair = Pair::new().await;
    let files = pair.perl("my @f; while (open(my $f, '<', '/dev/null')) { push @f, $f } print $!").await;
    assert_eq!(text(&files), "Too many open files", "{files:?}");
    // Every process as many as it may: the number of processes bounds that.
    let all = "for (1..100) { my $p = fork; last if !defined $p; next if $p; my @f; while (open(my $f, '<', '/dev/null')) { push @f, $f } sleep 1000 } sleep 1000";
    let all = pair.bomb(exec(&["perl", "-e", all]), SHORT).await;
    assert!(all.timed_out && reached(&all).contains(&Limit::Pids), "{all:?}");
    pair.host.finish().await;
}

#[tokio::test]
async fn output() {
    let mut pair = Pair::new().await;
    let exit = pair.bomb(exec(&["head", "-c", "1G", "/dev/zero"]), LONG).await;
    assert_eq!((exit.code, exit.truncated, exit.stdout.len()), (Some(0), true, 64 * 1024));
    assert_eq!(exit.omitted_bytes, (1 << 30) - 64 * 1024);
    pair.host.finish().await;
}

/// How many inotify instances a user of this host may have.
fn of_the_host() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").expect("a limit");
    text.trim().parse().expect("a number")
}

#[tokio::test]
async fn watches() {
    let mut pair = Pair::new().await;
    // `inotify_init1`, by its number.
    let number = if cfg!(target_arch = "x86_64") { 294 } else { 26 };
    let all = format!("$| = 1; while (1) {{ my $f = syscall({number}, 0); last if $f < 0; $n++ }} print \"$n $!\"");
    let hold = exec(&["perl", "-e", &format!("{all}; sleep 1000")]);
    let held = pair.bomb(hold, SHORT).await;
    // All of an ordinary user's sandboxes have the same maker, whose they count as.
    let most = if is_root() { 128 } else { 32 };
    let most = most.min(of_the_host());
    let all_of_them = format!("{most} Too many open files");
    assert_eq!(text(&held), all_of_them, "{held:?}");
    // While one has all it may have, another has as many.
    let holder = tokio::spawn({
        let bombed = Arc::clone(&pair.bombed);
        let mut order = Order::new(call(1), exec(&["perl", "-e", &format!("{all}; sleep 1000")]));
        order.timeout = Some(SHORT);
        async move { bombed.run(order, None).await }
    });
    let other = run(&pair.other, 1, exec(&["perl", "-e", &all])).await;
    assert_eq!(text(&other), all_of_them, "{other:?}");
    holder.await.expect("no panic").expect("a result");
    pair.host.finish().await;
}
