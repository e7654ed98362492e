//! Files of sessions, kept, forked and put back.

use std::sync::Arc;
use std::time::Duration;

use tenure_core::id::SnapshotId;
use tenure_sandbox::{Error, Sandbox, Taken};

#[cfg(feature = "failpoints")]
use crate::host::kill;
use crate::host::{Host, exec, is_root, run, session, shell, text};

pub(crate) fn snapshot(n: u128) -> SnapshotId {
    SnapshotId::from_bits(n)
}

impl Host {
    /// Runs a script in the session's sandbox, made for it if need be, and gives what it printed.
    async fn script(&self, n: u128, script: &str) -> String {
        let sandbox = self.open(session(n)).await;
        let printed = script_in(&sandbox, script).await;
        sandbox.stop(Duration::ZERO).await.expect("stopped");
        printed
    }

    async fn take(&self, n: u128, kept: u128) -> Taken {
        self.backend.snapshot(session(n), snapshot(kept), None).await.expect("taken")
    }

    async fn fork(&self, from: u128, kept: u128, earlier: &[u128], to: u128) {
        let earlier: Vec<SnapshotId> = earlier.iter().copied().map(snapshot).collect();
        self.backend.fork(session(from), snapshot(kept), &earlier, session(to)).await.expect("forked");
    }
}

async fn script_in(sandbox: &Arc<dyn Sandbox>, script: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1_000_000);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    text(&run(sandbox, n.into(), exec(&["bash", "-c", script])).await)
}

/// What is in the workspace: names, kinds, modes, contents.
const LOOK: &str =
    r#"find . -printf '%P %y %m %l %n\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum"#;

#[tokio::test]
async fn a_stopped_session_is_kept_forked_and_put_back() {
    let host = Host::new();
    let made = "echo one > a; mkdir -p d/e; echo deep > d/e/f; ln -s a l; ln a hard; chmod 640 a; echo home > ~/h";
    assert_eq!(host.script(1, made).await, "");
    let first = host.script(1, LOOK).await;
    assert_eq!(host.take(1, 10).await, Taken::Sealed);
    assert_eq!(host.take(1, 10).await, Taken::Sealed, "as the first time");
    assert_eq!(host.take(1, 11).await, Taken::Reused);
    assert_eq!(host.script(1, LOOK).await, first);
    let changed = "mv d moved; rm l; mkdir l; echo x > l/x; echo two >> a; rm ~/h; echo new > n";
    assert_eq!(host.script(1, changed).await, "");
    let second = host.script(1, LOOK).await;
    assert_eq!(host.take(1, 12).await, Taken::Sealed);
    assert_eq!(host.script(1, "rm -rf moved; mkdir moved; echo three > a").await, "");
    let third = host.script(1, LOOK).await;

    host.fork(1, 10, &[], 2).await;
    host.fork(1, 12, &[10, 11], 3).await;
    host.fork(1, 12, &[10, 11], 3).await;
    assert_eq!(host.script(2, &format!("{LOOK}; cat ~/h")).await, format!("{first}home\n"));
    assert_eq!(host.script(3, &format!("{LOOK}; cat ~/h 2>/dev/null")).await, second);
    assert_eq!(host.script(1, LOOK).await, third);
    // Neither sees what the other does.
    assert_eq!(host.script(2, "rm -rf * ; echo mine > a").await, "");
    assert_eq!(host.script(3, LOOK).await, second);
    host.fork(3, 11, &[], 4).await;
    assert_eq!(host.script(4, LOOK).await, first, "a fork has the earlier ones too");

    let sandbox = host.open(session(1)).await;
    host.backend.rewind(session(1), Some(snapshot(12))).await.expect("rewound");
    assert_eq!(sandbox.lost().await, tenure_sandbox::LostReason::Stopped);
    assert_eq!(host.script(1, LOOK).await, second);
    host.backend.rewind(session(1), Some(snapshot(10))).await.expect("rewound");
    host.backend.rewind(session(1), Some(snapshot(10))).await.expect("rewound");
    assert_eq!(host.script(1, LOOK).await, first);
    host.backend.rewind(session(1), Some(snapshot(12))).await.expect("later ones stay");
    assert_eq!(host.script(1, LOOK).await, second);
    host.backend.rewind(session(1), None).await.expect("rewound");
    assert_eq!(host.script(1, "ls -A . ~ | grep -v bash").await, ".:\n\n/home/agent:\n");
    host.backend.rewind(session(1), Some(snapshot(12))).await.expect("all stay");
    assert_eq!(host.script(1, LOOK).await, second);
    let mut sessions = host.backend.sessions().await.expect("a list");
    sessions.sort_unstable();
    assert_eq!(sessions, [1, 2, 3, 4].map(session));
    host.finish().await;
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let host = Host::new();
    host.script(1, "echo a > a").await;
    host.take(1, 10).await;
    let named = |outcome: Result<(), Error>, what: &str| match outcome {
        Err(Error::Invalid(why)) => assert!(why.contains(what), "{why}"),
        other => panic!("{other:?}"),
    };
    let unknown = snapshot(77).to_string();
    named(host.backend.rewind(session(1), Some(snapshot(77))).await, &unknown);
    named(host.backend.rewind(session(9), Some(snapshot(77))).await, &unknown);
    named(host.backend.fork(session(1), snapshot(77), &[], session(2)).await, &unknown);
    named(host.backend.fork(session(1), snapshot(10), &[snapshot(77)], session(2)).await, &unknown);
    host.script(3, "echo mine > a").await;
    named(host.backend.fork(session(1), snapshot(10), &[], session(3)).await, "has files already");
    assert_eq!(host.script(3, "cat a").await, "mine\n");
    // One that had been taken can be forgotten; the others, and the files, stay.
    host.script(1, "echo b > a").await;
    host.take(1, 11).await;
    host.backend.keep_snapshots(session(1), &[snapshot(11), snapshot(78)]).await.expect("kept");
    host.backend.keep_snapshots(session(1), &[snapshot(11)]).await.expect("kept");
    named(host.backend.rewind(session(1), Some(snapshot(10))).await, &snapshot(10).to_string());
    host.backend.rewind(session(1), Some(snapshot(11))).await.expect("rewound");
    assert_eq!(host.script(1, "cat a").await, "b\n");
    host.finish().await;
}

