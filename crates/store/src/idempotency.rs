//! Answers kept so that a repeated request isn't carried out twice.

use tenure_core::id::TenantId;
use tenure_core::time::Timestamp;

/// The answer to a request, under the key its client gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Whose key it is.
    pub tenant: TenantId,
    /// The client's key.
    pub key: String,
    /// SHA-256 of what was asked, to tell a repetition from another request under the same key.
    pub fingerprint: [u8; 32],
    /// The HTTP status of the answer.
    pub status: u16,
    /// The body of the answer.
    pub body: Vec<u8>,
    /// When the request was carried out.
    pub created_at: Timestamp,
    /// From when on it counts as forgotten.
    pub expires_at: Timestamp,
    /// Whether it takes the place of an answer under the same key, where else the write would fail. Not kept itself.
    pub replaces: bool,
}

/// An answer to be kept with a write, or none. The write fails with `KeyTaken` when the key has an answer that hadn't
/// expired at the new one's `created_at`.
pub type NewAnswer = Option<IdempotencyRecord>;
