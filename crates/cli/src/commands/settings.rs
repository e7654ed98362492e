//! `tenure settings`: the page `docs/settings.md`.

use anyhow::Result;

use crate::cli::Shared;
use crate::failure::Exit;
use crate::settings;
use crate::terminal::out;

/// Print the documentation of all settings
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Show {
    /// As Markdown, which is the only form
    #[arg(long)]
    markdown: bool,
}

impl Show {
    pub(crate) fn run(self, _shared: &Shared) -> Result<Exit> {
        let Self { markdown: _ } = self;
        out::text(&settings::markdown());
        Ok(Exit::Success)
    }
}
