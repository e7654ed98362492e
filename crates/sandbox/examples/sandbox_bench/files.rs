//! Snapshots and forks of a large workspace.

use std::time::Instant;

use tenure_core::id::{SessionId, SnapshotId};
use tenure_sandbox::{Backend, Native, NativeConfig, Taken, Work};

use crate::{MILLISECONDS, Row, Times, open, run};

/// How long a snapshot or fork may take.
const MOST_MILLISECONDS: f64 = 50.0;
const TARGET: &str = "≤ 50";

/// Snapshots and forks of a workspace of 1 GB in 1,001 files.
pub(crate) async fn snapshots(rounds: u32) {
    const MAKE: &str = "head -c 1000000000 /dev/zero > big; mkdir d; for n in {1..1000}; do echo $n > d/$n; done";
    let dir = tempfile::tempdir().expect("a directory");
    let backend = Native::new(NativeConfig { pool: 0, ..NativeConfig::new(dir.path().join("files")) });
    let (mut sealed, mut forked, mut opened, mut copied) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    let line = |command: &str| Work::Shell { command: command.to_owned(), restart: false };
    for round in 0..u128::from(rounds) {
        let (parent, child) = (SessionId::from_bits(2 * round + 1), SessionId::from_bits(2 * round + 2));
        let kept = |n: u128| SnapshotId::from_bits(10 * round + n);
        let sandbox = open(&backend, parent).await;
        run(&sandbox, 1, line(MAKE)).await;
        let began = Instant::now();
        let taken = Backend::snapshot(&backend, parent, kept(1), None).await.expect("taken");
        sealed.add(began);
        assert_eq!(taken, Taken::Sealed);
        let began = Instant::now();
        Backend::fork(&backend, parent, kept(1), &[], child).await.expect("forked");
        forked.add(began);
        let fork = open(&backend, child).await;
        opened.add(began);
        run(&fork, 1, line("[ $(stat -c %s big) = 1000000000 ]")).await;
        run(&sandbox, 2, line("sleep 1000 & head -c 1000000 /dev/zero > small")).await;
        let began = Instant::now();
        let taken = Backend::snapshot(&backend, parent, kept(2), None).await.expect("taken");
        copied.add(began);
        assert!(matches!(taken, Taken::Copied { .. }));
        drop((sandbox, fork));
        for session in [parent, child] {
            Backend::destroy(&backend, session).await.expect("destroyed");
        }
    }
    backend.shutdown().await.expect("shut down");
    let sized = |row: &'static str, times: &Times, target: &'static str, beside: String| {
        let met = (!target.is_empty()).then(|| times.median() <= MOST_MILLISECONDS);
        Row { row, measured: times.shown(), unit: MILLISECONDS, target, met, beside }.print();
    };
    let n = format!("{rounds} times; the sandbox lives, and its shell is saved and ended");
    sized("sandbox: snapshot of a 1 GB workspace, sealed", &sealed, TARGET, n);
    let beside = format!("and until the child's sandbox is there: {}", opened.shown());
    sized("sandbox: fork of a 1 GB workspace", &forked, TARGET, beside);
    let n = format!("{rounds} times; 1 MB written since the last snapshot, copied while all stands still");
    sized("sandbox: snapshot with a process alive", &copied, "", n);
}
