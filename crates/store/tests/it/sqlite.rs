//! What only a store on disk can show.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tenure_core::time::Timestamp;
use tenure_store::sqlite::{SqliteOptions, SqliteStore, begin_generation};
use tenure_store::{
    Blobs as _, Error, FactStore as _, MasterKey, Resources as _, SessionQuery, SessionRows as _, Settings as _, Tail,
};

use crate::fixture::{Log, TENANT, agent_record};

pub(crate) fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions { dir: dir.to_owned(), master_key: None }).unwrap()
}

pub(crate) fn refusal(dir: &Path, master_key: Option<MasterKey>) -> String {
    match SqliteStore::open(SqliteOptions { dir: dir.to_owned(), master_key }) {
        Err(error @ Error::Unreadable { .. }) => error.to_string(),
        unexpected => panic!("{unexpected:?}"),
    }
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(1);
    let store = open(dir.path());
    store.append(log.create()).await.unwrap();
    store.append(log.say(10)).await.unwrap();
    let big = log.message(&"x".repeat(100_000));
    store.append(log.append([big])).await.unwrap();
    store.create_agent(agent_record(1, "one", 10), None).await.unwrap();
    store.put_secret("key".to_owned(), b"secret".to_vec()).await.unwrap();
    let blob = store.put_blob(b"bytes".to_vec()).await.unwrap();
    let facts = store.read_facts(log.id(), 0, 100).await.unwrap();
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.read_facts(log.id(), 0, 100).await.unwrap(), facts);
    assert_eq!(store.session(None, log.id()).await.unwrap().unwrap().summary, log.row);
    assert!(store.agent_by_slug(TENANT, "one".to_owned()).await.unwrap().is_some());
    assert_eq!(store.secret("key".to_owned()).await.unwrap().as_deref(), Some(&b"secret"[..]));
    assert_eq!(store.blob(blob).await.unwrap().as_deref(), Some(&b"bytes"[..]));
    store.append(log.say(1)).await.unwrap();
}

#[tokio::test]
async fn followers_are_told_when_it_closes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut tail = store.tail(log.id(), 0);
    assert!(matches!(tail.next().await, Some(Ok(Tail::Facts(_)))));
    drop(store);
    assert!(matches!(tail.next().await, Some(Err(Error::Internal { .. }))));
    assert!(tail.next().await.is_none());
}

#[test]
fn a_newer_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let db = rusqlite::Connection::open(dir.path().join("tenure.db")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let refusal = refusal(dir.path(), None);
    assert!(refusal.contains("newer version of Tenure") && refusal.contains("schema 99"), "{refusal}");
}

#[tokio::test]
async fn an_older_directory_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    drop(store);
    let db = rusqlite::Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute_batch(
        "DROP TABLE forks; DROP TABLE labels; ALTER TABLE sessions DROP COLUMN labels; PRAGMA user_version = 4",
    )
    .unwrap();
    drop(db);
    let store = open(dir.path());
    log.row.labels = ["web".to_owned()].into();
    store.append(log.say(1)).await.unwrap();
    let query = SessionQuery { labels: vec!["web".to_owned()], ..SessionQuery::newest(TENANT, 10) };
    assert_eq!(store.sessions(query).await.unwrap().rows.len(), 1);
}

#[test]
fn every_restore_begins_a_generation_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(open(dir.path()).generation(), 0);
    let now = Timestamp::from_micros(1_763_000_000_999_999);
    for expected in [1_763_000_000_999, 1_763_000_001_000] {
        assert_eq!(begin_generation(dir.path(), now).unwrap(), expected);
        assert_eq!(open(dir.path()).generation(), expected);
    }
}

