//! Following a session through lost connections: from where the last event was, without loss or doubling.

use std::time::Duration;

use anyhow::Result;

use crate::client::{ApiError, Client, Event, EventStream};
use crate::failure::advised;
use crate::terminal::say;

/// How often a lost connection is tried again before giving up.
const ATTEMPTS: u32 = 10;

/// The first wait; it doubles, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A session's events from some place on.
pub(super) struct Follower {
    client: Client,
    session: String,
    cursor: String,
    stream: Option<EventStream>,
    /// Connections lost since the last event.
    lost: u32,
}

impl Follower {
    /// Follows what happens after `cursor`.
    pub(super) fn new(client: Client, session: &str, cursor: u64) -> Self {
        Self { client, session: session.to_owned(), cursor: cursor.to_string(), stream: None, lost: 0 }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Lets go of the connection until the next event is wanted.
    pub(super) fn pause(&mut self) {
        self.stream = None;
    }

    /// The next event. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Event> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let opened = EventStream::open(&self.client, &self.session, &self.cursor).await;
                    match opened {
                        Ok(opened) => self.stream.insert(opened),
                        Err(error) if error.is_passing() => {
                            self.reconnect(error).await?;
                            continue;
                        }
                        Err(error) if self.lost > 0 => {
                            return Err(anyhow::Error::new(error).context("Reconnection failed"));
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            match stream.next().await {
                Ok(Some(event)) => {
                    self.lost = 0;
                    if let Some(cursor) = &event.cursor {
                        self.cursor.clone_from(cursor);
                    }
                    return Ok(event);
                }
                Ok(None) => self.reconnect(ApiError::Odd("the stream ended".to_owned())).await?,
                Err(error) => self.reconnect(error).await?,
            }
        }
    }

    async fn reconnect(&mut self, error: ApiError) -> Result<()> {
        self.stream = None;
        if self.lost >= ATTEMPTS {
            let gave_up = advised(
                "Lost connection to server after multiple retries.",
                "the session goes on; `tenure sessions resume` shows it",
            );
            return Err(anyhow::Error::new(error).context(gave_up));
        }
        self.lost += 1;
        say::line(&say::dim(&format!("Reconnecting ({}/{ATTEMPTS})...", self.lost)));
        let wait = FIRST_WAIT.saturating_mul(1 << (self.lost - 1)).min(LONGEST_WAIT);
        tokio::time::sleep(wait).await;
        if let Some(target) = self.client.target().again()? {
            self.client = Client::new(target)?;
        }
        Ok(())
    }
}
