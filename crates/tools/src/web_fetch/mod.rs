//! `web_fetch`: the server reads a page of the public web for a model.
//!
//! What may be asked for is decided for each hop of a redirect, by the address that is then connected to.

mod address;
mod domains;
mod fetch;
mod html;
mod markdown;
mod page;
mod resolve;
mod tool;

pub use address::Opened;
pub use resolve::{Lookup, SystemLookup};
pub use tool::{FetchLimits, WebFetch, WebFetchConfig};
