//! A process that is killed in the middle of writing loses nothing that was acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
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
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::appends_until_killed", "--nocapture", "--include-ignored"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = [0; SESSIONS as usize];
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut stored = lines.filter_map(|line| acknowledgement(&line));
        for (session, seq) in stored.by_ref().take(acknowledgements) {
            acknowledged[session] = seq;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died counts too.
        for (session, seq) in stored {
            acknowledged[session] = seq;
        }
        assert_ne!(acknowledged, [0; SESSIONS as usize], "the child stored nothing");

        let store = open(dir.path());
        for (session, acknowledged) in (0..SESSIONS).zip(acknowledged) {
            let session = SessionId::from_bits(session);
            let facts = store.read_facts(session, 0, usize::MAX).await.unwrap();
            let head = facts.len() as u64;
            assert!(head >= acknowledged, "{head} facts are there, {acknowledged} were acknowledged");
            assert!(facts.iter().map(|stored| stored.seq).eq(1..=head), "a gap in {session}");
            let row = store.session(None, session).await.unwrap();
            assert_eq!(row.map_or(0, |row| row.summary.seq), head, "the row is not the one after the last fact");
        }
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
