//! Whatever is damaged is found and named, and nothing else is.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use tenure_core::fact::StoredFact;
use tenure_core::id::SessionId;
use tenure_core::past::Rewind;
use tenure_store::sqlite::{CheckOptions, SweepLock, check};
use tenure_store::{
    Blobs as _, CachedState, Checked, Disagreement, FactStore as _, FeedKind, Finding, Part, Replay, Resources as _,
    SessionRow, SessionRows as _, Settings as _,
};

use crate::fixture::{Log, agent_record};
use crate::sqlite::open;

/// For stores whose rows were made up, not made from facts.
#[derive(Default)]
pub(crate) struct Anything(u64);

impl Replay for Anything {
    fn begin(&mut self, _: SessionId, _: &[Rewind], _: Option<CachedState>) {
        self.0 = 0;
    }

    fn fact(&mut self, fact: &StoredFact) {
        assert_eq!(fact.seq, self.0 + 1, "facts come in order, without gaps");
        self.0 = fact.seq;
    }

    fn end(&mut self, _: Option<&SessionRow>) -> Vec<Disagreement> {
        Vec::new()
    }

    fn row(&self) -> Option<SessionRow> {
        None
    }
}

pub(crate) fn options(dir: &Path) -> CheckOptions {
    CheckOptions { dir: dir.to_owned(), master_key: None, unchanging: false, stop: Arc::default() }
}

/// What the finding says, and how to bring it about.
type Damage<'a> = (&'a str, Box<dyn Fn() + 'a>);

pub(crate) fn findings(dir: &Path) -> (Checked, Vec<Finding>) {
    let mut found = Vec::new();
    let checked = check(&options(dir), &mut Anything::default(), &mut |finding| found.push(finding)).unwrap();
    (checked, found)
}

/// Three sessions, the second with a blob and a fact in one; an agent; a secret. Gives the path of the fact's blob.
async fn sample(dir: &Path) -> PathBuf {
    let store = open(dir);
    for session in 1..=3 {
        let mut log = Log::new(session);
        let mut create = log.create();
        create.feed = vec![FeedKind::Created];
        store.append(create).await.unwrap();
        store.append(log.say(9)).await.unwrap();
        if session == 2 {
            let big = log.message(&"x".repeat(100_000));
            store.append(log.append([big])).await.unwrap();
        }
    }
    store.create_agent(agent_record(1, "one", 10), None).await.unwrap();
    store.put_secret("anthropic".to_owned(), b"a key".to_vec()).await.unwrap();
    drop(store);
    let folders = fs::read_dir(dir.join("blobs")).unwrap().flatten().filter(|entry| entry.file_name() != "new");
    let files: Vec<_> = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten()).collect();
    assert_eq!(files.len(), 1);
    files[0].path()
}

#[tokio::test]
async fn a_sound_store_has_nothing_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path()).await;
    let (checked, found) = findings(dir.path());
    assert_eq!(found, []);
    assert_eq!(checked, Checked { sessions: 3, facts: 31, blobs: 1, blob_bytes: checked.blob_bytes });
    // While somebody has it open, too.
    let store = open(dir.path());
    let mut log = Log::new(4);
    store.append(log.create()).await.unwrap();
    assert_eq!(findings(dir.path()).0.sessions, 4);
}

