//! Plays the sandbox roles for this crate's tests, with the tools' own functions.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenure_sandbox::dispatch(tenure_tools::guest_ops());
    // Started by hand: it has nothing to do.
    ExitCode::FAILURE
}
