//! The command line as people use it: the real program, in a data directory of its own, asserted on by what it prints
//! and by its exit codes.

mod home;
mod http;

mod backup;
mod commands;
mod copies;
mod doctor;
mod documented;
mod exec;
mod help;
mod keys;
mod lifecycle;
mod models;
mod roots;
mod run;
mod secrets;
mod server;
mod sessions;
mod starting;
mod telemetry;
