use std::path::Path;

use serde_json::json;
use tenure_core::root::{ImageReference, Root};
use tenure_images::{Settings, Store};
use tenure_sandbox::{Error, Images, Packing};
use tenure_testkit::{FakeRegistry, ImageFiles};

/// A store that may ask this registry.
fn store(dir: &Path, registry: &FakeRegistry) -> Store {
    // A client of any kind needs to know how TLS would be done.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Store::new(Settings { dir: dir.to_owned(), registries: vec![registry.host().to_owned()], docker_config: None })
}

fn root(registry: &FakeRegistry, tag: &str) -> Root {
    Root::Image { reference: ImageReference::parse(&registry.reference(tag)).expect("a reference") }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.expect_err("refused") {
        Error::Invalid(text) => text,
        other => panic!("expected that the image is at fault, got: {other:?}"),
    }
}

#[tokio::test]
async fn an_image_is_found_and_its_layers_are_fetched_once() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    let files = ImageFiles::of(&[b"one", b"two"], &json!({"config": {"Env": ["PATH=/opt"]}}));
    registry.push("team/image:1", &files);
    let store = store(dir.path(), &registry);
    let root = root(&registry, "team/image:1");
    let image = store.find(&root).await.expect("found");
    assert_eq!(image.digest, files.manifest);
    assert_eq!(image.env, [("PATH".to_owned(), "/opt".to_owned())]);
    assert_eq!(image.layers.iter().map(|layer| layer.packing).collect::<Vec<_>>(), [Packing::Gzip; 2]);
    assert_eq!(names(dir.path()), [] as [&str; 0]);

    let all = futures_util::future::join_all((0..8).map(|_| store.layer(&image, &image.layers[0]))).await;
    let all: Vec<_> = all.into_iter().map(|fetched| fetched.expect("fetched")).collect();
    assert_eq!(std::fs::read(&all[0].path).expect("a file"), files.blobs[0].1);
    assert_eq!(registry.asked(&files.layers[0]), 1);
    assert_eq!(registry.asked(&files.layers[1]), 0);
    drop(all);
    assert_eq!(names(dir.path()), [] as [&str; 0]);
}

#[tokio::test]
async fn a_tag_may_move_and_a_digest_not() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    let (old, new) = (ImageFiles::of(&[b"old"], &json!({})), ImageFiles::of(&[b"new"], &json!({})));
    registry.push("image:1", &old);
    let store = store(dir.path(), &registry);
    assert_eq!(store.find(&root(&registry, "image:1")).await.expect("found").digest, old.manifest);
    registry.push("image:1", &new);
    assert_eq!(store.find(&root(&registry, "image:1")).await.expect("found").digest, new.manifest);
    let pinned = root(&registry, &format!("image:1@{}", old.manifest));
    assert_eq!(store.find(&pinned).await.expect("found").digest, old.manifest);
    registry.put_manifest(&format!("image:{}", old.manifest), &new.blobs.last().expect("a manifest").1);
    let refused = refusal(store.find(&pinned).await);
    assert!(refused.contains("can't be used"), "{refused}");
}

#[tokio::test]
async fn a_layer_that_was_cut_off_is_gone_on_with() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    let archive: Vec<u8> =
        (0..200_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let files = ImageFiles::of(&[&archive], &json!({}));
    registry.push("image:1", &files);
    registry.cut(&files.layers[0], 300_000);
    let store = store(dir.path(), &registry);
    let image = store.find(&root(&registry, "image:1")).await.expect("found");
    let fetched = store.layer(&image, &image.layers[0]).await.expect("fetched");
    assert_eq!(std::fs::read(&fetched.path).expect("a file"), files.blobs[0].1);
    assert_eq!(registry.asked(&files.layers[0]), 2);
}