/// A session that never had a sandbox has no files, and can be kept and forked as that.
#[tokio::test]
async fn a_session_without_files_is_kept_as_such() {
    let host = Host::new();
    assert_eq!(host.take(1, 10).await, Taken::Reused);
    host.fork(1, 10, &[], 2).await;
    assert_eq!(host.script(2, "ls -A").await, "");
    host.finish().await;
}

/// More than the options of a mount would have room for by name; every layer with directories that lower ones have too.
#[tokio::test]
async fn a_high_stack_of_layers_is_one_tree() {
    let host = Host::new();
    for n in 0..50 {
        let script = format!(
            "mv d/all d/was 2>/dev/null; mkdir -p d/all; echo {n} > d/all/{n}; rm -rf d/before; mv d/was d/before 2>/dev/null"
        );
        assert_eq!(host.script(1, &script).await, "");
        assert_eq!(host.take(1, n + 100).await, Taken::Sealed);
    }
    let look = "ls d d/all d/before; cat d/all/* d/before/*";
    assert_eq!(host.script(1, look).await, "d:\nall\nbefore\n\nd/all:\n49\n\nd/before:\n48\n49\n48\n");
    host.fork(1, 110, &[], 2).await;
    assert_eq!(host.script(2, look).await, "d:\nall\nbefore\n\nd/all:\n10\n\nd/before:\n9\n10\n9\n");
    host.finish().await;
}

/// A layer may have something over the host's directories; sealed, it has still.
#[tokio::test]
async fn what_lies_over_a_directory_of_the_host_is_kept() {
    crate::host::needs_own_files("it reaches into them");
    let host = Host::new();
    host.script(1, "true").await;
    let over = host.dir.path().join(format!("sessions/{}/layer/usr/share/tenure", session(1)));
    std::fs::create_dir_all(&over).expect("made");
    std::fs::write(over.join("note"), "over\n").expect("written");
    // An ordinary user's own files are as they should be.
    for made in ["../..", "..", ".", "note"].map(|made| over.join(made)).into_iter().filter(|_| is_root()) {
        std::os::unix::fs::chown(made, Some(100_000), Some(100_000)).expect("root may");
    }
    let look = "cat /usr/share/tenure/note; [ -e /usr/bin/env ] && echo host";
    assert_eq!(host.script(1, look).await, "over\nhost\n");
    assert_eq!(host.take(1, 10).await, Taken::Sealed);
    assert_eq!(host.script(1, look).await, "over\nhost\n");
    host.fork(1, 10, &[], 2).await;
    assert_eq!(host.script(2, look).await, "over\nhost\n");
    host.finish().await;
}

