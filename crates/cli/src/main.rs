//! `tenure`: the server, the command line and the sandbox runtime in one program.
//!
//! A command of the command line talks to a server over its public API, like any other client; only `up`, `down`,
//! `doctor`, `check`, `backup` and `restore` touch the data directory themselves. The one list of commands is [`commands::Command`].

mod cli;
mod commands;

mod limits;
mod settings;

mod backup;
mod local;

mod client;
mod conversation;

mod terminal;

mod failure;

fn main() -> std::process::ExitCode {
    tenure_sandbox::dispatch(tenure_tools::guest_ops());
    cli::run()
}
