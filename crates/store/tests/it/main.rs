//! One suite for every store, and what only the one on disk can show.

mod conformance;
mod crash;
mod fixture;
mod golden;
mod sqlite;
