//! `tenure sessions`.

mod change;
mod copies;
mod diff;
mod exec;
mod files;
mod get;
mod limits;
mod list;
mod resume;

use anyhow::Result;

use super::block_on;
use crate::cli::Shared;
use crate::client::{Client, Target};
use crate::failure::Exit;

/// List, show, limit, resume, stop, fork, rewind, end and delete sessions, and use their files and sandboxes
///
/// A session is named by its id or by the first digits of it.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Sessions {
    List(list::List),
    Get(get::Get),
    Limits(limits::Limits),
    Resume(resume::Resume),
    Stop(change::Stop),
    Fork(copies::Fork),
    Clone(copies::Clone),
    Rewind(copies::Rewind),
    Snapshots(copies::Snapshots),
    Diff(diff::Diff),
    End(change::End),
    Delete(change::Delete),
    Exec(exec::Exec),
    Shell(exec::Shell),
    #[command(subcommand)]
    Files(files::Files),
    Download(files::Download),
    Upload(files::Upload),
}

impl Sessions {
    pub(crate) fn run(self, shared: &Shared) -> Result<Exit> {
        let client = Client::new(Target::find(shared)?)?;
        block_on(async {
            match self {
                Self::List(command) => command.run(&client, shared.json).await,
                Self::Get(command) => command.run(&client, shared.json).await,
                Self::Limits(command) => command.run(&client, shared.json).await,
                Self::Resume(command) => command.run(client, shared.json).await,
                Self::Stop(command) => command.run(&client, shared.json).await,
                Self::Fork(command) => command.run(&client, shared.json).await,
                Self::Clone(command) => command.run(&client, shared.json).await,
                Self::Rewind(command) => command.run(&client, shared.json).await,
                Self::Snapshots(command) => command.run(&client, shared.json).await,
                Self::Diff(command) => command.run(&client, shared.json).await,
                Self::End(command) => command.run(&client, shared.json).await,
                Self::Delete(command) => command.run(&client, shared.json).await,
                Self::Exec(command) => command.run(&client, shared.json).await,
                Self::Shell(command) => command.run(&client).await,
                Self::Files(command) => command.run(&client, shared.json).await,
                Self::Download(command) => command.run(&client, shared.json).await,
                Self::Upload(command) => command.run(&client, shared.json).await,
            }
        })
    }
}
