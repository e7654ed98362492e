//! Sealed layers, saved and restored one by one: a layer that many sessions share is saved once.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat};
use tenure_core::id::SessionId;

use super::load::{Loading, remove};
use super::save::{Found, Level, Saved, Tape};
use super::stack::Stack;
use crate::Error;
use crate::supervisor::head::LayerId;
use crate::supervisor::snapshots::{COLLECT_LOCK, LAYERS, MERGED};
use crate::supervisor::{CANONICAL_BASE, Standing, allow_many_files};

/// While it lives, no sealed layer is removed from a sandbox directory: what [`save_files`](super::save_files) names stays
/// until it is saved too.
#[derive(Debug)]
pub struct KeepLayers(#[expect(dead_code, reason = "it holds the lock")] Option<File>);

impl KeepLayers {
    /// Waits, if some are being removed at this moment. Blocks.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let lock = || match File::options().create(true).truncate(false).write(true).open(root.join(COLLECT_LOCK)) {
            Ok(file) => {
                flock(&file, FlockOperation::LockShared)?;
                Ok(Some(file))
            }
            // There are none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        lock().map(Self).map_err(Error::failed("keeping layers from being removed"))
    }
}

/// The least effort: most of what is gained is gained there, at the speed of the disk.
const LEVEL: i32 = 1;

/// Writes a sealed layer as a tar stream, compressed with zstd. Blocks.
///
/// Where an archive of it is kept already, that is what is written, without looking at the layer's files, if it is whole.
pub fn save_layer(root: &Path, layer: &str, to: &mut dyn Write) -> Result<Saved, Error> {
    let mut save = || -> io::Result<Saved> {
        let layer = id(layer)?;
        if super::archive::copy(root, &layer, to)? {
            return Ok(Saved::default());
        }
        write(root, &layer, to)
    };
    save().map_err(Error::failed(format!("saving layer {layer}")))
}

/// As [`save_layer`], from the layer's files.
pub(super) fn write(root: &Path, layer: &LayerId, to: &mut dyn Write) -> io::Result<Saved> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = openat(CWD, root.join(LAYERS).join(layer.to_string()), flags, Mode::empty())?;
    allow_many_files();
    let (dir, names) = Found::list_of(&dir)?;
    let mut packed = zstd::Encoder::new(to, LEVEL)?;
    packed.include_checksum(true)?;
    let saved = {
        let mut tape = Tape::new(&mut packed);
        tape.walk(Level { dir, path: PathBuf::new(), names })?;
        let saved = std::mem::take(&mut tape.saved);
        tape.builder.into_inner()?.flush()?;
        saved
    };
    packed.finish()?.flush()?;
    Ok(saved)
}

/// Reads back what [`save_layer`] wrote. If the stream isn't whole, nothing is left of it; a layer that is there already is an
/// error. Nothing in the stream can reach out of the layer. It isn't synced. Blocks.
pub fn load_layer(root: &Path, layer: &str, from: &mut dyn Read) -> Result<(), Error> {
    let failed = Error::failed(format!("restoring layer {layer}"));
    let layers = root.join(LAYERS);
    let load = |loading: &Path| {
        let to = layers.join(id(layer)?.to_string());
        if to.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already"));
        }
        remove(loading)?;
        std::fs::create_dir(loading)?;
        let dir = openat(CWD, loading, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        allow_many_files();
        let mut unpacked = zstd::Decoder::new(from)?;
        Loading::new(dir, |part| part == MERGED || part.to_str().and_then(LayerId::parse).is_some())
            .read(&mut unpacked)?;
        make_canonical(loading, 0o755)?;
        std::fs::rename(loading, &to)
    };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&layers);
    let loading = root.join(format!("loading-layer-{}", std::process::id()));
    made.and_then(|()| make_canonical(&layers, 0o700)).and_then(|()| load(&loading)).map_err(|error| {
        let _ = remove(&loading);
        failed(error)
    })
}

/// Accepts sessions that were restored if every layer is there that their stacks and snapshots need. Blocks.
pub fn check_stacks(root: &Path, session: SessionId) -> Result<(), Error> {
    let check = || -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, root.join("sessions").join(session.to_string()), flags, Mode::empty())?;
        let stack = Stack::read(root, &dir)?;
        let mut needed: BTreeSet<String> = stack.layers;
        let named = stack.head.as_deref().map(crate::supervisor::head::Head::parse).transpose()?.unwrap_or_default();
        let mut below_top = named.layers;
        // The topmost may be waiting to be sealed.
        if stack.writable.is_some() {
            below_top.pop();
        }
        needed.extend(below_top.iter().map(ToString::to_string));
        match needed.iter().find(|layer| !root.join(LAYERS).join(layer).is_dir()) {
            Some(layer) => Err(io::Error::new(io::ErrorKind::InvalidData, format!("layer {layer} isn't there"))),
            None => Ok(()),
        }
    };
    check().map_err(Error::failed(format!("looking for the layers of {session}")))
}

fn id(layer: &str) -> io::Result<LayerId> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, format!("no layer can be called {layer:?}"));
    LayerId::parse(layer).ok_or_else(bad)
}

/// What mounts layers does so as one of the sandboxes' users.
fn make_canonical(dir: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(dir, PermissionsExt::from_mode(mode))?;
    match Standing::towards_files() {
        Standing::Root => chown(dir, Some(CANONICAL_BASE), Some(CANONICAL_BASE)),
        Standing::One | Standing::Given => Ok(()),
    }
}
