//! The providers against a server on loopback that answers as it is told.

mod conformance;
mod failures;
mod fake;
mod recorded;
mod render;
mod requests;
mod routing;
mod script;
mod snapshot;