/// A shell of which the files were forked or put back is gone, and missed.
#[tokio::test]
async fn a_fork_misses_the_shell_of_its_parent() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("x=1")).await;
    sandbox.stop(Duration::ZERO).await.expect("stopped");
    host.take(1, 10).await;
    host.fork(1, 10, &[], 2).await;
    let sandbox = host.open(session(2)).await;
    let exit = run(&sandbox, 1, shell("echo [$x]")).await;
    assert_eq!((text(&exit).as_str(), exit.shell_lost), ("[]\n", true));
    host.finish().await;
}

/// What the shell of an agent may hold, and how to see it.
const REMEMBERED: &str = r#"mkdir -p "/workspace/odd dir" && cd "/workspace/odd dir"
plain=one; export exported="two words"; readonly fixed=3; declare -i number=4; declare -a list=(a "b c" $'d\ne' '' "it's")
declare -A map=([x]=1 ["y z"]=$'\t"q"' [']']=2); declare -n other=plain; odd=$'\xff\x01 \'" $(id) `id` \\ \n end\n'; empty=
unset LANG
multi() {
    cat <<-'HERE'
	one 'line'
HERE
    if [[ $1 == +([0-9]) ]]; then echo "number $1"; fi
}
exported_function() { echo from a function; }; export -f exported_function
with-hyphen() { echo hyphen; }
shopt -s extglob nullglob expand_aliases
alias greet='echo "hello'"'"'s"'
extended() { [[ $1 == @(a|b)*(c) ]] && echo matched; }
set -o pipefail -u; set +o braceexpand
umask 027
trap 'echo caught' USR1
set -- "first one" second "" '*'
OLDPWD=/usr"#;
const RECALL: &str = r#"pwd; echo "$OLDPWD $plain $exported $fixed $number $other $empty|"; (fixed=4) 2>&1; number=2+2; echo $number
declare -p list map odd empty; echo ${LANG-none}
multi 12; sh -c 'echo $exported'; bash -c exported_function; with-hyphen; extended acc; echo {a,b} nothing*
greet
echo $-; shopt -o pipefail; umask; kill -USR1 $$; printf '<%s>' "$@"; echo; touch made; stat -c %a made; rm made; trap"#;

#[tokio::test]
async fn a_sealed_sandbox_goes_on_and_its_shell_is_as_it_was() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    assert_eq!(text(&run(&sandbox, 1, shell(REMEMBERED)).await), "");
    let before = text(&run(&sandbox, 2, shell(RECALL)).await);
    assert!(before.contains("number 12\ntwo words\nfrom a function\nhyphen\nmatched\n"), "{before}");
    run(&sandbox, 3, exec(&["sh", "-c", "echo in memory > /tmp/m; echo in memory > /dev/shm/m; echo one > a"])).await;
    let keeper = host.keepers()[0];
    assert_eq!(host.take(1, 10).await, Taken::Sealed);
    assert_eq!(host.keepers()[0], keeper);
    assert_eq!(
        script_in(&sandbox, "cat /tmp/m /dev/shm/m a; pgrep -c bash; ls -d /proc/1 /dev/null").await,
        "in memory\nin memory\none\n1\n/dev/null\n/proc/1\n"
    );
    let exit = run(&sandbox, 4, shell(RECALL)).await;
    assert_eq!((text(&exit), exit.shell_lost), (before.clone(), false));
    // Again and again, with changes between.
    for n in 0..3 {
        script_in(&sandbox, &format!("echo {n} >> a; mv d{n} d 2>/dev/null; mkdir d d{n}; echo {n} > d{n}/f")).await;
        assert_eq!(host.take(1, 20 + n).await, Taken::Sealed);
        assert_eq!(host.take(1, 30 + n).await, Taken::Reused);
    }
    let exit = run(&sandbox, 5, shell(RECALL)).await;
    assert_eq!((text(&exit), exit.shell_lost), (before, false));
    let mounts = script_in(&sandbox, "grep -c '' /proc/mounts; grep -c ' / ' /proc/mounts").await;
    host.fork(1, 21, &[], 2).await;
    assert_eq!(host.script(2, "cat a; cat d1/f; ls -d d*; ls -A /tmp").await, "one\n0\n1\n1\nd\nd0\nd1\n");
    sandbox.stop(Duration::ZERO).await.expect("stopped");
    let sandbox = host.open(session(1)).await;
    assert_eq!(
        script_in(&sandbox, "grep -c '' /proc/mounts; grep -c ' / ' /proc/mounts").await,
        mounts,
        "as a new one"
    );
    assert!(run(&sandbox, 6, shell("cat a")).await.shell_lost, "a shell does not outlive its sandbox");
    host.finish().await;
}