#[tokio::test]
async fn each_damage_to_the_database_is_named() {
    let second = "(SELECT key FROM sessions ORDER BY key LIMIT 1 OFFSET 1)";
    let damages = [
        // A flipped bit that is still JSON.
        (
            "UPDATE facts SET body = CAST(replace(CAST(body AS TEXT), 'hello', 'hullo') AS BLOB) WHERE session = ? AND seq = 4",
            Part::Log,
            Some(4),
            "fact 4 (`message_said`)",
        ),
        (
            "UPDATE facts SET body = CAST('{' AS BLOB), checksum = NULL WHERE session = ? AND seq = 5",
            Part::Log,
            Some(5),
            "fact 5",
        ),
        (
            "UPDATE facts SET format = 99, checksum = NULL WHERE session = ? AND seq = 5",
            Part::Log,
            Some(5),
            "newer version",
        ),
        (
            "UPDATE facts SET kind = 'call_started', checksum = NULL WHERE session = ? AND seq = 5",
            Part::Log,
            Some(5),
            "another kind",
        ),
        ("UPDATE facts SET at = at + 1 WHERE session = ? AND seq = 5", Part::Log, Some(5), "checksum"),
        ("UPDATE facts SET at = 0, checksum = NULL WHERE session = ? AND seq = 5", Part::Log, Some(5), "earlier"),
        ("DELETE FROM facts WHERE session = ? AND seq = 3", Part::Log, Some(3), "fact 3 is missing"),
        ("DELETE FROM facts WHERE session = ? AND seq IN (3, 4)", Part::Log, Some(3), "facts 3 to 4 are missing"),
        ("DELETE FROM facts WHERE session = ? AND seq > 9", Part::Log, Some(9), "the row says that the log ends at 11"),
        ("UPDATE sessions SET phase = 'working' WHERE key = ?", Part::Row, None, "columns"),
        ("UPDATE sessions SET wake_at = 5 WHERE key = ?", Part::Row, None, "columns"),
        ("UPDATE sessions SET labels = 'x' WHERE key = ?", Part::Row, None, "columns"),
        (
            "INSERT INTO labels SELECT tenant, 'x', created_at, id, key FROM sessions WHERE key = ?",
            Part::Row,
            None,
            "columns",
        ),
        ("UPDATE sessions SET summary = CAST('nothing' AS BLOB) WHERE key = ?", Part::Row, None, "session row"),
        ("DELETE FROM definitions WHERE session = ?", Part::Definition, None, "definition"),
        ("DELETE FROM named_blobs WHERE session = ?", Part::BlobReference, None, "the list of named blobs doesn't"),
        (
            "UPDATE named_blobs SET blob = replace(hex(zeroblob(32)), 'A', 'a') WHERE session = ?",
            Part::Blob,
            None,
            "is missing",
        ),
        ("INSERT INTO purges SELECT id FROM sessions WHERE key = ?", Part::Purge, None, "deleted"),
        ("UPDATE feed SET seq = 500 WHERE session = ?", Part::Feed, Some(500), "tells of fact 500"),
        ("UPDATE feed SET kind = CAST('x' AS BLOB) WHERE session = ?", Part::Feed, Some(1), "can't be read"),
        ("UPDATE feed SET session = session + 500 WHERE session = ?", Part::Feed, None, "doesn't exist"),
        ("UPDATE facts SET session = session + 500 WHERE session = ? AND seq = 11", Part::Log, None, "doesn't exist"),
        ("UPDATE agent_versions SET body = CAST('x' AS BLOB) WHERE ? > 0", Part::Resource, None, "agent_versions"),
        ("DELETE FROM agent_versions WHERE ? > 0", Part::Resource, None, "current version"),
        ("UPDATE secrets SET sealed = zeroblob(40) WHERE ? > 0", Part::Secret, None, "anthropic"),
    ];
    for (sql, part, seq, said) in damages {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path()).await;
        let db = Connection::open(dir.path().join("tenure.db")).unwrap();
        let changed = db.execute(&sql.replace('?', second), []).unwrap();
        assert!(changed > 0, "{sql} changed nothing");
        drop(db);
        let (checked, found) = findings(dir.path());
        let named = found.iter().find(|finding| finding.part == part && finding.what.contains(said));
        let named = named.unwrap_or_else(|| panic!("{sql}: {found:#?}"));
        assert_eq!(named.seq, seq, "{sql}");
        if matches!(part, Part::Log | Part::Row | Part::Definition | Part::BlobReference | Part::Purge)
            && !said.contains("exist")
        {
            assert_eq!(named.session, Some(SessionId::from_bits(2)), "{sql}");
        }
        assert!(!named.meaning.is_empty() && !named.remedy.is_empty());
        assert_eq!(checked.sessions, 3, "{sql}: it goes on after the first");
        let sound = [SessionId::from_bits(1), SessionId::from_bits(3)];
        assert!(
            !found.iter().any(|finding| finding.session.is_some_and(|id| sound.contains(&id))),
            "{sql}: {found:#?}"
        );
    }
}

