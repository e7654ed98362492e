//! A fact's checksum: disks forget bits, and SQLite notices that only where the bits are its own.

use tenure_core::id::SessionId;

use super::append::blob;

/// The parts of a fact's row that its checksum covers.
pub(super) struct Sealed<'a> {
    pub(super) session: SessionId,
    pub(super) seq: u64,
    pub(super) at_micros: i64,
    pub(super) format: u32,
    pub(super) kind: &'a str,
    pub(super) item: Option<[u8; 16]>,
    /// The body, or the name of the blob it is in, which is checked by its own name.
    pub(super) body: &'a [u8],
}

impl Sealed<'_> {
    /// CRC-32 (IEEE), which finds every single damaged byte. It also covers whose fact it is and where it belongs, so that
    /// one in another's place is noticed.
    pub(super) fn checksum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&blob(self.session.bits()));
        sum.update(&self.seq.to_be_bytes());
        sum.update(&self.at_micros.to_be_bytes());
        sum.update(&self.format.to_be_bytes());
        sum.update(self.kind.as_bytes());
        // Ends the kind, whose length is not fixed, and tells the two cases apart.
        match &self.item {
            Some(item) => {
                sum.update(&[1]);
                sum.update(item);
            }
            None => sum.update(&[0]),
        }
        sum.update(self.body);
        sum.finalize()
    }
}
