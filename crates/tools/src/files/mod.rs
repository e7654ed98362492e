//! The files of a session, for people and programs rather than for its model.
//!
//! All work on files is done inside the sandbox, as its user, by the op [`OP`]: [`FilesClient`] launches it and talks with
//! it. Whatever comes back is bounded and checked, since it may come from whatever runs there.

mod body;
mod client;
mod compare;
mod name;
mod request;

pub use body::Body;
pub(crate) use body::{BodyReader, END, frame};
pub use client::{Error, FilesClient, Listing, Upload};
pub(crate) use compare::{ASKS, Ask, Found, MOST_DIFFERENCE_BYTES, OfferEnd, Offered, Part};
pub use compare::{Change, Comparing, Content, Detail, Difference, Differences, MOST_PATCH_BYTES, MOST_TEXT_BYTES};
pub use name::Name;
pub use request::{Entry, Format, Kind, Refused, Slice, Span, Why};
pub(crate) use request::{Outcome, Request, Told};

/// The name of the op.
pub(crate) const OP: &str = "files";

/// The longest path, as the kernel has it.
pub const MOST_PATH_BYTES: usize = 4096;

/// The longest line that the op says.
pub(crate) const MOST_LINE_BYTES: usize = 64 * 1024;
