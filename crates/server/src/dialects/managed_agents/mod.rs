//! `/v1`: the Managed Agents API, beta `managed-agents-2026-04-01`, for all generations of its SDKs.
//!
//! `ingest` reads the wire into core's terms, `project` prints core's terms into `wire`'s structs; both by hand. Handlers
//! are in the files named after their resource. A field the peer knows and we don't support yet is a 400 that names it,
//! unless it is empty; a field nobody knows is ignored and named in `x-tenure-ignored`.

pub(crate) mod agents;
pub(crate) mod environments;
pub(crate) mod events;
pub(crate) mod sessions;
pub(crate) mod threads;

pub(crate) mod ingest;
pub(crate) mod project;
mod wire;

pub(crate) mod describe;

pub(crate) mod error;
pub(crate) mod status;
