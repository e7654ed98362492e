//! The server in process, through its front door.

mod support;

mod abandoned;
mod agents;
mod budgets;
mod connections;
mod copies;
mod diff;
mod environments;
mod errors;
mod events;
mod exec;
mod extensions;
mod idempotency;
mod instructions;
mod labels;
mod lifetimes;
mod limits;
mod long;
mod mutations;
mod openapi;
mod order;
mod paths;
mod questions;
mod routes;
mod sessions;
mod slow_readers;
mod states;
mod steering;
mod stream;
mod threads;
mod tools;
mod wire;
mod workspace;