/// Sealing touches no file: as many as there are, it takes as long.
#[tokio::test]
async fn sealing_looks_at_no_file() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    script_in(
        &sandbox,
        "mkdir -p many/deep; cd many/deep; for n in {1..2000}; do echo $n > $n; done; truncate -s 1G big",
    )
    .await;
    let layer = host.dir.path().join(format!("sessions/{}/layer/root/workspace", session(1)));
    let seen = |workspace: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        ["many/deep", "many/deep/1000", "many/deep/big", "many"].map(|name| {
            let found = workspace.join(name).symlink_metadata().expect("it is there");
            (found.ino(), found.ctime(), found.ctime_nsec(), found.atime(), found.atime_nsec())
        })
    };
    let before = seen(&layer);
    assert_eq!(host.take(1, 10).await, Taken::Sealed);
    let layers: Vec<_> = std::fs::read_dir(host.dir.path().join("layers")).expect("layers").flatten().collect();
    assert_eq!(seen(&layers[0].path().join("root/workspace")), before, "neither copied, nor changed, nor even listed");
    assert!(!layer.exists(), "nothing has been written since");
    host.fork(1, 10, &[], 2).await;
    assert_eq!(seen(&layers[0].path().join("root/workspace")), before);
    host.finish().await;
}

/// Wherever anybody dies while a live sandbox is sealed, no file is lost, and asking again does the rest.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn wherever_somebody_dies_while_a_sandbox_is_sealed_files_are_kept() {
    for place in
        ["snapshot.headed", "snapshot.sealed", "snapshot.mounted", "snapshot.swapped", "snapshot.noted", "keeper"]
    {
        let host = Host::with(|config| config.failpoint = Some(format!("{place}:1")));
        let sandbox = host.open(session(1)).await;
        run(&sandbox, 1, shell("echo one > a; mkdir d")).await;
        let first = host.supervisor();
        if place == "keeper" {
            let keeper = host.keepers()[0];
            let (taken, ()) =
                tokio::join!(host.backend.snapshot(session(1), snapshot(10), None), async { kill(keeper) });
            taken.expect("taken");
        } else {
            host.take(1, 10).await;
            assert_eq!(sandbox.lost().await, tenure_sandbox::LostReason::Died, "{place}");
            drop(host.open(session(8)).await);
            assert_ne!(host.supervisor(), first, "{place} was reached");
        }
        assert_eq!(host.script(1, "cat a; ls; echo two > a").await, "one\na\nd\n", "{place}");
        host.backend.rewind(session(1), Some(snapshot(10))).await.expect("rewound");
        assert_eq!(host.script(1, "cat a; ls").await, "one\na\nd\n", "{place}");
        host.finish().await;
    }
}

/// As on kernels before Linux 6.15.
#[tokio::test]
async fn overlays_can_be_made_over_mounts_that_are_somewhere() {
    let mounts = || std::fs::read_to_string("/proc/self/mounts").expect("mounts").lines().count();
    let before = mounts();
    let host = Host::with(|config| {
        config.attach_mounts = true;
        config.root_dirs = vec!["/".into()];
    });
    let sandbox = host.open(session(1)).await;
    assert_eq!(text(&run(&sandbox, 1, shell("echo one > a; echo two > ~/b; cat a")).await), "one\n");
    assert_eq!(host.take(1, 10).await, Taken::Sealed);
    assert_eq!(text(&run(&sandbox, 2, shell("cat a ~/b; rm a; echo three > a")).await), "one\ntwo\n");
    host.fork(1, 10, &[], 2).await;
    assert_eq!(host.script(2, "cat a").await, "one\n");
    let seen = text(&run(&sandbox, 3, exec(&["cat", "/proc/self/mountinfo"])).await);
    assert!(!seen.contains(host.dir.path().to_str().expect("text")), "{seen}");
    assert_eq!(mounts(), before, "nobody else sees them");
    host.finish().await;
}

