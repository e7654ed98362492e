//! What the description in OpenAPI says of `/v1`: for each route its parameters, its body and its answer. Bodies are
//! written here by hand beside the limits of `ingest`, which reads them by hand; answers follow from `wire`'s structs.

pub(crate) mod agents;
pub(crate) mod environments;
pub(crate) mod events;
pub(crate) mod sessions;
pub(crate) mod threads;

mod content;
mod labels;
mod lifetimes;
mod metadata;
mod model;
mod tools;

pub(crate) use super::wire::printed_id;
pub(crate) use sessions::session;
