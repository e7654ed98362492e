//! Archives of sealed layers that are kept beside them, so that a backup need not read a layer twice.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::layers::write;
use crate::supervisor::head::LayerId;

/// In a sandbox directory, where they are.
pub(crate) const ARCHIVES: &str = "archives";

/// What is kept of an archive, to tell whether it is whole. It has its name before the archive has.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    bytes: u64,
    sha256: String,
}

/// The names of the archive of a layer, and of what is kept of it.
pub(crate) fn names(layer: &LayerId) -> [String; 2] {
    [format!("{layer}.tar.zst"), format!("{layer}.json")]
}

fn paths(root: &Path, layer: &LayerId) -> [PathBuf; 2] {
    names(layer).map(|name| root.join(ARCHIVES).join(name))
}

/// Archives a layer. The archive is there whole or not at all. Blocks.
pub(crate) fn make(root: &Path, layer: &LayerId) -> io::Result<()> {
    let [archive, kept] = paths(root, layer);
    std::fs::create_dir_all(root.join(ARCHIVES))?;
    let unfinished = root.join(ARCHIVES).join(UNFINISHED);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&unfinished)?;
    let mut hashing = Hashing { to: io::BufWriter::new(&file), sha256: Sha256::new(), bytes: 0 };
    write(root, layer, &mut hashing)?;
    hashing.to.flush()?;
    let (bytes, sha256) = (hashing.bytes, hex(&hashing.sha256.finalize()));
    drop(hashing.to);
    file.sync_all()?;
    let mut note = options.open(&kept)?;
    note.write_all(&serde_json::to_vec(&Kept { version: 1, bytes, sha256 })?)?;
    note.sync_all()?;
    std::fs::rename(&unfinished, &archive)
}

/// The name of the one that is being made; there is one worker at a time.
const UNFINISHED: &str = "unfinished";

/// Writes the archive of a layer, if there is one and it is whole; says so. Nothing is written otherwise.
pub(super) fn copy(root: &Path, layer: &LayerId, to: &mut dyn Write) -> io::Result<bool> {
    let [archive, kept] = paths(root, layer);
    let Ok(mut file) = File::open(archive) else { return Ok(false) };
    let kept = std::fs::read(kept).ok().and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
    let Some(kept) = kept.filter(|kept| kept.version == 1) else { return Ok(false) };
    // Read twice, the second time from memory mostly: what has been written can't be taken back.
    let mut hashing = Hashing { to: io::sink(), sha256: Sha256::new(), bytes: 0 };
    io::copy(&mut file, &mut hashing)?;
    if (hashing.bytes, hex(&hashing.sha256.finalize())) != (kept.bytes, kept.sha256) {
        return Ok(false);
    }
    file.rewind()?;
    io::copy(&mut file.take(kept.bytes), to)?;
    Ok(true)
}

struct Hashing<W> {
    to: W,
    sha256: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.sha256.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
