//! Images made by a test, and the layers they are made of.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};
use tenure_core::root::{ImageReference, Root};
use tenure_sandbox::{BoxFuture, Error, Fetched, Image, ImageLayer, Images, Packing};

/// Images by name, with a count of what was fetched.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: tempfile::TempDir,
    images: Mutex<HashMap<String, Image>>,
    fetched: AtomicUsize,
}

/// A layer of an image, as an archive that a test writes entry by entry.
pub(crate) struct Layer {
    archive: tar::Builder<Vec<u8>>,
    packing: Packing,
}

/// The root that an image of this name is.
pub(crate) fn image(name: &str) -> Root {
    Root::Image { reference: ImageReference::parse(&format!("registry.test/{name}")).expect("a reference") }
}

impl Shelf {
    pub(crate) fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        Arc::new(Self { dir, images: Mutex::default(), fetched: AtomicUsize::new(0) })
    }

    /// Puts an image of these layers here, under a name that may be another's until now.
    pub(crate) fn put(&self, name: &str, layers: Vec<Layer>) -> Image {
        let layers: Vec<ImageLayer> = layers.into_iter().map(|layer| layer.finish(self.dir.path())).collect();
        let digest = layers.iter().map(|layer| layer.diff_id.clone()).collect::<Vec<_>>().join(" ");
        let env = vec![("GREETING".to_owned(), "hello".to_owned())];
        let made = Image { root: image(name), digest: digest_of(digest.as_bytes()), env, layers };
        self.images.lock().expect("no holder panics").insert(name.to_owned(), made.clone());
        made
    }

    /// As above, but what the last layer has isn't what it should be.
    pub(crate) fn put_wrong(&self, name: &str, layers: Vec<Layer>) {
        let mut made = self.put(name, layers);
        made.layers.last_mut().expect("a layer").diff_id = digest_of(b"other");
        self.images.lock().expect("no holder panics").insert(name.to_owned(), made);
    }

    /// How many layers were fetched.
    pub(crate) fn fetched(&self) -> usize {
        self.fetched.load(Ordering::Relaxed)
    }
}

impl Images for Shelf {
    fn check(&self, _: &Root) -> Result<(), Error> {
        Ok(())
    }

    fn find<'a>(&'a self, root: &'a Root) -> BoxFuture<'a, Result<Image, Error>> {
        let images = self.images.lock().expect("no holder panics");
        let found = images.values().find(|image| image.root == *root).cloned();
        Box::pin(async move { found.ok_or_else(|| Error::Invalid("there is no such image".to_owned())) })
    }

    fn layer<'a>(&'a self, _: &'a Image, layer: &'a ImageLayer) -> BoxFuture<'a, Result<Fetched, Error>> {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.path().join(layer.digest.trim_start_matches("sha256:"));
        Box::pin(async move { Ok(Fetched { path, kept: Arc::new(()) }) })
    }
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self { archive: tar::Builder::new(Vec::new()), packing: Packing::Gzip }
    }

    pub(crate) fn packed(packing: Packing) -> Self {
        Self { packing, ..Self::new() }
    }

    /// A layer with these programs of the host and the libraries they need.
    pub(crate) fn with_programs(names: &[&str]) -> Self {
        let mut layer = Self::new().dir("usr", 0o755, 0).dir("usr/bin", 0o755, 0);
        for link in ["bin", "lib", "lib64"] {
            layer = layer.symlink(link, &format!("usr/{link}"));
        }
        let mut libraries = Vec::new();
        for name in names {
            let path = format!("/usr/bin/{name}");
            let listed = Command::new("ldd").arg(&path).output().expect("control: ldd runs");
            let text = String::from_utf8_lossy(&listed.stdout).into_owned();
            libraries.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
            layer = layer.file(&path, &std::fs::read(&path).expect("control: the host has it"), 0o755, 0);
        }
        libraries.sort_unstable();
        libraries.dedup();
        for library in libraries {
            let at = if library.starts_with("/usr") { library.clone() } else { format!("/usr{library}") };
            layer = layer.file(&at, &std::fs::read(&library).expect("control: the host has it"), 0o755, 0);
        }
        layer
    }

    pub(crate) fn dir(self, name: &str, mode: u32, owner: u64) -> Self {
        self.entry(name, EntryType::Directory, mode, owner, None, b"")
    }

    pub(crate) fn file(self, name: &str, content: &[u8], mode: u32, owner: u64) -> Self {
        self.entry(name, EntryType::Regular, mode, owner, None, content)
    }

    /// A file with these words in it.
    pub(crate) fn text(self, name: &str, words: &str) -> Self {
        self.file(name, words.as_bytes(), 0o644, 0)
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, 0o777, 0, Some(target), b"")
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Link, 0o644, 0, Some(target), b"")
    }

    /// The mark that what is below has gone.
    pub(crate) fn without(self, name: &str) -> Self {
        let (dir, last) = name.rsplit_once('/').unwrap_or(("", name));
        self.text(&format!("{dir}/.wh.{last}"), "")
    }

    /// The mark that of a directory only this layer's part is left.
    pub(crate) fn afresh(self, dir: &str) -> Self {
        self.text(&format!("{dir}/.wh..wh..opq"), "")
    }

    /// An entry of any kind, under any name.
    pub(crate) fn entry(
        self,
        name: &str,
        kind: EntryType,
        mode: u32,
        owner: u64,
        target: Option<&str>,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        self.raw(header, name, target, content)
    }

    /// An entry with this header, into which the names are written as they are.
    pub(crate) fn raw(mut self, mut header: Header, name: &str, target: Option<&str>, content: &[u8]) -> Self {
        let gnu = header.as_gnu_mut().expect("it is one");
        gnu.name[..name.len()].copy_from_slice(name.as_bytes());
        let target = target.unwrap_or_default();
        gnu.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.archive.append(&header, content).expect("written to memory");
        self
    }

    /// Unpacks it here, without a sandbox.
    pub(crate) fn unpack(self, dir: &Path) {
        let archive = self.archive.into_inner().expect("written to memory");
        tar::Archive::new(archive.as_slice()).unpack(dir).expect("unpacked");
    }

    fn finish(self, dir: &Path) -> ImageLayer {
        let archive = self.archive.into_inner().expect("written to memory");
        let packed = match self.packing {
            Packing::Plain => archive.clone(),
            Packing::Gzip => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(&archive).expect("written to memory");
                packer.finish().expect("written to memory")
            }
            Packing::Zstd => zstd::encode_all(archive.as_slice(), 1).expect("written to memory"),
        };
        let (digest, diff_id) = (digest_of(&packed), digest_of(&archive));
        std::fs::write(dir.join(digest.trim_start_matches("sha256:")), &packed).expect("written");
        ImageLayer { digest, bytes: packed.len() as u64, diff_id, packing: self.packing }
    }
}

fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