#[tokio::test]
async fn a_fact_of_a_newer_version_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    store.append(log.say(2)).await.unwrap();
    let db = rusqlite::Connection::open(dir.path().join("tenure.db")).unwrap();
    db.execute(
        "UPDATE facts SET kind = 'moon_landed', body = CAST('{\"kind\":\"moon_landed\"}' AS BLOB), checksum = NULL
         WHERE seq = 2",
        [],
    )
    .unwrap();
    db.execute("UPDATE facts SET format = 7, checksum = NULL WHERE seq = 3", []).unwrap();
    let unknown = store.read_facts(log.id(), 1, 1).await.unwrap_err().to_string();
    assert!(unknown.contains("fact 2 (`moon_landed`)") && unknown.contains("unknown variant"), "{unknown}");
    let newer = store.read_facts(log.id(), 2, 1).await.unwrap_err().to_string();
    assert!(newer.contains("fact 3") && newer.contains("newer version of Tenure"), "{newer}");
    assert_eq!(store.read_facts(log.id(), 0, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_master_key_is_kept_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.put_secret("key".to_owned(), b"a secret nobody sees".to_vec()).await.unwrap();
    drop(store);
    let path = dir.path().join("master.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let database = fs::read(dir.path().join("tenure.db")).unwrap();
    assert!(!database.windows(8).any(|bytes| bytes == b"a secret"));

    let wrong = refusal(dir.path(), Some(MasterKey::from_bytes([1; 32])));
    assert!(wrong.contains("another master key"), "{wrong}");
    let hex = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let missing = refusal(dir.path(), None);
    assert!(missing.contains("master.key") && missing.contains("TENURE_MASTER_KEY"), "{missing}");
    assert!(!path.exists());

    let master_key = Some(MasterKey::from_hex(&hex).unwrap());
    let store = SqliteStore::open(SqliteOptions { dir: dir.path().to_owned(), master_key }).unwrap();
    assert_eq!(store.secret("key".to_owned()).await.unwrap().as_deref(), Some(&b"a secret nobody sees"[..]));
}

#[tokio::test]
async fn a_missing_or_damaged_blob_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let blob = store.put_blob(b"bytes".to_vec()).await.unwrap();
    let (folder, name) = blob.as_str().split_at(2);
    let path = dir.path().join("blobs").join(folder).join(name);
    fs::write(&path, b"other").unwrap();
    assert!(store.blob(blob.clone()).await.unwrap_err().to_string().contains("damaged"));
    fs::remove_file(&path).unwrap();
    assert_eq!(store.blob(blob).await.unwrap(), None);
}

#[tokio::test]
async fn the_write_ahead_log_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let text = "x".repeat(30_000);
    let mut longest = 0;
    for _ in 0..60 {
        let facts: Vec<_> = (0..30).map(|_| log.message(&text)).collect();
        store.append(log.append(facts)).await.unwrap();
        longest = longest.max(fs::metadata(dir.path().join("tenure.db-wal")).unwrap().len());
    }
    let written = fs::metadata(dir.path().join("tenure.db")).unwrap().len();
    assert!(written > 40_000_000, "{written} bytes were moved");
    assert!(longest < 12_000_000, "the log grew to {longest} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_ahead_log_stays_bounded_while_many_read_and_follow() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let mut log = Log::new(1);
    let mut followed = Log::new(2);
    store.append(log.create()).await.unwrap();
    store.append(followed.create()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    // At every moment somebody reads.
    let readers: Vec<_> = (0..5)
        .map(|_| {
            let (store, done, session) = (Arc::clone(&store), Arc::clone(&done), log.id());
            tokio::spawn(async move {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    assert!(!store.read_facts(session, 0, 10).await.unwrap().is_empty());
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let followers: Vec<_> = (0..1_000)
        .map(|_| {
            let mut tail = store.tail(followed.id(), 0);
            tokio::spawn(async move {
                let mut last = 0;
                while let Some(Ok(Tail::Facts(facts))) = tail.next().await {
                    assert_eq!(facts[0].seq, last + 1);
                    last = facts.last().unwrap().seq;
                }
                last
            })
        })
        .collect();
    let wal = dir.path().join("tenure.db-wal");
    let text = "x".repeat(30_000);
    let mut longest = 0;
    for _ in 0..90 {
        let facts: Vec<_> = (0..20).map(|_| log.message(&text)).collect();
        store.append(log.append(facts)).await.unwrap();
        store.append(followed.say(1)).await.unwrap();
        longest = longest.max(fs::metadata(&wal).unwrap().len());
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
    assert!(fs::metadata(dir.path().join("tenure.db")).unwrap().len() > 20_000_000, "much was moved");
    assert!(longest < 34_000_000, "the log grew to {longest} bytes");

    // Somebody else reads for long: it grows, and nobody waits; when they are gone and nothing is to be done, it is emptied.
    let other = rusqlite::Connection::open(dir.path().join("tenure.db")).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM sessions").unwrap();
    for _ in 0..40 {
        let facts: Vec<_> = (0..20).map(|_| log.message(&text)).collect();
        store.append(log.append(facts)).await.unwrap();
    }
    assert!(fs::metadata(&wal).unwrap().len() > 20_000_000, "it can't begin anew under a reader");
    other.execute_batch("COMMIT").unwrap();
    // A few idle seconds, of which no event tells.
    while fs::metadata(&wal).unwrap().len() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.append(log.say(1)).await.unwrap();
    drop(store);
    for follower in followers {
        assert_eq!(follower.await.unwrap(), followed.row.seq, "followers lose nothing");
    }
}
