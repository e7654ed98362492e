//! From core's terms to the wire.

mod agent;
mod content;
mod environment;
mod event;
mod session;
mod thread;

pub(crate) use agent::{agent, agent_core};
pub(crate) use environment::environment;
#[cfg(test)]
pub(super) use event::KINDS;
pub(crate) use event::how_taken;
pub(super) use event::{Audience, Printed, TYPES, kinds_of, preview, print};
pub(crate) use session::session;
pub(crate) use thread::thread;

/// A value as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    // The wire's structs have text keys and finite numbers only, which is all that can fail.
    serde_json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer wasn't printed");
        b"null".to_vec()
    })
}

/// Prints the answer to a request that made or changed something. `attached` is what came with it.
pub(super) fn render(attached: super::ingest::Attached) -> crate::request::idempotency::Render {
    use tenure_engine::Done;

    std::sync::Arc::new(move |done| match done {
        Done::Session(view) => json(&session(view)),
        Done::Agent(record) => json(&agent(record)),
        Done::Environment(record) => json(&environment(record)),
        Done::Events(facts) => {
            let printed = facts.iter().filter_map(|stored| print(stored, None, &attached));
            list(printed.map(|event| event.json), "")
        }
    })
}

/// `{"data":[…]}` of what is JSON already, with more fields behind.
pub(super) fn list(rows: impl Iterator<Item = Vec<u8>>, more: &str) -> Vec<u8> {
    let mut json = b"{\"data\":[".to_vec();
    for (at, row) in rows.enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(&row);
    }
    json.push(b']');
    json.extend_from_slice(more.as_bytes());
    json.push(b'}');
    json
}

/// The same where nothing comes along.
pub(crate) fn render_alone() -> crate::request::idempotency::Render {
    render(super::ingest::Attached::new())
}

/// A time in RFC 3339.
pub(crate) fn time(at: tenure_core::time::Timestamp) -> String {
    super::wire::Time(at).to_string()
}
