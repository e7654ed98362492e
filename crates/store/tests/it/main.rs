//! One suite for every store, and what only the one on disk can show.

mod check;
mod conformance;
mod crash;
mod fixture;
mod golden;
mod sqlite;
