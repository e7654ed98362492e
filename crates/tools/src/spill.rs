//! Output that is too long for a model.

/// The most characters of one result that a model is given, as the peer's tools.
pub(crate) const MOST_CHARS: usize = 100_000;
