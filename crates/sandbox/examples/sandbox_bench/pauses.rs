//! How long programs stand still while their files are copied, as they notice it themselves.

use std::io::Write;
use std::time::{Duration, Instant};

use tenure_core::id::{ItemId, SessionId, SnapshotId};
use tenure_sandbox::{Backend, CallEnd, Exit, Native, NativeConfig, Op, Order, Sandbox, Taken, Work};
use tokio::sync::mpsc;

use crate::{MILLISECONDS, Row, Times, open, run};

/// A program that reads the clock all the time, for as long as its input says in milliseconds, and prints the longest time between two
/// readings in nanoseconds.
pub(crate) const CLOCK: Op = Op { name: "read-the-clock", run: read_the_clock };

/// For how long: several times what a snapshot takes.
const READING: Duration = Duration::from_secs(1);

fn read_the_clock(input: &[u8], out: &mut dyn Write) -> i32 {
    let Some(wanted) = std::str::from_utf8(input).ok().and_then(|text| text.parse().ok()) else { return 2 };
    // Whoever started it hears that it runs.
    if writeln!(out, "reading").and_then(|()| out.flush()).is_err() {
        return 1;
    }
    let (began, wanted) = (Instant::now(), Duration::from_millis(wanted));
    let (mut last, mut longest) = (began, Duration::ZERO);
    while last - began < wanted {
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
    }
    i32::from(writeln!(out, "{}", longest.as_nanos()).is_err())
}

/// The longest gap that a program in a sandbox notices while a snapshot of it is taken, and while none is.
pub(crate) async fn pauses(rounds: u32) {
    for (row, bytes) in [
        ("sandbox: programs stand still for a copied snapshot of 1 MB", 1_000_000),
        ("sandbox: programs stand still for a copied snapshot of 60 MB", 60_000_000),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let backend = Native::new(NativeConfig { pool: 0, ..NativeConfig::new(dir.path().join("files")) });
        let (mut paused, mut whole, mut undisturbed) = (Times::default(), Times::default(), Times::default());
        for round in 0..u128::from(rounds) {
            let session = SessionId::from_bits(round + 1);
            let sandbox = open(&backend, session).await;
            let command = format!("head -c {bytes} /dev/zero > written");
            run(&sandbox, 1, Work::Shell { command, restart: false }).await;
            undisturbed.0.push(longest_gap(&*sandbox, 2, async {}).await);
            let snapshot = async {
                let began = Instant::now();
                let taken = Backend::snapshot(&backend, session, SnapshotId::from_bits(round + 1), None).await;
                whole.add(began);
                assert!(matches!(taken, Ok(Taken::Copied { bytes: copied }) if copied >= bytes), "{taken:?}");
            };
            paused.0.push(longest_gap(&*sandbox, 3, snapshot).await);
            drop(sandbox);
            Backend::destroy(&backend, session).await.expect("destroyed");
        }
        backend.shutdown().await.expect("shut down");
        let beside = format!(
            "{rounds} times; the longest gap between two looks at the clock. Without a snapshot: {}. Until the snapshot is \
             there: {}",
            undisturbed.shown(),
            whole.shown()
        );
        Row { row, measured: paused.shown(), unit: MILLISECONDS, target: "", met: None, beside }.print();
    }
}

/// The longest gap that a program notices during which this happens.
async fn longest_gap(sandbox: &dyn Sandbox, n: u128, happens: impl Future<Output = ()>) -> Duration {
    let input = READING.as_millis().to_string().into_bytes();
    let order = Order::new(ItemId::from_bits(n), Work::Op { name: CLOCK.name.to_owned(), input });
    let (progress, mut printed) = mpsc::channel(8);
    let meanwhile = async {
        printed.recv().await.expect("it runs");
        happens.await;
        Instant::now()
    };
    let call = async { (sandbox.run(order, Some(progress)).await, Instant::now()) };
    let ((end, ended), done) = tokio::join!(call, meanwhile);
    assert!(done < ended, "it took longer than the program that is to notice it ran");
    let Ok(CallEnd::Exited(Exit { stdout, .. })) = end else { panic!("it came to another end: {end:?}") };
    let last = std::str::from_utf8(&stdout).expect("text").lines().last().expect("a line");
    Duration::from_nanos(last.parse().expect("a number"))
}
