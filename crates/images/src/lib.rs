//! Images for the roots of sandboxes: found, fetched and checked, never opened.
//!
//! [`Store`] finds an image in a registry or in a file of the operator's, and has its layers on disk, whole and with the
//! digests they should have. What is in a layer is looked at by nobody here: that is done in a sandbox.
//!
//! Invariant: it parses manifests and configurations, and no layer.
#![warn(missing_docs)]

mod cache;
mod credentials;
mod image;
mod layout;
mod registry;
mod store;

pub use store::{Settings, Store};
