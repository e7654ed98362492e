use std::sync::Arc;

use tenure_core::content::{BlobId, Block, Source};
use tenure_core::fact::Fact;
use tenure_core::id::ItemId;
use tenure_core::session::{Delivery, Input};
use tenure_core::time::Timestamp;
use tenure_store::Store;

use crate::fixture::{Log, THREAD};

const FOREVER: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);

pub(super) async fn bytes_read_back(store: Arc<dyn Store>) {
    for bytes in [Vec::new(), b"abc".to_vec(), vec![7; 100_000]] {
        let id = store.put_blob(bytes.clone()).await.unwrap();
        assert_eq!(store.put_blob(bytes.clone()).await.unwrap(), id);
        assert_eq!(store.blob(id.clone()).await.unwrap(), Some(bytes));
        assert!(store.has_blob(id).await.unwrap());
    }
    let abc = BlobId::from_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
    assert!(store.has_blob(abc).await.unwrap());
    let unknown = BlobId::from_hex(&"0".repeat(64)).unwrap();
    assert_eq!(store.blob(unknown.clone()).await.unwrap(), None);
    assert!(!store.has_blob(unknown).await.unwrap());
}

pub(super) async fn a_big_fact_reads_back(store: Arc<dyn Store>) {
    let mut log = Log::new(1);
    let mut written = log.create().facts;
    store.append(Log::new(1).create()).await.unwrap();
    let facts = [10, 40_000, 32 * 1024, 2_000_000].map(|size| log.message(&"ä".repeat(size)));
    let append = log.append(facts);
    written.extend(append.facts.clone());
    store.append(append).await.unwrap();
    assert_eq!(store.read_facts(log.id(), 0, 10).await.unwrap(), written);
    store.sweep_blobs(FOREVER).await.unwrap();
    assert_eq!(store.read_facts(log.id(), 0, 10).await.unwrap(), written);
}

pub(super) async fn a_sweep_spares_what_is_named(store: Arc<dyn Store>) {
    let named = store.put_blob(b"named".to_vec()).await.unwrap();
    let stray = store.put_blob(b"stray".to_vec()).await.unwrap();
    let source = Source::Blob { media_type: "image/png".to_owned(), blob: named.clone() };
    let input =
        Input::Message { content: vec![Block::text("look"), Block::Image { source }], delivery: Delivery::AfterTurn };
    let mut log = Log::new(1);
    store.append(log.create()).await.unwrap();
    let queued = Fact::InputQueued { item: ItemId::from_bits(1), thread: THREAD, input };
    store.append(log.append([queued])).await.unwrap();

    assert_eq!(store.sweep_blobs(Timestamp::from_micros(0)).await.unwrap(), 0);
    assert!(store.has_blob(stray.clone()).await.unwrap());
    assert_eq!(store.sweep_blobs(FOREVER).await.unwrap(), 1);
    assert!(!store.has_blob(stray).await.unwrap());
    assert!(store.has_blob(named.clone()).await.unwrap());

    store.delete_session(log.id()).await.unwrap();
    assert_eq!(store.sweep_blobs(FOREVER).await.unwrap(), 1);
    assert!(!store.has_blob(named).await.unwrap());
}
