//! A client of a server's public API.

mod api;
mod error;
mod events;
mod exec;
mod resources;
mod sse;
mod target;
mod tls;
mod transfer;

pub(crate) use api::Client;
pub(crate) use error::ApiError;
pub(crate) use events::{Event, EventStream};
pub(crate) use exec::{ExecInput, ExecOutput, Said};
pub(crate) use resources::{Agent, CliStatus, Session, agent, session_id};
pub(crate) use target::Target;
pub(crate) use tls::client_config as tls_config;