#[tokio::test]
async fn a_layer_that_is_not_what_was_promised_is_refused() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    let files = ImageFiles::of(&[b"right"], &json!({}));
    registry.push("image:1", &files);
    let store = store(dir.path(), &registry);
    let image = store.find(&root(&registry, "image:1")).await.expect("found");
    let (digest, right) = files.blobs[0].clone();
    let mut other = right.clone();
    other[3] ^= 1;
    let longer = [right.as_slice(), b"x"].concat();
    for (wrong, why) in [(other.as_slice(), "invalid digest"), (&longer, "more of it"), (&right[..5], "")] {
        registry.put_blob(&digest, wrong);
        let refused = refusal(store.layer(&image, &image.layers[0]).await);
        assert!(refused.to_lowercase().contains(why), "{refused}");
        assert!(!names(dir.path()).contains(&digest.trim_start_matches("sha256:").to_owned()));
    }
    registry.put_blob(&digest, &right);
    store.layer(&image, &image.layers[0]).await.expect("the right one");
}

#[tokio::test]
async fn what_is_not_there_or_too_much_is_the_images_fault() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    let store = store(dir.path(), &registry);
    let refused = refusal(store.find(&root(&registry, "image:none")).await);
    assert!(refused.starts_with(&format!("the image {}/image:none can't be used", registry.host())), "{refused}");

    let layer = json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{:064x}", 1), "size": 1});
    let manifest = json!({"schemaVersion": 2, "config": layer, "layers": vec![layer.clone(); 10_000]});
    registry.put_manifest("image:many", manifest.to_string().as_bytes());
    assert!(refusal(store.find(&root(&registry, "image:many")).await).contains("10000 layers"));

    let mut files = ImageFiles::of(&[b"one"], &json!({}));
    files.blobs[1].1.push(b' ');
    registry.push("image:config", &files);
    refusal(store.find(&root(&registry, "image:config")).await);

    let elsewhere = Root::Image { reference: ImageReference::parse("debian:12").expect("a reference") };
    let refused = refusal(store.find(&elsewhere).await);
    assert!(refused.contains("may not ask the registry docker.io") && refused.contains("--registries"), "{refused}");
    assert_eq!(names(dir.path()), [] as [&str; 0]);
}

#[tokio::test]
async fn an_index_that_leads_round_comes_to_an_end() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    let index = |next: &str| json!({"schemaVersion": 2, "manifests": [{"digest": next, "size": 5}]}).to_string();
    let mut next = format!("sha256:{:064x}", 1);
    for _ in 0..10 {
        let text = index(&next);
        registry.put_manifest("image:round", text.as_bytes());
        next = digest_of(text.as_bytes());
        registry.put_manifest(&format!("image:{next}"), text.as_bytes());
    }
    let store = store(dir.path(), &registry);
    let refused = refusal(store.find(&root(&registry, "image:round")).await);
    assert!(refused.contains("indexes lead to one another"), "{refused}");
    assert_eq!(registry.asked("/manifests/round"), 1);
}

/// The digest of some bytes: that of a layer which isn't packed.
fn digest_of(bytes: &[u8]) -> String {
    ImageFiles::packed(&[(bytes, bytes.to_vec())], "", &json!({})).layers[0].clone()
}

#[tokio::test]
async fn credentials_are_given_to_the_registry_they_are_for() {
    let (dir, registry) = (tempfile::tempdir().expect("a directory"), FakeRegistry::start().await);
    registry.push("image:1", &ImageFiles::of(&[b"one"], &json!({})));
    registry.require("me", "word");
    let without = store(&dir.path().join("a"), &registry);
    let refused = refusal(without.find(&root(&registry, "image:1")).await);
    assert!(refused.contains("--registry-credentials"), "{refused}");
    let file = dir.path().join("config.json");
    // me:word
    let auths = json!({"auths": {registry.host(): {"auth": "bWU6d29yZA=="}}});
    std::fs::write(&file, auths.to_string()).expect("written");
    let with = Store::new(Settings {
        dir: dir.path().join("b"),
        registries: vec![registry.host().to_owned()],
        docker_config: Some(file),
    });
    let image = with.find(&root(&registry, "image:1")).await.expect("found");
    with.layer(&image, &image.layers[0]).await.expect("fetched");
}