/// Wherever a supervisor dies, it is as before or as after, and asking again does the rest.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn wherever_a_supervisor_dies_files_are_as_before_or_after() {
    let of_snapshots = ["snapshot.headed", "snapshot.sealed", "snapshot.noted"];
    for place in of_snapshots.into_iter().chain(["rewind.headed", "rewind.dropped", "fork.noted", "fork.headed"]) {
        let mut host = Host::new();
        host.script(1, "echo a > a; mkdir d").await;
        host.take(1, 9).await;
        host.script(1, "echo b > a; rmdir d").await;
        host.backend.shutdown().await.expect("shut down");
        host.restarted_with(|config| config.failpoint = Some(format!("{place}:1")));
        drop(host.open(session(8)).await);
        let first = host.supervisor();
        // The one that dies is replaced while it is asked.
        let outcome = match place.split_once('.') {
            Some(("snapshot", _)) => host.backend.snapshot(session(1), snapshot(10), None).await.map(drop),
            Some(("rewind", _)) => host.backend.rewind(session(1), Some(snapshot(9))).await,
            _ => host.backend.fork(session(1), snapshot(9), &[], session(2)).await,
        };
        drop(host.open(session(8)).await);
        assert_ne!(host.supervisor(), first, "{place} was reached");
        host.backend.shutdown().await.expect("shut down");
        host.restarted();
        let expected = if place.starts_with("rewind") { "a\nd\n" } else { "b\n" };
        assert_eq!(host.script(1, "cat a; ls -d d 2>/dev/null").await, expected, "{place}: {outcome:?}");
        host.backend.snapshot(session(1), snapshot(10), None).await.expect("taken");
        host.script(1, "echo c > a").await;
        host.backend.rewind(session(1), Some(snapshot(10))).await.expect("rewound");
        assert_eq!(host.script(1, "cat a; ls -d d 2>/dev/null").await, expected, "{place}");
        host.fork(1, 9, &[], 2).await;
        assert_eq!(host.script(2, "cat a; ls").await, "a\na\nd\n", "{place}");
        host.finish().await;
    }
}

