//! `/v1/sessions/{id}/events`: sending, listing, streaming.

mod frames;
mod list;
mod send;
mod stream;

pub(crate) use frames::FrameCache;
pub(crate) use list::{list, queued};
pub(crate) use send::send;
pub(crate) use stream::stream;
