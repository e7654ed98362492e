//! From the wire to core's terms. Every complaint names the field it is about.

mod agent;
mod content;
mod environment;
mod event;
mod ids;
mod lifetimes;
mod metadata;
mod model;
mod session;
mod tools;

pub(super) use agent::{agent_change, new_agent};
pub(crate) use content::Attached;
pub(super) use content::store;
pub(super) use environment::{environment_change, new_environment};
pub(super) use event::{Said, inputs};
pub(crate) use ids::{agent_id, environment_id, item_id, key_id, session_id, thread_id};
pub(super) use session::{AgentGiven, SessionGiven, new_session, session_update};
