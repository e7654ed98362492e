//! The one thing that others see: a store of images.

use std::path::{Path, PathBuf};

use tenure_core::root::{ImageReference, Root};
use tenure_sandbox::{BoxFuture, Error, Fetched, Image, ImageLayer, Images};

use crate::cache::Cache;
use crate::image::{Descriptor, Document, digest_of, invalid, read};
use crate::layout::Layout;
use crate::registry::Registries;

/// How a [`Store`] is set up.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where layers are while they are needed; nobody else's directory.
    pub dir: PathBuf,
    /// The registries that may be asked, as images name them: `docker.io`, `ghcr.io`, `127.0.0.1:5000`. Those of this
    /// machine are asked over plain HTTP, all others over HTTPS.
    pub registries: Vec<String>,
    /// A file in the format of `docker login` with the credentials for them. Without one, none are given.
    pub docker_config: Option<PathBuf>,
}

/// Images of registries and of the operator's files.
#[derive(Debug)]
pub struct Store {
    cache: Cache,
    registries: Registries,
}

/// How many indexes may lead to each other before there is an image.
const MOST_STEPS: usize = 3;

impl Store {
    /// A store. Nothing is read or asked until an image is wanted.
    pub fn new(settings: Settings) -> Self {
        let Settings { dir, registries, docker_config } = settings;
        Self { cache: Cache::new(dir), registries: Registries::new(registries, docker_config) }
    }

    async fn find(&self, root: &Root) -> Result<Image, Error> {
        match root {
            Root::Image { reference } => self.find_remote(root, reference).await,
            Root::Archive { path } => {
                let (root, path) = (root.clone(), PathBuf::from(path));
                blocking(move || find_packed(&root, &path)).await
            }
            Root::Host | Root::Directory { .. } => Err(no_image()),
        }
    }

    async fn find_remote(&self, root: &Root, reference: &ImageReference) -> Result<Image, Error> {
        let (name, remote) = (reference.to_string(), self.registries.remote(reference).await?);
        let mut wanted: Option<String> = None;
        for _ in 0..MOST_STEPS {
            let (bytes, digest) = remote.document(wanted.as_deref()).await?;
            match read(&name, &bytes)? {
                Document::Elsewhere(next) => wanted = Some(next.digest),
                Document::Manifest(manifest) => {
                    let Descriptor { digest: configuration, size, .. } = &manifest.config;
                    let configuration = remote.blob(configuration, *size).await?;
                    return manifest.image(root, &name, digest, &configuration);
                }
            }
        }
        Err(too_many_steps(&name))
    }

    async fn layer(&self, image: &Image, layer: &ImageLayer) -> Result<Fetched, Error> {
        let holding = self.cache.hold(&layer.digest);
        let alone = holding.fetching.lock().await;
        if !holding.is_whole() {
            tracing::info!(image = image.digest, layer = layer.digest, bytes = layer.bytes, "a layer is fetched");
            match &image.root {
                Root::Image { reference } => {
                    self.registries.remote(reference).await?.layer(&self.cache, &layer.digest, layer.bytes).await?;
                }
                Root::Archive { path } => self.copy_packed(path, layer).await?,
                Root::Host | Root::Directory { .. } => return Err(no_image()),
            }
        }
        drop(alone);
        Ok(holding.fetched())
    }

    async fn copy_packed(&self, path: &str, layer: &ImageLayer) -> Result<(), Error> {
        let mut part = self
            .cache
            .begin(&layer.digest, layer.bytes)
            .map_err(|source| Error::Failed { doing: "keeping a layer".to_owned(), source })?;
        let (path, digest) = (path.to_owned(), layer.digest.clone());
        blocking(move || {
            let mut reader = Layout::open(Path::new(&path))?.reader(&digest)?;
            let copied = part.restart().and_then(|()| part.add_all(&mut reader)).and_then(|()| part.finish());
            copied.map_err(|error| invalid(&path, format_args!("the layer {digest}: {error}")))
        })
        .await
    }
}

impl Images for Store {
    fn check(&self, root: &Root) -> Result<(), Error> {
        match root {
            Root::Image { reference } => self.registries.check(reference),
            Root::Archive { .. } => Ok(()),
            Root::Host | Root::Directory { .. } => Err(no_image()),
        }
    }

    fn find<'a>(&'a self, root: &'a Root) -> BoxFuture<'a, Result<Image, Error>> {
        Box::pin(self.find(root))
    }

    fn layer<'a>(&'a self, image: &'a Image, layer: &'a ImageLayer) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(self.layer(image, layer))
    }

    fn fetched(&self, layer: &ImageLayer) -> u64 {
        self.cache.fetched(&layer.digest)
    }
}

fn find_packed(root: &Root, path: &Path) -> Result<Image, Error> {
    let (name, layout) = (path.display().to_string(), Layout::open(path)?);
    let mut bytes = layout.index()?;
    for _ in 0..MOST_STEPS {
        match read(&name, &bytes)? {
            Document::Elsewhere(next) => bytes = layout.blob(&next.digest, next.size)?,
            Document::Manifest(manifest) => {
                let configuration = layout.blob(&manifest.config.digest, manifest.config.size)?;
                return manifest.image(root, &name, digest_of(&bytes), &configuration);
            }
        }
    }
    Err(too_many_steps(&name))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::Failed { doing: "reading an image".to_owned(), source: std::io::Error::other(error) })
    })
}

fn too_many_steps(name: &str) -> Error {
    invalid(name, format_args!("more than {MOST_STEPS} indexes lead to one another"))
}

fn no_image() -> Error {
    Error::Invalid("the root of this sandbox is no image".to_owned())
}
