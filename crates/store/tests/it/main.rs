//! One suite for every store, and what only the one on disk can show.

mod backup;
mod check;
mod conformance;
mod cost;
mod crash;
mod disk;
mod fixture;
mod golden;
mod sqlite;
