use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure_core::root::Root;

use crate::{BoxFuture, Error};

/// Where images come from: a registry, or a file of the operator's. It never looks into a layer.
pub trait Images: Send + Sync + fmt::Debug {
    /// Whether this one may be asked for. Nobody else is asked.
    fn check(&self, root: &Root) -> Result<(), Error>;

    /// Finds out what a [`Root::Image`] or [`Root::Archive`] is now: its name may mean another image tomorrow.
    fn find<'a>(&'a self, root: &'a Root) -> BoxFuture<'a, Result<Image, Error>>;

    /// Has a layer's file on disk, whole and with the digest it should have, readable by everybody. Asked for by several at
    /// once, it is fetched once.
    fn layer<'a>(&'a self, image: &'a Image, layer: &'a ImageLayer) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// How many bytes of a layer's file are there while it is being fetched, as far as that is known.
    fn fetched(&self, _layer: &ImageLayer) -> u64 {
        0
    }
}

/// The file of a layer. It may go when nobody holds this any more.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// What keeps it.
    pub kept: Arc<dyn fmt::Debug + Send + Sync>,
}

/// An image, as its manifest and configuration say; both have been checked against their digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// What it was asked for as.
    pub root: Root,
    /// The digest of its manifest, which names it for good.
    pub digest: String,
    /// The environment that its programs expect.
    pub env: Vec<(String, String)>,
    /// What it consists of, the lowest first.
    pub layers: Vec<ImageLayer>,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The digest of its file.
    pub digest: String,
    /// How long that is.
    pub bytes: u64,
    /// The digest of the archive in it.
    pub diff_id: String,
    /// How the archive is packed.
    pub packing: Packing,
}

/// How a layer's archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Not at all.
    Plain,
    /// By gzip.
    Gzip,
    /// By Zstandard.
    Zstd,
}
