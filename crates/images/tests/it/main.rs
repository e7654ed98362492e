//! Images found and fetched over real HTTP and out of files, honest and not.

mod archive;
mod registry;
