//! Contents too big for the log, by the hash of their bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use futures_core::future::BoxFuture;
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
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;

    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(hex, "{byte:02x}").expect("a string takes every write");
    }
    BlobId::from_hex(&hex).expect("a digest is 64 hex digits")
}

/// The time that a blob put now bears.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(0).after(since)
}
