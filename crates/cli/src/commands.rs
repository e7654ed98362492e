//! The commands, one file each.

mod agents;
mod backup;
mod check;
mod doctor;
mod down;
mod environments;
mod keys;
mod models;
mod restore;
mod run;
mod sessions;
mod settings;
mod status;
mod up;

use anyhow::Result;

use crate::cli::Shared;
use crate::failure::Exit;

/// Every command.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Up(up::Up),
    Down(down::Down),
    Status(status::Status),
    Run(run::Run),
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    #[command(subcommand)]
    Agents(agents::Agents),
    #[command(subcommand)]
    Environments(environments::Environments),
    #[command(subcommand)]
    Models(models::Models),
    #[command(subcommand)]
    Keys(keys::Keys),
    Doctor(doctor::Doctor),
    Check(check::Check),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Settings(settings::Show),
}

impl Command {
    /// Does what was asked for.
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        match self {
            Self::Up(command) => command.run(shared),
            Self::Down(command) => command.run(shared),
            Self::Status(command) => command.run(shared),
            Self::Run(command) => command.run(shared),
            Self::Sessions(command) => command.run(shared),
            Self::Agents(command) => command.run(shared),
            Self::Environments(command) => command.run(shared),
            Self::Models(command) => command.run(shared),
            Self::Keys(command) => command.run(shared),
            Self::Doctor(command) => command.run(shared),
            Self::Check(command) => command.run(shared),
            Self::Backup(command) => command.run(shared),
            Self::Restore(command) => command.run(shared),
            Self::Settings(command) => command.run(shared),
        }
    }
}

/// Runs a client's work. One thread is enough for it, and starts faster than many.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(anyhow::Error::from)?.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::cli::Cli;

    /// Every command and each of its arguments says what it is for.
    #[test]
    fn every_command_is_documented() {
        let mut commands = vec![Cli::command()];
        commands[0].build();
        let mut seen = 0;
        while let Some(command) = commands.pop() {
            seen += 1;
            let name = command.get_name();
            assert!(command.get_about().is_some(), "`{name}` doesn't say what it does");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "`{name}`: {} isn't explained", argument.get_id());
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(seen > 20, "only {seen} commands were seen");
        Cli::command().debug_assert();
    }

    /// Each command has a file of its name.
    #[test]
    fn every_command_has_its_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands");
        for command in Cli::command().get_subcommands() {
            let file = folder.join(format!("{}.rs", command.get_name()));
            assert!(file.is_file(), "no {}", file.display());
        }
    }
}
