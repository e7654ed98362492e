//! The command line as a whole: what every command shares, and how errors are shown.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::client::ApiError;
use crate::commands::Command;
use crate::failure::{Advised, Exit};
use crate::terminal::{plain, say};

/// An open, self-hosted home for AI-agent sessions.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Shared {
    /// Where the local server keeps everything. Default: $XDG_DATA_HOME/tenure
    #[arg(long, global = true, env = "TENURE_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  tenure run assistant                          talk to an agent; a server is started if none runs
  tenure run assistant \"What is 2+2?\" --single  ask once
  tenure sessions list                          what is going on
  tenure models add anthropic                   give it a model (the key is asked for)
  tenure doctor                                 test whether sandboxes isolate on this machine

A command talks to the server at TENURE_URL with TENURE_API_KEY; without them, to this machine's own.";

/// Runs the command that was asked for.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Asking for help or the version is no error; everything else is 1, as for every other failure.
            return if error.use_stderr() { Exit::Failure.into() } else { Exit::Success.into() };
        }
    };
    match cli.command.run(&cli.shared) {
        Ok(exit) => exit.into(),
        Err(error) => {
            show(&error);
            Exit::Failure.into()
        }
    }
}

/// Shows an error: what happened with its causes, then what to do.
pub(crate) fn show(error: &anyhow::Error) {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Some errors repeat their cause in their own words.
        if !message.contains(&cause) {
            message = if message.is_empty() { cause } else { format!("{message}: {cause}") };
        }
    }
    say::failure(&plain(&message));
    if let Some(advice) = error.chain().find_map(advice) {
        say::hint(&plain(&advice));
    }
}

fn advice(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    match error.downcast_ref::<Advised>() {
        Some(advised) => Some(advised.advice.clone()),
        None => error.downcast_ref::<ApiError>()?.advice(),
    }
}
