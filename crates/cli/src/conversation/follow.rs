//! Following a session through lost connections: from where the last event was, without loss or doubling.

use std::time::Duration;

use anyhow::Result;

use crate::client::{ApiError, Client, Event, EventStream};
use crate::failure::advised;

/// How often a lost connection is tried again before giving up.
pub(super) const ATTEMPTS: u32 = 10;

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
    /// Whether to wait before the next try.
    waits: bool,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// An event.
    Event(Event),
    /// The connection is lost; asking again tries it anew.
    Reconnecting {
        /// How many times it was lost since the last event.
        attempt: u32,
    },
}

impl Follower {
    /// Follows what happens after `cursor`.
    pub(super) fn new(client: Client, session: &str, cursor: String) -> Self {
        Self { client, session: session.to_owned(), cursor, stream: None, lost: 0, waits: false }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Lets go of the connection until the next event is wanted.
    pub(super) fn pause(&mut self) {
        self.stream = None;
    }

    /// What comes next. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Next> {
        if self.waits {
            let wait = FIRST_WAIT.saturating_mul(1 << self.lost.saturating_sub(1)).min(LONGEST_WAIT);
            tokio::time::sleep(wait).await;
            self.waits = false;
            if let Some(target) = self.client.target().again()? {
                self.client = Client::new(target)?;
            }
        }
        match self.try_next().await {
            Ok(event) => {
                self.lost = 0;
                if let Some(cursor) = &event.cursor {
                    self.cursor.clone_from(cursor);
                }
                Ok(Next::Event(event))
            }
            Err(Lost::Passing(error)) => {
                self.stream = None;
                if self.lost >= ATTEMPTS {
                    let gave_up = "Lost connection to server after multiple retries.";
                    let advice = "the session goes on; `tenure sessions resume` shows it";
                    return Err(anyhow::Error::new(error).context(advised(gave_up, advice)));
                }
                self.lost += 1;
                self.waits = true;
                Ok(Next::Reconnecting { attempt: self.lost })
            }
            Err(Lost::ForGood(error)) if self.lost > 0 => Err(anyhow::Error::new(error).context("Reconnection failed")),
            Err(Lost::ForGood(error)) => Err(error.into()),
        }
    }

    async fn try_next(&mut self) -> Result<Event, Lost> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let opened = EventStream::open(&self.client, &self.session, &self.cursor).await;
                self.stream.insert(opened.map_err(|error| match error.is_passing() {
                    true => Lost::Passing(error),
                    false => Lost::ForGood(error),
                })?)
            }
        };
        match stream.next().await {
            Ok(Some(event)) => Ok(event),
            Ok(None) => Err(Lost::Passing(ApiError::Odd("the stream ended".to_owned()))),
            Err(error) => Err(Lost::Passing(error)),
        }
    }
}

/// Why there is no connection.
enum Lost {
    Passing(ApiError),
    ForGood(ApiError),
}
