//! What handles give back, and the answers that are kept with what they did.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenure_core::fact::StoredFact;
use tenure_core::id::TenantId;
use tenure_core::phase::Phase;
use tenure_core::resource::{AgentRecord, EnvironmentRecord};
use tenure_core::session::Definition;
use tenure_core::summary::Summary;
use tenure_core::time::Timestamp;
use tenure_store::{IdempotencyRecord, SessionRow};

use crate::cursor::Cursor;

/// How long the answer under a client's idempotency key is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long an answer is kept for an SDK that may ask again.
const KEPT_FOR_RETRY: Duration = Duration::from_secs(15 * 60);

/// A session as it was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    /// What lists show.
    pub summary: Summary,
    /// What it was created with, and its agent's tools as they are now.
    pub definition: Arc<Definition>,
    /// The moment.
    pub now: Timestamp,
    /// The generation of the data.
    pub generation: u64,
    /// What is being done to get its sandbox ready, if that takes its time and somebody asked.
    pub preparing: Option<Arc<str>>,
}

impl SessionView {
    pub(crate) fn of(row: SessionRow, now: Timestamp, generation: u64) -> Self {
        Self { summary: row.summary, definition: row.definition, now, generation, preparing: None }
    }

    /// The place of its last fact.
    pub fn cursor(&self) -> Cursor {
        Cursor { generation: self.generation, seq: self.summary.seq }
    }

    /// Its line of the status table.
    pub fn phase(&self) -> Phase {
        self.summary.phase()
    }
}

/// An idempotency key and how to print the answer that is kept under it.
#[derive(Clone)]
pub struct Keyed {
    /// The client's key, unique for its tenant.
    pub key: String,
    /// SHA-256 of the method, path and body it came with.
    pub fingerprint: [u8; 32],
    /// Prints the body of the answer.
    pub render: Render,
    /// Whose choice the key is.
    pub origin: KeyOrigin,
}

/// Whose choice an idempotency key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyOrigin {
    /// The client's: using it twice for different requests is an error.
    Client,
    /// Made from the request itself, for an SDK that may send it again; a later equal request takes its place.
    Request,
}

/// Prints the body of an answer.
pub type Render = Arc<dyn Fn(&Done) -> Vec<u8> + Send + Sync>;

/// What a keyed request did.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it lives for one answer, which a box would only make dearer")]
pub enum Done {
    /// It made or changed a session.
    Session(SessionView),
    /// It sent input; the facts that show each, in order.
    Events(Vec<StoredFact>),
    /// It made or changed an agent.
    Agent(AgentRecord),
    /// It made an environment.
    Environment(EnvironmentRecord),
}

impl Keyed {
    pub(crate) fn record(&self, tenant: TenantId, done: &Done, now: Timestamp) -> IdempotencyRecord {
        let (kept, replaces) = match self.origin {
            KeyOrigin::Client => (KEPT, false),
            KeyOrigin::Request => (KEPT_FOR_RETRY, true),
        };
        IdempotencyRecord {
            tenant,
            key: self.key.clone(),
            fingerprint: self.fingerprint,
            status: 200,
            body: (self.render)(done),
            created_at: now,
            expires_at: now.after(kept),
            replaces,
        }
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("key", &self.key).finish_non_exhaustive()
    }
}
