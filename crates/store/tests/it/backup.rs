//! Copies of a database that is being written to.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tenure_core::id::SessionId;
use tenure_core::time::Timestamp;
use tenure_store::sqlite::{
    CheckOptions, SessionIds, SweepLock, begin_generation, check, copy_database, each_named_blob,
};
use tenure_store::{Blobs as _, Error, FactStore as _, Resources as _, SessionRows as _, Settings as _};

use crate::check::{Anything, options};
use crate::fixture::{Log, TENANT, agent_record, answer, environment_record, key_record};
use crate::sqlite::open;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_taken_while_many_write_is_of_one_moment() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(open(dir.path()));
    let enough = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..32)
        .map(|session| {
            let (store, enough) = (Arc::clone(&store), Arc::clone(&enough));
            tokio::spawn(async move {
                let mut log = Log::new(session);
                store.append(log.create()).await.unwrap();
                while !enough.load(Ordering::Relaxed) {
                    // Some in blobs.
                    let size = if log.row.seq.is_multiple_of(32) { 40_000 } else { 300 };
                    let facts = [log.message(&"y".repeat(size)), log.message("z")];
                    store.append(log.append(facts)).await.unwrap();
                }
            })
        })
        .collect();
    let mut before = Vec::new();
    for round in 0..4 {
        let (from, into) = (dir.path().to_owned(), copies.path().join(round.to_string()));
        let acknowledged = heads(&*store).await;
        let into = tokio::task::spawn_blocking(move || {
            fs::create_dir(&into).unwrap();
            let blobs = from.join("blobs");
            let _unswept = SweepLock::keep_from_sweeping(&blobs).unwrap();
            copy_database(&from, &into.join("tenure.db"), &Arc::default()).unwrap();
            each_named_blob(&into.join("tenure.db"), |blob| {
                let (folder, name) = blob.as_str().split_at(2);
                fs::create_dir_all(into.join("blobs").join(folder)).unwrap();
                fs::copy(blobs.join(folder).join(name), into.join("blobs").join(folder).join(name)).unwrap();
                Ok::<(), Error>(())
            })
            .unwrap();
            into
        });
        let into = into.await.unwrap();
        let mut found = Vec::new();
        let unchanging = CheckOptions { unchanging: true, ..options(&into) };
        let checked = check(&unchanging, &mut Anything::default(), &mut |finding| found.push(finding)).unwrap();
        assert_eq!(found, [], "logs are gapless and rows are those of their ends");
        assert!(checked.facts >= acknowledged.iter().sum::<u64>(), "what was acknowledged before is in it");
        before.push(checked.facts);
    }
    enough.store(true, Ordering::Relaxed);
    join_all(writers).await.into_iter().for_each(|writer| writer.unwrap());
    assert!(before.is_sorted() && before[0] < before[3], "they wrote meanwhile: {before:?}");
}

async fn heads(store: &impl tenure_store::Store) -> Vec<u64> {
    let mut heads = Vec::new();
    for session in 0..32 {
        heads.push(store.head(SessionId::from_bits(session)).await.unwrap().unwrap_or(0));
    }
    heads
}

#[tokio::test]
async fn everything_is_in_a_copy_and_a_new_generation_begins() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let mut append = log.say(3);
    append.answer = Some(answer("key", 10, 1_000));
    store.append(append).await.unwrap();
    let mut deleted = Log::new(2);
    store.append(deleted.create()).await.unwrap();
    store.delete_session(deleted.id()).await.unwrap();
    store.create_agent(agent_record(1, "one", 10), None).await.unwrap();
    store.create_environment(environment_record(2, "two", 10), None).await.unwrap();
    store.create_key(key_record(3, "hash"), None).await.unwrap();
    store.put_secret("anthropic".to_owned(), b"sk-secret".to_vec()).await.unwrap();
    store.put_setting("model".to_owned(), Some("m".to_owned())).await.unwrap();
    store.put_blob(b"unnamed".to_vec()).await.unwrap();

    let to = copy.path().join("tenure.db");
    let copied = copy_database(dir.path(), &to, &Arc::default()).unwrap();
    assert_eq!(copied.generation, 0);
    each_named_blob::<Error>(&to, |blob| panic!("{blob} is named by nobody")).unwrap();
    // Ids are walked whether somebody writes or not.
    for (dir, unchanging) in [(dir.path(), false), (copy.path(), true)] {
        let (ids, mut walked) = (SessionIds::open(dir, unchanging).unwrap(), Vec::new());
        ids.each::<Error>(|id| {
            walked.push(id);
            Ok(())
        })
        .unwrap();
        assert_eq!(walked, [log.id()]);
        assert!(ids.knows(log.id()).unwrap() && ids.knows(deleted.id()).unwrap());
        assert!(!ids.knows(SessionId::from_bits(9)).unwrap());
        assert_eq!(ids.newest_fact().unwrap(), Some(log.row.updated_at));
    }
    fs::copy(dir.path().join("master.key"), copy.path().join("master.key")).unwrap();
    let generation = begin_generation(copy.path(), Timestamp::from_micros(5_000_000)).unwrap();
    let restored = open(copy.path());
    assert_eq!((restored.generation(), store.generation()), (generation, 0));
    let facts = store.read_facts(log.id(), 0, 100).await.unwrap();
    assert_eq!(restored.read_facts(log.id(), 0, 100).await.unwrap(), facts);
    let now = Timestamp::from_micros(20);
    assert_eq!(
        restored.answer(TENANT, "key".to_owned(), now).await.unwrap(),
        store.answer(TENANT, "key".to_owned(), now).await.unwrap(),
    );
    assert!(restored.answer(TENANT, "key".to_owned(), now).await.unwrap().is_some());
    assert!(restored.agent_by_slug(TENANT, "one".to_owned()).await.unwrap().is_some());
    assert!(restored.environment_by_name(TENANT, "two".to_owned()).await.unwrap().is_some());
    assert!(restored.key_by_hash("hash".to_owned()).await.unwrap().is_some());
    assert_eq!(restored.secret("anthropic".to_owned()).await.unwrap().as_deref(), Some(&b"sk-secret"[..]));
    assert_eq!(restored.setting("model".to_owned()).await.unwrap().as_deref(), Some("m"));
    assert_eq!(restored.purges().await.unwrap(), [deleted.id()]);
    restored.append(log.say(1)).await.unwrap();
}

#[tokio::test]
async fn a_copy_can_be_broken_off() {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(dir.path());
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    for _ in 0..10 {
        let facts: Vec<_> = (0..100).map(|_| log.message(&"x".repeat(1_000))).collect();
        store.append(log.append(facts)).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(true));
    assert!(copy_database(dir.path(), &copy.path().join("tenure.db"), &stop).is_err());
}