#[tokio::test]
async fn damage_to_the_database_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path()).await;
    let path = dir.path().join("tenure.db");
    // The header of a page in the middle.
    let pages = fs::metadata(&path).unwrap().len() / 4096;
    fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0xff; 64], pages / 2 * 4096).unwrap();
    let (_, found) = findings(dir.path());
    assert!(found.iter().any(|finding| finding.part == Part::Database), "{found:#?}");
}

#[tokio::test]
async fn damaged_and_missing_blobs_are_named_with_their_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let blob = sample(dir.path()).await;
    let whole = fs::read(&blob).unwrap();
    let damages: [Damage<'_>; 3] = [
        ("is damaged", Box::new(|| fs::write(&blob, &whole[1..]).unwrap())),
        (
            "is damaged",
            Box::new(|| fs::File::options().write(true).open(&blob).unwrap().write_all_at(b"y", 70_000).unwrap()),
        ),
        ("is missing", Box::new(|| fs::remove_file(&blob).unwrap())),
    ];
    for (said, damage) in damages {
        fs::write(&blob, &whole).unwrap();
        assert_eq!(findings(dir.path()).1, []);
        damage();
        let (_, found) = findings(dir.path());
        let named = found.iter().find(|finding| finding.part == Part::Blob).unwrap_or_else(|| panic!("{found:#?}"));
        assert!(named.what.contains(said), "{named:#?}");
        assert_eq!(named.path.as_deref(), Some(&*blob));
        assert_eq!(named.session, Some(SessionId::from_bits(2)));
        // The fact that is in it can't be read.
        assert!(found.iter().any(|finding| finding.part == Part::Log && finding.seq == Some(11)), "{found:#?}");
    }
    let stranger = blob.with_file_name("notes.txt");
    fs::write(&blob, &whole).unwrap();
    fs::write(&stranger, "mine").unwrap();
    assert_eq!(findings(dir.path()).1[0].path.as_deref(), Some(&*stranger));
}

#[tokio::test]
async fn a_damaged_fact_is_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path()).await;
    let db = Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute("UPDATE facts SET body = CAST(replace(CAST(body AS TEXT), 'hello', 'hullo') AS BLOB) WHERE seq = 4", [])
        .unwrap();
    drop(db);
    let store = open(dir.path());
    assert_eq!(store.read_facts(SessionId::from_bits(1), 0, 3).await.unwrap().len(), 3);
    let refused = store.read_facts(SessionId::from_bits(1), 0, 4).await.unwrap_err().to_string();
    assert!(refused.contains("fact 4") && refused.contains("damaged"), "{refused}");
}

#[tokio::test]
async fn no_sweep_removes_a_blob_while_it_is_kept_from() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blob = store.put_blob(b"bytes".to_vec()).await.unwrap();
    let far = tenure_core::time::Timestamp::from_micros(i64::MAX / 2);
    let kept = SweepLock::keep_from_sweeping(&dir.path().join("blobs")).unwrap();
    assert_eq!(store.sweep_blobs(far).await.unwrap(), 0);
    assert!(store.has_blob(blob.clone()).await.unwrap());
    drop(kept);
    assert_eq!(store.sweep_blobs(far).await.unwrap(), 1);
    assert!(!store.has_blob(blob).await.unwrap());
    assert_eq!(store.session_ids(None, 1).await.unwrap(), []);
}
