//! The front doors of a Tenure server, over HTTP.
//!
//! A dialect (`dialects/`) is a parser and a printer: wire to commands, facts to wire. What is Tenure's own on the same
//! paths is in `extensions/`. What surrounds every request is in `guard/`: ids, logs, metrics, keys, hosts and origins.
//! `routes` is the one table of all routes.
//!
//! Invariant: it decides nothing and stores nothing. It reaches sessions and resources only through the engine's handles.
#![warn(missing_docs)]

mod config;
mod patience;
mod serve;

mod app;
mod routes;

mod dialects;
mod extensions;
mod fronts;

mod guard;
mod observe;
mod openapi;
mod problem;
mod request;

pub use app::router;
pub use config::{AdoptTrace, ServerConfig};
pub use openapi::openapi;
pub use routes::{RouteInfo, route_list};
pub use serve::{ServeError, serve};
