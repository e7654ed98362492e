//! What differs from what a session began with, where that is an image, or packages over the host's root.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tenure_core::id::{SessionId, SnapshotId};
use tenure_core::packages::{Manager, Packages};
use tenure_core::root::{ImageReference, Root};
use tenure_sandbox::{Backend, BoxFuture, Error, Fetched, Image, ImageLayer, Images, Packing, Sandbox, Spec};
use tenure_tools::files::{Change, Comparing, Detail, FilesClient, Name};

use crate::real::{Real, place};

/// The only image there is: a directory of the tools' own, with a file.
#[derive(Debug)]
struct OnlyImage {
    dir: TempDir,
    image: Image,
}

impl OnlyImage {
    fn new() -> Self {
        let dir = place();
        let mut archive = tar::Builder::new(Vec::new());
        for (path, mode, kind, content) in [
            ("srv/mine", 0o755, tar::EntryType::Directory, ""),
            ("srv/mine/file", 0o644, tar::EntryType::Regular, "old"),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(1000);
            header.set_gid(1000);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_bytes()).expect("written to memory");
        }
        let archive = archive.into_inner().expect("written to memory");
        std::fs::write(dir.path().join("layer"), &archive).expect("written");
        let summed = Command::new("sha256sum").arg(dir.path().join("layer")).output().expect("control: it runs");
        let digits = String::from_utf8_lossy(&summed.stdout[..64]).into_owned();
        let digest = format!("sha256:{digits}");
        let bytes = archive.len() as u64;
        let layer = ImageLayer { digest: digest.clone(), bytes, diff_id: digest.clone(), packing: Packing::Plain };
        let reference = ImageReference::parse("registry.test/only").expect("a reference");
        let image = Image { root: Root::Image { reference }, digest, env: Vec::new(), layers: vec![layer] };
        Self { dir, image }
    }
}

impl Images for OnlyImage {
    fn check(&self, _: &Root) -> Result<(), Error> {
        Ok(())
    }

    fn find<'a>(&'a self, _: &'a Root) -> BoxFuture<'a, Result<Image, Error>> {
        Box::pin(async move { Ok(self.image.clone()) })
    }

    fn layer<'a>(&'a self, _: &'a Image, _: &'a ImageLayer) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move { Ok(Fetched { path: self.dir.path().join("layer"), kept: Arc::new(()) }) })
    }
}

/// Makes a package that makes the same.
fn package(archives: &Path) {
    let dir = place();
    std::fs::create_dir(dir.path().join("DEBIAN")).expect("made");
    std::fs::create_dir(archives.join("apt")).expect("made");
    let control = "Package: mine\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: a test\n";
    // Where there is one user, all of it is the tools' own anyway.
    let script =
        "#!/bin/sh\nset -e\nmkdir /srv/mine\nprintf old > /srv/mine/file\nchown -R 1000:1000 /srv/mine || true\n";
    let readable = |at: &Path, mode: u32| {
        std::fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("set");
    };
    for (name, text, mode) in [("control", control, 0o644), ("postinst", script, 0o755)] {
        let at = dir.path().join("DEBIAN").join(name);
        std::fs::write(&at, text).expect("written");
        readable(&at, mode);
    }
    [dir.path(), &dir.path().join("DEBIAN"), archives].into_iter().for_each(|at| readable(at, 0o755));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]).arg(dir.path()).arg(archives.join("apt/mine_1_all.deb"));
    assert!(build.output().expect("control: there is dpkg").status.success());
}

async fn put(sandbox: &Arc<dyn Sandbox>, into: &str, name: &str) {
    let mut upload = FilesClient::new(sandbox.clone()).unpack(Name::plain(into), false).await.expect("begun");
    upload.send(&crate::files::archive(&[name])).await;
    upload.finish().await.expect("put there");
}

async fn changes(before: &Arc<dyn Sandbox>, after: &Arc<dyn Sandbox>) -> Vec<(String, Change)> {
    let comparing = Comparing { at: Name::plain("/"), after: None, limit: 1_000, detail: Detail::None };
    let found = FilesClient::new(after.clone()).compare(&FilesClient::new(before.clone()), comparing).await;
    let found = found.expect("compared").found.into_iter();
    found.map(|one| (one.after.or(one.before).expect("a side").name.path, one.change)).collect()
}

#[tokio::test]
async fn what_a_session_began_with_is_no_difference() {
    let (images, archives) = (Arc::new(OnlyImage::new()), place());
    package(archives.path());
    let image = images.image.root.clone();
    let set = |config: &mut tenure_sandbox::NativeConfig| {
        config.images = Some(images.clone());
        config.packages_dir = archives.path().to_owned();
    };
    let Some(real) = Real::open_with(set).await else { return };
    let mut packages = Packages::default();
    packages.set(Manager::Apt, vec!["mine".to_owned()]);
    let began = [(image, Packages::default()), (Root::Host, packages)];
    for (n, (root, packages)) in began.into_iter().enumerate() {
        let [session, fresh, fork] = [10, 20, 30].map(|first| SessionId::from_bits(first + n as u128));
        let open = async |session| {
            let spec = Spec { root: root.clone(), packages: packages.clone(), ..Spec::new(session) };
            real.backend().open(spec).await.expect("opened").sandbox
        };
        let (sandbox, beginning) = (open(session).await, open(fresh).await);
        assert_eq!(changes(&beginning, &sandbox).await, []);
        put(&sandbox, "/workspace", "new").await;
        put(&sandbox, "/srv/mine", "file").await;
        let expected = [("/srv/mine/file", Change::Modified), ("/workspace/new", Change::Added)]
            .map(|(path, change)| (path.to_owned(), change));
        assert_eq!(changes(&beginning, &sandbox).await, expected);
        let snapshot = SnapshotId::from_bits(1);
        real.backend().snapshot(session, snapshot, None).await.expect("kept");
        real.backend().fork(session, snapshot, &[], fork).await.expect("forked");
        let view = open(fork).await;
        assert_eq!(changes(&view, &sandbox).await, []);
        put(&sandbox, "/srv/mine", "another").await;
        assert_eq!(changes(&view, &sandbox).await, [("/srv/mine/another".to_owned(), Change::Added)]);
        for session in [session, fresh, fork] {
            real.backend().destroy(session).await.expect("destroyed");
        }
    }
    real.close().await;
}
