//! The engine on a store in memory, with sandboxes that run nothing and models that do as they are told.

mod check;
mod copies;
mod crash;
mod hosted;
mod lifetimes;
mod long;
mod models;
mod places;
mod recovery;
mod sandboxes;
mod streams;
mod turns;
