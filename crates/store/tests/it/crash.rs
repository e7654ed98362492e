//! A process that is killed in the middle of writing loses nothing that was acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::future::join_all;
use tenure_core::id::SessionId;
use tenure_store::{FactStore as _, SessionRows as _};

use crate::fixture::Log;
use crate::sqlite::open;

const DIR: &str = "TENURE_STORE_CRASH_DIR";
const SESSIONS: u128 = 8;

#[tokio::test]
async fn what_was_acknowledged_is_there() {
    for acknowledgements in [1, 50, 400, 1500] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, mut stored) = start(dir.path(), &[]);
        let mut acknowledged: Vec<_> = stored.by_ref().take(acknowledgements).collect();
        child.kill().unwrap();
        // What it still said before it died counts too.
        acknowledged.extend(stored);
        child.wait().unwrap();
        assert!(!acknowledged.is_empty(), "the child stored nothing");
        check(dir.path(), &acknowledged).await;
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_death_at_a_checkpoint_loses_nothing() {
    for nth in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let (mut child, stored) = start(dir.path(), &[("TENURE_FAILPOINT", &format!("checkpoint:{nth}"))]);
        let acknowledged: Vec<_> = stored.collect();
        assert!(!child.wait().unwrap().success());
        check(dir.path(), &acknowledged).await;
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_fork_that_is_cut_off_leaves_nothing() {
    for place in ["fork_batch:1", "fork_batch:2", "fork_before_commit:1"] {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::forks_until_killed", "--include-ignored"])
            .env(DIR, dir.path())
            .env("TENURE_FAILPOINT", place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success(), "{place}: it wasn't killed");
        let store = open(dir.path());
        let (one, other) = (SessionId::from_bits(1), SessionId::from_bits(2));
        assert_eq!(store.session_ids(None, 10).await.unwrap(), [one], "{place}");
        assert_eq!(store.head(other).await.unwrap(), None);
        // A fork that is begun meanwhile isn't taken for one that was cut off.
        let mut log = Log::new(1);
        log.row = store.session(None, one).await.unwrap().unwrap().summary;
        let head = log.row.seq;
        store.fork(crate::conformance::forks::fork(&log, head, 3).0).await.unwrap();
        assert_eq!(store.sweep_forks().await.unwrap(), 1, "{place}");
        assert_eq!(store.sweep_forks().await.unwrap(), 0, "{place}");
        drop(store);
        assert_eq!(crate::check::findings(dir.path()).1, [], "{place}");
        let store = open(dir.path());
        store.fork(crate::conformance::forks::fork(&log, head, 2).0).await.unwrap();
        let (mine, theirs) = (store.read_facts(other, 0, usize::MAX), store.read_facts(one, 0, usize::MAX));
        let (mine, theirs) = (mine.await.unwrap(), theirs.await.unwrap());
        let whats = |facts: &[tenure_core::fact::StoredFact]| {
            facts.iter().map(|stored| stored.fact.clone()).collect::<Vec<_>>()
        };
        assert_eq!(whats(&mine[..head as usize]), whats(&theirs), "{place}");
    }
}

#[tokio::test]
#[ignore = "the other half of the test above, which has it killed"]
async fn forks_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = open(dir.as_ref());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let spilled = [log.message(&"y".repeat(40_000))];
    store.append(log.append(spilled)).await.unwrap();
    store.append(log.say(4_500)).await.unwrap();
    store.fork(crate::conformance::forks::fork(&log, 4_502, 2).0).await.unwrap();
}

/// Starts the other half; what it acknowledges comes from the iterator.
fn start(dir: &Path, env: &[(&str, &str)]) -> (Child, impl Iterator<Item = (usize, u64)> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::appends_until_killed", "--nocapture", "--include-ignored"])
        .env(DIR, dir)
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    (child, lines.filter_map(|line| acknowledgement(&line)))
}

async fn check(dir: &Path, acknowledged: &[(usize, u64)]) {
    let store = open(dir);
    for session in 0..SESSIONS {
        let own = acknowledged.iter().filter(|(of, _)| *of as u128 == session);
        let acknowledged = own.map(|(_, seq)| *seq).max().unwrap_or(0);
        let session = SessionId::from_bits(session);
        let facts = store.read_facts(session, 0, usize::MAX).await.unwrap();
        let head = facts.len() as u64;
        assert!(head >= acknowledged, "{head} facts are there, {acknowledged} were acknowledged");
        assert!(facts.iter().map(|stored| stored.seq).eq(1..=head), "a gap in {session}");
        let row = store.session(None, session).await.unwrap();
        assert_eq!(row.map_or(0, |row| row.summary.seq), head, "the row is not the one after the last fact");
    }
}

/// Session and place in a line of the child's; the test harness may have printed before it.
fn acknowledgement(line: &str) -> Option<(usize, u64)> {
    let (_, said) = line.split_once("stored ")?;
    let (session, seq) = said.strip_suffix(" ok")?.split_once(' ')?;
    Some((session.parse().ok()?, seq.parse().ok()?))
}

#[tokio::test]
#[ignore = "the other half of the test above, which kills it"]
async fn appends_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Arc::new(open(dir.as_ref()));
    let writers = (0..SESSIONS).map(|session| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut log = Log::new(session);
            store.append(log.create()).await.unwrap();
            loop {
                // Some spill, so that blobs are being written when the end comes.
                let size = if log.row.seq.is_multiple_of(16) { 40_000 } else { 500 };
                let facts = [log.message(&"y".repeat(size)), log.message("z")];
                store.append(log.append(facts)).await.unwrap();
                writeln!(std::io::stdout(), "stored {session} {} ok", log.row.seq).unwrap();
            }
        })
    });
    join_all(writers).await;
}
