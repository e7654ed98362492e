use anyhow::Result;

use crate::client::{CliStatus, Client, Session, session_id};
use crate::conversation::{Manner, Talk, converse};
use crate::failure::{Exit, advised};

/// Go on with a session
///
/// If it is at work, what it does is shown; if it waits for an approval, that is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The session's id, or its first digits
    session: String,
    /// What to say first; without it, it is asked for or read from standard input
    prompt: Option<String>,
    /// Answer once and leave
    #[arg(long, short)]
    single: bool,
}

impl Resume {
    pub(super) async fn run(self, client: Client, as_json: bool) -> Result<Exit> {
        let id = session_id(&client, &self.session).await?;
        let session = Session::read(&client.get(&format!("/v1/sessions/{id}"), &[]).await?)?;
        match session.tenure.cli_status {
            CliStatus::Active | CliStatus::Idle => {}
            status @ (CliStatus::Ended | CliStatus::Timeout) => {
                let message =
                    format!("Session '{}' has status '{}' and cannot be resumed", session.short_id(), status.name());
                return Err(advised(message, "`tenure run <agent>` begins a new one"));
            }
        }
        let manner = Manner { single: self.single, json: as_json };
        converse(client, Talk::With(Box::new(session)), self.prompt, manner).await
    }
}
