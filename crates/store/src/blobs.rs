//! Contents too big for the log, by the hash of their bytes.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_core::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tenure_core::content::BlobId;
use tenure_core::time::Timestamp;

use crate::error::Error;

/// Bytes under their SHA-256. A blob lives as long as a session's facts name it.
pub trait Blobs {
    /// Stores bytes; when this returns, they survive a loss of power. Storing the same bytes again changes nothing.
    fn put_blob(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<BlobId, Error>>;

    /// The bytes of a blob.
    fn blob(&self, id: BlobId) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>>;

    /// Whether there is such a blob.
    fn has_blob(&self, id: BlobId) -> BoxFuture<'_, Result<bool, Error>>;

    /// Removes the blobs that no session names and that were last put before `before`; says how many. `before` has to
    /// leave whoever puts a blob the time to append the fact that names it: an hour does.
    fn sweep_blobs(&self, before: Timestamp) -> BoxFuture<'_, Result<usize, Error>>;
}

/// The name of some bytes.
pub(crate) fn name_of(bytes: &[u8]) -> BlobId {
    let mut hashing = Hashing::new(io::sink());
    hashing.write_all(bytes).expect("a sink takes every write");
    BlobId::from_hex(&hashing.finish().1).expect("a digest is 64 hex digits")
}

/// Passes bytes on and hashes them on the way, as blobs are named.
pub struct Hashing<W> {
    to: W,
    bytes: u64,
    digest: Sha256,
}

impl<W: Write> Hashing<W> {
    /// Passes bytes on to `to`.
    pub fn new(to: W) -> Self {
        Self { to, bytes: 0, digest: Sha256::new() }
    }

    /// How many bytes passed, and their SHA-256 in hex.
    pub fn finish(self) -> (u64, String) {
        let mut hex = String::with_capacity(64);
        for byte in self.digest.finalize() {
            write!(hex, "{byte:02x}").expect("a string takes every write");
        }
        (self.bytes, hex)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The time that a blob put now bears.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(0).after(since)
}
