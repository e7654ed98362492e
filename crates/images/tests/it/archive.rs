use std::path::Path;

use serde_json::json;
use tenure_core::root::Root;
use tenure_images::{Settings, Store};
use tenure_sandbox::{Error, Image, Images};
use tenure_testkit::ImageFiles;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(Settings { dir: dir.path().join("cache"), ..Settings::default() });
        Self { dir, store }
    }

    async fn find(&self, path: &Path) -> Result<Image, Error> {
        self.store.find(&Root::Archive { path: path.display().to_string() }).await
    }

    async fn refusal(&self, path: &Path) -> String {
        match self.find(path).await.expect_err("refused") {
            Error::Invalid(text) => text,
            other => panic!("expected that the archive is at fault, got: {other:?}"),
        }
    }
}

fn pack(dir: &Path, file: &Path) {
    let mut archive = tar::Builder::new(std::fs::File::create(file).expect("a file"));
    archive.append_dir_all("./", dir).expect("packed");
    archive.finish().expect("written");
}

#[tokio::test]
async fn a_layout_is_read_as_a_directory_and_as_an_archive() {
    let place = Place::new();
    let files = ImageFiles::of(&[b"one", b"two"], &json!({}));
    let (dir, file) = (place.dir.path().join("layout"), place.dir.path().join("layout.tar"));
    files.write_layout(&dir).expect("written");
    pack(&dir, &file);
    for path in [&dir, &file] {
        let image = place.find(path).await.expect("found");
        assert_eq!(image.digest, files.manifest);
        let fetched = place.store.layer(&image, &image.layers[1]).await.expect("copied");
        assert_eq!(std::fs::read(&fetched.path).expect("a file"), files.blobs[1].1);
    }
    let cached = std::fs::read_dir(place.dir.path().join("cache")).expect("a cache").count();
    assert_eq!(cached, 0, "nobody needs them any more");
}

#[tokio::test]
async fn a_layout_with_something_else_in_it_is_refused() {
    let place = Place::new();
    let files = ImageFiles::of(&[b"one"], &json!({}));
    let dir = place.dir.path().join("layout");
    files.write_layout(&dir).expect("written");
    let layer = dir.join("blobs/sha256").join(files.layers[0].trim_start_matches("sha256:"));

    let image = place.find(&dir).await.expect("found");
    for spoil in [
        |at: &Path| std::fs::write(at, "other").map(drop),
        |at: &Path| std::fs::remove_file(at),
        |at: &Path| std::os::unix::fs::symlink("/etc/shadow", at),
        |at: &Path| std::fs::remove_file(at).and_then(|()| std::fs::create_dir(at)),
    ] {
        spoil(&layer).expect("spoilt");
        let refused = place.store.layer(&image, &image.layers[0]).await.expect_err("refused");
        assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
    }
    let manifest = dir.join("blobs/sha256").join(files.manifest.trim_start_matches("sha256:"));
    std::fs::write(&manifest, "{}").expect("spoilt");
    assert!(place.refusal(&dir).await.contains("has the digest"));
    std::fs::remove_file(dir.join("index.json")).expect("removed");
    assert!(place.refusal(&dir).await.contains("oci-archive:FILE"));
    assert!(place.refusal(&place.dir.path().join("none")).await.contains("No such file"));
    let noise = place.dir.path().join("noise");
    std::fs::write(&noise, [0x1f, 0x8b].repeat(600)).expect("written");
    assert!(place.refusal(&noise).await.contains("must not be compressed"));
}
