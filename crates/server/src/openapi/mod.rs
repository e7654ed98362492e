//! The description of `/v1` in OpenAPI 3.1, made of the table of routes and of what is said beside each front door about
//! its parameters, bodies and answers.

mod document;
mod links;
mod operation;
mod parameter;
mod problems;

pub(crate) mod schema;
pub(crate) mod serve;

pub use document::openapi;
pub(crate) use operation::{Describe, Operation, Schemas};
pub(crate) use parameter::Parameter;
pub(crate) use serve::serve;