/// Everything that a writable layer can hold.
const ODDITIES: &str = r#"cd /workspace; printf start > holes; truncate -s 3M holes; printf end >> holes; truncate -s 1M all-holes
echo linked > a; mkdir -p d/e; ln a b; ln a d/e/c; ln -s /etc/passwd out; ln -s ../../.. up; mkfifo pipe
chmod 4755 a; chmod 1777 d; : > none; chmod 000 none; touch -d '1950-01-02 03:04:05.678' old; touch -hd '2300-01-01' up
python3 -c 'import os,socket; s=socket.socket(socket.AF_UNIX); s.bind("sock"); os.setxattr("d","user.note",b"two\nlines \x00=\xff")'
rm -rf base/gone base/replaced; echo file > base/replaced; mv base/moved base/elsewhere; mkdir base/moved; touch -d '2001-02-03' d base"#;
const LOOK_CLOSELY: &str = r#"cd /workspace; find . -printf '%P %y %m %U:%G %n %l %T+ %b\n' | grep -v '^ \|^\.tenure\| d .* [0-9]*$' | sort
find . -type d -printf '%P %m %U:%G %T+\n' | grep -v '^ ' | sort
find . -type f -readable -print0 | sort -z | xargs -0r sha256sum; python3 -c 'import os; print(os.getxattr("d","user.note"))'; stat -c %i a b d/e/c | uniq | wc -l; ls -A base base/*"#;

#[tokio::test]
async fn with_processes_alive_files_are_copied_as_they_are() {
    let host = Host::new();
    assert_eq!(
        host.script(1, "mkdir -p base/gone base/replaced base/moved/in; echo x | tee base/{gone,replaced,moved/in}/f")
            .await,
        "x\n"
    );
    host.take(1, 10).await;
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("sleep 1000 & exec 3> /tmp/held")).await;
    assert_eq!(host.take(1, 11).await, Taken::Reused, "nothing was written yet");
    assert_eq!(script_in(&sandbox, ODDITIES).await, "");
    let before = script_in(&sandbox, LOOK_CLOSELY).await;
    let taken = host.take(1, 12).await;
    assert!(matches!(taken, Taken::Copied { bytes: 1..=100_000 }), "{taken:?}");
    assert_eq!(host.take(1, 12).await, taken);
    let after = "pgrep -c sleep; echo later > later; rm -rf base";
    assert_eq!(text(&run(&sandbox, 2, shell(after)).await), "1\n", "it goes on");
    host.fork(1, 12, &[], 2).await;
    assert_eq!(host.script(2, LOOK_CLOSELY).await, before);
    host.backend.rewind(session(1), Some(snapshot(12))).await.expect("rewound");
    assert_eq!(host.script(1, LOOK_CLOSELY).await, before);
    host.finish().await;
}

#[tokio::test]
async fn more_than_may_be_copied_is_not_and_leaves_nothing() {
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 1, shell("sleep 1000 & head -c 3000000 /dev/urandom > big; truncate -s 1G holes")).await;
    let most = |bytes: u64| host.backend.snapshot(session(1), snapshot(10), Some(bytes));
    let skipped = most(2_000_000).await.expect("taken");
    assert!(matches!(skipped, Taken::Skipped { bytes: 2_000_001.. }), "{skipped:?}");
    assert_eq!(std::fs::read_dir(host.dir.path().join("copies")).expect("a directory").count(), 0);
    assert_eq!(std::fs::read_dir(host.dir.path().join("layers")).expect("a directory").count(), 0);
    assert!(matches!(host.backend.rewind(session(1), Some(snapshot(10))).await, Err(Error::Invalid(_))));
    let sandbox = host.open(session(1)).await;
    run(&sandbox, 2, shell("sleep 1000 & echo small > small")).await;
    assert!(matches!(most(4_000_000).await, Ok(Taken::Copied { bytes: 3_000_000..=3_200_000 })));
    host.fork(1, 10, &[], 2).await;
    assert_eq!(host.script(2, "cat small; stat -c %s big holes").await, "small\n3000000\n1073741824\n");
    host.finish().await;
}

/// They start each other and let each other go on while they are being stopped. What they write must be whole: the second file
/// is written after the first, and never has more.
#[tokio::test]
async fn processes_that_evade_freezing_do_not_damage_a_snapshot() {
    const EVADE: &str = "import os, signal, time
pids = []
def write():
    n = 0
    while True:
        n += 1
        for name in ('first', 'second'):
            with open(f'/workspace/{os.getpid()}-{name}', 'a') as f: f.write(f'{n}\\n')
        for pid in pids:
            try: os.kill(pid, signal.SIGCONT)
            except OSError: pass
for _ in range(4):
    pid = os.fork()
    if pid == 0: write()
    pids.append(pid)
def spawn():
    while True:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            if os.fork() == 0:
                with open('/workspace/born', 'a') as f: f.write('x\\n')
            os._exit(0)
        os.waitpid(pid, 0)
spawn()
";
    let host = Host::new();
    let sandbox = host.open(session(1)).await;
    let evade = EVADE.replace('\'', "\"");
    run(
        &sandbox,
        1,
        shell(&format!("python3 -c '{evade}' > /dev/null 2>&1 & while [ $(ls *-second 2>/dev/null | wc -l) -lt 4 ]; do sleep 0.01; done")),
    )
    .await;
    for n in 10..14 {
        let taken = host.take(1, n).await;
        assert!(matches!(taken, Taken::Copied { .. }), "{taken:?}");
        host.fork(1, n, &[], n).await;
        let check = "for f in *-first; do a=$(wc -l < $f); b=$(cat ${f%first}second 2>/dev/null | wc -l); [ $a = $b ] || [ $a = $((b + 1)) ] || echo $f $a $b; done; ls *-first | wc -l";
        assert_eq!(host.script(n, check).await, "4\n");
    }
    assert!(!script_in(&sandbox, "pgrep python3").await.is_empty(), "they go on");
    host.finish().await;
}

/// Whoever dies while a sandbox stands still, it goes on or ends, and nothing is left.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn wherever_somebody_dies_while_files_are_copied_nothing_is_left() {
    for place in ["copy.frozen", "snapshot.copied", "snapshot.noted"] {
        let host = Host::with(|config| config.failpoint = Some(format!("{place}:1")));
        let sandbox = host.open(session(1)).await;
        run(&sandbox, 1, shell("sleep 1000 & echo one > a")).await;
        let taken = host.backend.snapshot(session(1), snapshot(10), None).await;
        if place == "copy.frozen" {
            // The worker died, and its supervisor has let everything go on.
            assert!(matches!(&taken, Err(Error::Failed { .. })), "{taken:?}");
            assert_eq!(text(&run(&sandbox, 2, shell("ps -o state= -C sleep")).await), "S\n");
        } else {
            taken.expect("taken by the next");
        }
        host.take(1, 10).await;
        host.backend.rewind(session(1), Some(snapshot(10))).await.expect("rewound");
        assert_eq!(host.script(1, "cat a").await, "one\n", "{place}");
        let copies = std::fs::read_dir(host.dir.path().join("copies")).into_iter().flatten();
        assert_eq!(copies.count(), 0, "{place}");
        host.finish().await;
    }
}
